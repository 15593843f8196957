//! Floating-point operations by stage: the matrix products, which is where the time goes.

use serde::Serialize;

use super::{Sizes, rungs};
use crate::calibration::Needs;
use crate::error::Result;
use crate::model::{LinearRole, Part};
use crate::plan::{Granularity, Inputs, Plan};

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
        work.extend(["reconstruct", "advance"].map(|stage| Work { stage, flops: 0.0 }));
        for plan in lower_plans(self.plan) {
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

    /// Operations of calibrating, solving, reconstructing and advancing, for one model.
    fn compress(&self) -> [f64; 4] {
        let all = (self.windows * self.seqlen) as f64;
        let train = (self.plan.calibration.samples * self.seqlen) as f64;
        let mut sums = [0.0; 4];
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
                // forward, and two products of the same size backward; the held-out windows before and after
                sums[2] += (3.0 * self.plan.reconstruction.epochs as f64 * train + 2.0 * (all - train)) * forward;
            }
            let moved = f64::from(u8::from(self.schedule.calibrates && !dense_inputs))
                + f64::from(u8::from(self.schedule.dense_stream));
            sums[3] += moved * all * forward;
        }
        sums.map(|sum| sum * self.spec.blocks as f64)
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

/// The plan itself and those of the rungs of the ladder below it.
fn lower_plans(plan: &Plan) -> Vec<Plan> {
    let (compressed, _) = rungs(plan);
    let mut plans = vec![plan.clone()];
    let mut lower = plan.clone();
    lower.reconstruction.granularity = Granularity::None;
    if compressed == 3 {
        plans.push(lower.clone());
    }
    lower.pruning.compensation = "none".into();
    if compressed > 1 {
        plans.push(lower);
    }
    plans
}
