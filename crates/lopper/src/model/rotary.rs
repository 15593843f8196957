//! Angles of rotary position embeddings, with the scalings of Hugging Face checkpoints.
//!
//! Angles are products in f32 as transformers takes them, so that long positions round alike.

use lopper_kernels::RotaryPairs;

use crate::autograd::RotaryTable;
use crate::tensor::Tensor;

/// How a model turns positions into angles.
#[derive(Clone, Debug, PartialEq)]
pub struct RotarySpec {
    /// Base of the geometric sequence of frequencies.
    pub theta: f64,
    /// How many entries of each head are rotated.
    pub dim: usize,
    /// Which entries of a head turn together.
    pub pairs: RotaryPairs,
    /// Change for sequences longer than those trained on.
    pub scaling: RotaryScaling,
}

/// Known changes of the frequencies.
#[derive(Clone, Debug, PartialEq)]
pub enum RotaryScaling {
    /// None.
    Default,
    /// Positions divided by a factor (Chen et al. 2023, arXiv 2306.15595).
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// A larger base for sequences longer than trained on ("dynamic NTK").
    Dynamic {
        /// How fast the base grows.
        factor: f64,
        /// Length trained on.
        original_positions: usize,
    },
    /// The first pairs of a head turn at the frequencies of whole heads, divided by a factor; the others stand still (Gemma 4).
    Proportional {
        /// How many turn.
        pairs: usize,
        /// The divisor.
        factor: f64,
    },
    /// Low frequencies divided, high ones kept, a ramp between (Llama 3.1).
    Llama3 {
        /// The divisor.
        factor: f64,
        /// Wavelengths above `original / low` are divided.
        low_frequency_factor: f64,
        /// Wavelengths below `original / high` are kept.
        high_frequency_factor: f64,
        /// Length trained on.
        original_positions: usize,
    },
    /// The same idea by number of rotations, and a temperature (Peng et al. 2023, arXiv 2309.00071).
    Yarn {
        /// The divisor.
        factor: f64,
        /// Rotations above which frequencies are kept.
        beta_fast: f64,
        /// Rotations below which they are divided.
        beta_slow: f64,
        /// Factor of cosine and sine.
        attention_factor: f64,
        /// Whether the ramp's ends are rounded outwards.
        truncate: bool,
        /// Length trained on.
        original_positions: usize,
    },
    /// A divisor for each frequency, and a temperature (Ding et al. 2024, arXiv 2402.13753).
    LongRope {
        /// Divisors of sequences no longer than trained on.
        short_factors: Vec<f64>,
        /// Divisors of longer ones.
        long_factors: Vec<f64>,
        /// Factor of cosine and sine.
        attention_factor: f64,
        /// Length trained on.
        original_positions: usize,
    },
}

impl RotarySpec {
    /// Cosines and sines of positions 0..length; some scalings depend on `length`, the longest sequence at hand.
    pub fn table(&self, length: usize) -> RotaryTable {
        let (frequencies, scale) = self.frequencies(length);
        let half = frequencies.len();
        let angles = || (0..length).flat_map(|t| frequencies.iter().map(move |&f| f64::from(t as f32 * f)));
        let cos: Vec<f32> = angles().map(|angle| (angle.cos() as f32) * scale).collect();
        let sin: Vec<f32> = angles().map(|angle| (angle.sin() as f32) * scale).collect();
        RotaryTable { cos: Tensor::new([length, half], cos), sin: Tensor::new([length, half], sin), pairs: self.pairs }
    }

    /// Whether sequences of so many tokens have other frequencies than those trained on.
    pub fn is_stretched(&self, length: usize) -> bool {
        match self.scaling {
            RotaryScaling::LongRope { original_positions, .. } | RotaryScaling::Dynamic { original_positions, .. } => {
                length > original_positions
            }
            _ => false,
        }
    }

    /// Whether the angles of sequences of up to `length` tokens are numbers.
    pub fn is_finite(&self, length: usize) -> bool {
        let (frequencies, scale) = self.frequencies(length);
        frequencies.iter().all(|f| f.is_finite() && *f >= 0.0) && scale.is_finite() && scale > 0.0
    }

    /// Frequencies [dim / 2] and the factor of cosine and sine.
    pub fn frequencies(&self, length: usize) -> (Vec<f32>, f32) {
        let plain = |theta: f64| (0..self.dim / 2).map(move |i| theta.powf(2.0 * i as f64 / self.dim as f64));
        let inverse = |theta: f64| plain(theta).map(|f| 1.0 / f).collect::<Vec<f64>>();
        let mut attention = 1.0;
        let frequencies = match self.scaling {
            RotaryScaling::LongRope { ref short_factors, ref long_factors, attention_factor, original_positions } => {
                attention = attention_factor;
                let factors = if length > original_positions { long_factors } else { short_factors };
                plain(self.theta).zip(factors).map(|(f, factor)| 1.0 / (factor * f)).collect()
            }
            RotaryScaling::Default => inverse(self.theta),
            RotaryScaling::Linear { factor } => plain(self.theta).map(|f| 1.0 / f / factor).collect(),
            RotaryScaling::Proportional { pairs, factor } => {
                let turns = |(pair, f): (usize, f64)| if pair < pairs { 1.0 / f / factor } else { 0.0 };
                plain(self.theta).enumerate().map(turns).collect()
            }
            RotaryScaling::Dynamic { factor, original_positions } => {
                let stretch =
                    factor * length.max(original_positions) as f64 / original_positions as f64 - (factor - 1.0);
                inverse(self.theta * stretch.powf(self.dim as f64 / (self.dim as f64 - 2.0)))
            }
            RotaryScaling::Llama3 { factor, low_frequency_factor, high_frequency_factor, original_positions } => {
                let ramp =
                    |f| llama3(f, factor, [low_frequency_factor, high_frequency_factor], original_positions as f64);
                inverse(self.theta).into_iter().map(ramp).collect()
            }
            RotaryScaling::Yarn { factor, beta_fast, beta_slow, attention_factor, truncate, original_positions } => {
                attention = attention_factor;
                let [low, high] = self.yarn_range([beta_fast, beta_slow], truncate, original_positions as f64);
                let kept = |i: usize| 1.0 - ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                inverse(self.theta)
                    .into_iter()
                    .enumerate()
                    .map(|(i, f)| f / factor * (1.0 - kept(i)) + f * kept(i))
                    .collect()
            }
        };
        (frequencies.into_iter().map(|f| f as f32).collect(), attention as f32)
    }

    /// Indices between which YaRN goes from kept to divided (arXiv 2309.00071, §3.2).
    fn yarn_range(&self, betas: [f64; 2], truncate: bool, original: f64) -> [f64; 2] {
        let index = |rotations: f64| {
            self.dim as f64 * (original / (rotations * std::f64::consts::TAU)).ln() / (2.0 * self.theta.ln())
        };
        let [mut low, mut high] = betas.map(index);
        if truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        low = low.max(0.0);
        high = high.min(self.dim as f64 - 1.0);
        // a ramp needs some width
        [low, if high > low { high } else { low + 0.001 }]
    }
}

/// Llama 3.1's ramp between kept and divided frequencies.
fn llama3(frequency: f64, factor: f64, [low, high]: [f64; 2], original: f64) -> f64 {
    let wavelength = std::f64::consts::TAU / frequency;
    if wavelength < original / high {
        frequency
    } else if wavelength > original / low {
        frequency / factor
    } else {
        let smooth = (original / wavelength - low) / (high - low);
        (1.0 - smooth) * frequency / factor + smooth * frequency
    }
}
