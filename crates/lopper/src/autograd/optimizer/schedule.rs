//! Linear warm-up, then the way down.

/// What the learning rate does after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// Falls to zero in a straight line.
    Linear,
    /// Falls to zero along half a cosine (Loshchilov & Hutter 2017, arXiv 1608.03983, without restarts).
    Cosine,
    /// Stays.
    Constant,
}

/// Learning rate as a function of the step.
#[derive(Clone, Copy, Debug)]
pub struct RateSchedule {
    /// After the warm-up.
    pub decay: Decay,
    /// The rate at the end of the warm-up.
    pub peak: f32,
    /// Share of the steps spent warming up, in [0, 1].
    pub warm_up: f32,
    /// Number of steps.
    pub steps: usize,
}

impl RateSchedule {
    /// The rate of `step`, counted from 0. Neither the first nor the last step is wasted at rate zero.
    pub fn rate(&self, step: usize) -> f32 {
        let warm_up = (self.warm_up * self.steps as f32).round();
        let done = step as f32 + 1.0;
        if done <= warm_up {
            return self.peak * done / warm_up;
        }
        let left = (self.steps as f32 + 1.0 - done) / (self.steps as f32 + 1.0 - warm_up).max(1.0);
        self.peak
            * match self.decay {
                Decay::Linear => left,
                Decay::Cosine => 0.5 - 0.5 * (std::f32::consts::PI * left).cos(),
                Decay::Constant => 1.0,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::{Decay, RateSchedule};

    fn rates(decay: Decay) -> Vec<f32> {
        let schedule = RateSchedule { decay, peak: 1.0, warm_up: 0.1, steps: 100 };
        (0..100).map(|step| schedule.rate(step)).collect()
    }

    #[test]
    fn rises_to_the_peak_and_falls_towards_zero() {
        for decay in [Decay::Linear, Decay::Cosine] {
            let rates = rates(decay);
            assert!(rates.iter().all(|&r| r > 0.0 && r <= 1.0));
            assert!(rates[..10].is_sorted() && rates[9..].is_sorted_by(|a, b| a >= b));
            assert!((rates[9] - 1.0).abs() < 1e-6 && rates[99] < 0.02);
        }
        assert!(
            rates(Decay::Cosine)[30] > rates(Decay::Linear)[30] && rates(Decay::Cosine)[80] < rates(Decay::Linear)[80]
        );
    }

    #[test]
    fn a_constant_rate_only_warms_up() {
        let rates = rates(Decay::Constant);
        assert!((rates[4] - 0.5).abs() < 1e-6 && rates[10..].iter().all(|&r| (r - 1.0).abs() < 1e-6));
    }
}
