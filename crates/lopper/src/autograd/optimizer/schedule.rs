//! Linear warm-up, then linear decay to zero.

/// Learning rate as a function of the step.
#[derive(Clone, Copy, Debug)]
pub struct LinearSchedule {
    /// The rate at the end of the warm-up.
    pub peak: f32,
    /// Share of the steps spent warming up, in [0, 1].
    pub warm_up: f32,
    /// Number of steps.
    pub steps: usize,
}

impl LinearSchedule {
    /// The rate of `step`, counted from 0. Neither the first nor the last step is wasted at rate zero.
    pub fn rate(&self, step: usize) -> f32 {
        let warm_up = (self.warm_up * self.steps as f32).round();
        let done = step as f32 + 1.0;
        if done <= warm_up {
            self.peak * done / warm_up
        } else {
            self.peak * (self.steps as f32 + 1.0 - done) / (self.steps as f32 + 1.0 - warm_up).max(1.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::LinearSchedule;

    #[test]
    fn rises_to_the_peak_and_falls_towards_zero() {
        let schedule = LinearSchedule { peak: 1.0, warm_up: 0.1, steps: 100 };
        let rates: Vec<f32> = (0..100).map(|step| schedule.rate(step)).collect();
        assert!(rates.iter().all(|&r| r > 0.0 && r <= 1.0));
        assert!(rates[..10].is_sorted() && rates[9..].is_sorted_by(|a, b| a >= b));
        assert!((rates[9] - 1.0).abs() < 1e-6 && rates[99] < 0.02);
    }
}
