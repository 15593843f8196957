//! How fast this machine multiplies, measured for a fifth of a second on a product of the run's own shape.

use std::time::{Duration, Instant};

use lopper_kernels::{Precision, View, matmul};

use crate::model::DecoderSpec;
use crate::plan::Plan;

/// How long to measure.
const BUDGET: Duration = Duration::from_millis(200);
/// The largest number of rows to multiply: more changes nothing but the wait.
const MOST_TOKENS: usize = 1024;
/// The widest matrix to multiply.
const WIDEST: usize = 4096;
/// Share of the rate of plain products that a run reaches: norms, attention, updates and copies take the rest.
const EFFICIENCY: f64 = 0.7;

/// Floating-point operations per second of a matrix product.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// As measured.
    pub flops_per_second: f64,
}

impl Rate {
    /// Multiplies activations by the first matrix of a block that is as wide as any, in the precision of the plan, in the thread pool
    /// at hand.
    pub fn measure(plan: &Plan, spec: &DecoderSpec) -> Self {
        let tokens = (plan.reconstruction.batch * plan.calibration_seqlen(spec)).clamp(1, MOST_TOKENS);
        let widest = spec.widest();
        let mut linears = spec.blocks.iter().flat_map(|block| &block.linears);
        let shape = linears.find(|linear| linear.shape.contains(&widest)).map_or([widest; 2], |linear| linear.shape);
        let [d_out, d_in] = shape.map(|width| width.min(WIDEST));
        Self::of_product([tokens, d_in, d_out], plan.compute.dtype.precision())
    }

    /// Multiplies a matrix of [tokens, d_in] by one of [d_in, d_out], again and again, in the thread pool at hand.
    pub fn of_product([tokens, d_in, d_out]: [usize; 3], precision: Precision) -> Self {
        let (x, w) = (vec![0.5_f32; tokens * d_in], vec![0.25_f32; d_out * d_in]);
        let mut y = vec![0.0_f32; tokens * d_out];
        let mut product =
            || matmul(&mut y, d_out, false, View::new(&x, tokens, d_in), View::new(&w, d_out, d_in).t(), precision);
        product();
        let (started, mut products) = (Instant::now(), 0);
        while started.elapsed() < BUDGET {
            product();
            products += 1;
        }
        let flops = 2.0 * f64::from(products) * (tokens * d_in * d_out) as f64;
        Self { flops_per_second: flops / started.elapsed().as_secs_f64() }
    }

    /// How long a run takes for so many operations.
    pub fn seconds(self, flops: f64) -> f64 {
        flops / (self.flops_per_second * EFFICIENCY)
    }
}
