//! Floating-point operations by stage: the matrix products, which is where the time goes.

use serde::Serialize;

use super::{Sizes, rungs};
use crate::calibration::Needs;
use crate::error::Result;
use crate::model::{LinearRole, Part};
use crate::plan::{Granularity, Inputs, RetrainingObjective};
use crate::schedule::{Step, lower_rungs};

/// Floating-point operations of a stage.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Work {
    /// Name of the stage, as in the report's timings.
    pub stage: &'static str,
    /// Operations; a multiplication and an addition are two.
    pub flops: f64,
}

impl Sizes<'_> {
    /// Operations of a forward pass of one half, per token, in windows of `length`.
    fn forward(&self, part: Part, length: usize) -> f64 {
        let attention = &self.spec.attention;
        // scores and their product with the values, over the half of the square that is causal
        let mixing =
            if part == Part::Attention { 2.0 * (attention.heads * attention.head_dim * length) as f64 } else { 0.0 };
        2.0 * self.weights(part) as f64 + mixing
    }

    pub(super) fn work(&self, scored_tokens: usize) -> Result<Vec<Work>> {
        let (_, scored) = rungs(self.plan);
        let mut work = vec![Work { stage: "calibrate", flops: 0.0 }, Work { stage: "solve", flops: 0.0 }];
        work.extend(["reconstruct", "retrain", "advance"].map(|stage| Work { stage, flops: 0.0 }));
        let lower = lower_rungs(self.plan).into_iter().map(|(_, plan)| plan);
        for plan in lower.chain([self.plan.clone()]) {
            let compressed = Sizes::new(&plan, self.spec)?.compress();
            for (work, flops) in work.iter_mut().zip(compressed) {
                work.flops += flops;
            }
        }
        work[0].flops += self.schedule.survey.map_or(0.0, |needs| self.survey(needs));
        let blocks: f64 = [Part::Attention, Part::Mlp]
            .map(|part| self.forward(part, self.plan.evaluation_seqlen(self.spec)))
            .iter()
            .sum();
        let head = 2.0 * (self.spec.vocabulary * self.spec.hidden) as f64;
        let per_token = self.spec.blocks as f64 * blocks + head;
        work.push(Work { stage: "evaluate", flops: (scored * scored_tokens) as f64 * per_token });
        Ok(work)
    }

    /// Operations of the pass over the dense model before the first block.
    fn survey(&self, needs: Needs) -> f64 {
        let tokens = (self.plan.calibration.samples * self.seqlen) as f64;
        let part = |part| {
            let squares = self.inputs(part).map(|n| (n * n) as f64).iter().sum::<f64>();
            self.forward(part, self.seqlen) + if needs >= Needs::Gram { squares } else { 0.0 }
        };
        let passes = if needs == Needs::Nothing { 0.0 } else { tokens * self.spec.blocks as f64 };
        passes * [Part::Attention, Part::Mlp].map(part).iter().sum::<f64>()
    }

    /// Operations of calibrating, solving, reconstructing, retraining and advancing, for one model.
    fn compress(&self) -> [f64; 5] {
        let all = (self.windows * self.seqlen) as f64;
        let train = (self.plan.calibration.samples * self.seqlen) as f64;
        let mut sums = [0.0; 5];
        for part in [Part::Attention, Part::Mlp] {
            let forward = self.forward(part, self.seqlen);
            let dense_inputs = self.plan.calibration.inputs == Inputs::Dense && self.schedule.calibrates;
            if self.schedule.needs != Needs::Nothing || dense_inputs {
                sums[0] += all * forward;
            }
            if self.schedule.needs >= Needs::Gram {
                sums[0] += train * self.inputs(part).map(|n| (n * n) as f64).iter().sum::<f64>();
                sums[1] += Self::roles(part).map(|role| self.solve(role)).sum::<f64>();
            }
            if self.schedule.needs == Needs::InverseHessian {
                // a Cholesky factor and a triangular inverse, each n³/3
                sums[1] += self.inputs(part).map(|n| 2.0 / 3.0 * (n as f64).powi(3)).iter().sum::<f64>();
            }
            if self.trains() {
                // forward, and two products of the same size backward; those of several blocks, but for the last, go forward twice; the held-out windows
                // before, and after each epoch
                let (epochs, passes) =
                    (self.plan.reconstruction.epochs as f64, if self.span() > 1 { 4.0 } else { 3.0 });
                sums[2] += (passes * epochs * train + (epochs + 1.0) * (all - train)) * forward;
            }
            sums[4] += (self.moves(part) + usize::from(self.is_taught())) as f64 * all * forward;
        }
        let mut sums = sums.map(|sum| sum * self.spec.blocks as f64);
        sums[3] = self.retrain(all, train);
        sums
    }

    /// Operations of training the whole model: every block twice forward and once backward, the head forward and half backward
    /// (it does not train), and forward for a teacher.
    fn retrain(&self, all: f64, train: f64) -> f64 {
        let epochs = self.plan.retraining.epochs as f64;
        let blocks: f64 = [Part::Attention, Part::Mlp].map(|part| self.forward(part, self.seqlen)).iter().sum();
        let blocks = blocks * self.spec.blocks as f64;
        let head = 2.0 * (self.spec.vocabulary * self.spec.hidden) as f64;
        let taught = match self.plan.retraining.objective {
            RetrainingObjective::None => return 0.0,
            RetrainingObjective::Ce => 0.0,
            RetrainingObjective::Kl | RetrainingObjective::Logits => head,
        };
        let held_out = (epochs + 1.0) * (all - train) * (blocks + head + taught);
        epochs * train * (4.0 * blocks + 2.0 * head + taught) + held_out
    }

    /// How often hidden states move through a half of a block: as targets, ahead of training, after it, and once for the inputs of
    /// each group of matrices that train one by one, in either model.
    fn moves(&self, part: Part) -> usize {
        let moved = |step: &&Step| match step {
            Step::Teach(half) => half.1 == part,
            Step::Preview(half) | Step::Advance(half) => half.1 == part && !self.schedule.dense_inputs,
            _ => false,
        };
        let captured = if self.plan.reconstruction.granularity == Granularity::Matrix {
            2 * (1 + usize::from(self.schedule.dense_stream))
        } else {
            0
        };
        self.schedule.steps(1).iter().filter(moved).count() + captured
    }

    /// Operations of the compensation of one matrix, in products with the Gram matrix: for the joint one a product per iteration and
    /// one to begin with; and two for each error that is reported.
    fn solve(&self, role: LinearRole) -> f64 {
        let (d_out, d_in) = self.spec.shape(role);
        let errors = if self.trains() { 6.0 } else { 4.0 };
        let products = match self.plan.pruning.compensation.as_str() {
            "none" => 0.0,
            // each column meets those to its right
            "sweep" => 0.5,
            // k³/3 for each row, k = half of d_in kept weights
            "exact" => d_in as f64 / 48.0,
            _ => self.plan.pruning.iterations as f64 + 1.0,
        };
        2.0 * (products + errors) * (d_out * d_in * d_in) as f64
    }
}
