//! Rotary positions as config.json has them, in the keys of transformers 5 and in those of before.

use lopper_kernels::RotaryPairs;
use serde_json::Value;

use super::config::Config;
use crate::error::Result;
use crate::model::rotary::{RotaryScaling, RotarySpec};

impl Config<'_> {
    /// Rotary positions, from `rope_parameters` (transformers 5) or keys of their own and `rope_scaling` (before), which wins where
    /// both are there. `share` and `base` are the keys, and the values without them, for the share of each head that is rotated and
    /// for the base.
    pub fn rotary(
        &self,
        head_dim: usize,
        max_positions: usize,
        share: (&str, f64),
        base: (&str, f64),
    ) -> Result<RotarySpec> {
        self.rotary_from(self.rotary_parameters(), (head_dim, max_positions), share, base)
    }

    /// Those of one kind of attention, where each has its own: under its name in `rope_parameters`, or by a base under a key of its own;
    /// what `rope_scaling` (before transformers 5) says is added to that of full attention.
    pub fn rotary_of(
        &self,
        kind: &str,
        head_dim: usize,
        max_positions: usize,
        base: (&str, f64),
    ) -> Result<RotarySpec> {
        let own = self.get("rope_parameters").and_then(|all| all.get(kind)).filter(|own| !own.is_null());
        let scaled = self.get("rope_scaling").filter(|_| kind == "full_attention");
        let both = match (own.and_then(Value::as_object), scaled.and_then(Value::as_object)) {
            (Some(own), Some(scaled)) => {
                let keys = own.iter().chain(scaled).map(|(key, value)| (key.clone(), value.clone()));
                Some(Value::Object(keys.collect()))
            }
            _ => None,
        };
        let own = own.map(|own| ("rope_parameters", both.as_ref().unwrap_or(own)));
        let named = own.or(scaled.map(|scaled| ("rope_scaling", scaled)));
        self.rotary_from(named, (head_dim, max_positions), ("partial_rotary_factor", 1.0), base)
    }

    /// `alpha` of rotary positions that are scaled, where it is not 0.
    pub fn rotary_alpha(&self) -> Result<Option<f64>> {
        let Some((_, scaling)) = self.rotary_parameters() else { return Ok(None) };
        let alpha = Config::new(&self.path, scaling)?.number_or("alpha", 0.0)?;
        Ok(Some(alpha).filter(|alpha| *alpha > 0.0))
    }

    /// What says how positions turn, and the key that it stands under.
    fn rotary_parameters(&self) -> Option<(&'static str, &Value)> {
        let scaling =
            self.get("rope_scaling").filter(|scaling| scaling.as_object().is_none_or(|keys| !keys.is_empty()));
        let scaling = scaling.map(|scaling| ("rope_scaling", scaling));
        scaling.or_else(|| Some(("rope_parameters", self.get("rope_parameters")?)))
    }

    fn rotary_from(
        &self,
        named: Option<(&str, &Value)>,
        (head_dim, max_positions): (usize, usize),
        share: (&str, f64),
        base: (&str, f64),
    ) -> Result<RotarySpec> {
        if let Some((key, other)) = named.filter(|(_, value)| !value.is_object()) {
            return Err(self.no(key, other, "an object"));
        }
        let empty = Value::Object(serde_json::Map::new());
        let scaling = Config::new(&self.path, named.map_or(&empty, |(_, value)| value))?;
        let theta = scaling.number_or("rope_theta", self.number_or(base.0, base.1)?)?;
        let partial = scaling.number_or("partial_rotary_factor", self.number_or(share.0, share.1)?)?;
        let dim = (head_dim as f64 * partial) as usize;
        if dim == 0 || dim > head_dim || !dim.is_multiple_of(2) || theta.is_nan() || theta <= 1.0 {
            return Err(self.wrong(format!(
                "rotary embedding of {dim} of the {head_dim} entries per head with base {theta} makes no sense"
            )));
        }
        let rotary = RotarySpec {
            theta,
            dim,
            pairs: RotaryPairs::Halves,
            scaling: self.rotary_scaling(&scaling, dim, max_positions)?,
        };
        if rotary.is_finite(max_positions) {
            return Ok(rotary);
        }
        Err(self.wrong(format!("rotary embedding has frequencies that are no numbers, scaled by {:?}", rotary.scaling)))
    }

    fn rotary_scaling(&self, scaling: &Config, dim: usize, max_positions: usize) -> Result<RotaryScaling> {
        let kind = scaling.text_or("rope_type", scaling.text_or("type", "default")?)?;
        let original = "original_max_position_embeddings";
        // some models have it beside the others, where it wins
        let original_positions = self.size_or(original, scaling.size_or(original, max_positions)?)?;
        Ok(match kind {
            "default" => RotaryScaling::Default,
            "linear" => RotaryScaling::Linear { factor: scaling.positive("factor")? },
            // transformers stretches beyond the configured maximum here, whatever the original one
            "dynamic" => {
                RotaryScaling::Dynamic { factor: scaling.positive("factor")?, original_positions: max_positions }
            }
            "llama3" => RotaryScaling::Llama3 {
                factor: scaling.positive("factor")?,
                low_frequency_factor: scaling.positive("low_freq_factor")?,
                high_frequency_factor: scaling.positive("high_freq_factor")?,
                original_positions,
            },
            "yarn" => yarn(scaling, original_positions)?,
            "longrope" | "su" => long_rope(scaling, dim, (original_positions, max_positions))?,
            other => {
                return Err(self.wrong(format!(
                    "rotary scaling {other:?} is not supported; known: default, linear, dynamic, llama3, yarn, longrope"
                )));
            }
        })
    }
}

/// YaRN with the defaults of its paper; `mscale` and `mscale_all_dim` as `DeepSeek` models use them.
fn yarn(scaling: &Config, original_positions: usize) -> Result<RotaryScaling> {
    let factor = scaling.positive("factor")?;
    let temperature = |weight: f64| if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 };
    let (mscale, mscale_all) = (scaling.number_or("mscale", 0.0)?, scaling.number_or("mscale_all_dim", 0.0)?);
    let default = if mscale != 0.0 && mscale_all != 0.0 {
        temperature(mscale) / temperature(mscale_all)
    } else {
        temperature(1.0)
    };
    Ok(RotaryScaling::Yarn {
        factor,
        beta_fast: scaling.number_or("beta_fast", 32.0)?,
        beta_slow: scaling.number_or("beta_slow", 1.0)?,
        attention_factor: scaling.number_or("attention_factor", default)?,
        truncate: scaling.flag_or("truncate", true)?,
        original_positions,
    })
}

/// `LongRoPE` with factors of its own for each frequency (Ding et al. 2024, arXiv 2402.13753).
fn long_rope(scaling: &Config, dim: usize, (original, positions): (usize, usize)) -> Result<RotaryScaling> {
    let factors = |key: &str| {
        let factors = scaling.numbers(key)?;
        if factors.len() == dim / 2 && factors.iter().all(|factor| *factor > 0.0) {
            Ok(factors)
        } else {
            Err(scaling.wrong(format!("{key:?} is no list of {} numbers above 0", dim / 2)))
        }
    };
    let factor = scaling.positive_or("factor", positions as f64 / original as f64)?;
    let default = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / (original as f64).ln()).sqrt() };
    Ok(RotaryScaling::LongRope {
        short_factors: factors("short_factor")?,
        long_factors: factors("long_factor")?,
        attention_factor: scaling.number_or("attention_factor", default)?,
        original_positions: original,
    })
}
