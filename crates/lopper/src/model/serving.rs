//! What a runtime that serves a model meets, from its description alone.

use serde::{Deserialize, Serialize};

use super::block_spec::{BlockSpec, Branch, LinearSpec};
use super::program::Operation;
use super::spec::DecoderSpec;
use crate::autograd::AttentionLayout;

/// Rows of matrices that k-quants of llama.cpp take are multiples of this; others fall back on a format of more bits.
const K_QUANT: usize = 256;
/// Devices that are asked about.
const DEVICES: usize = 16;

/// What a runtime meets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Serving {
    /// Bytes of keys and values that a token leaves in a cache of 16-bit numbers. Where a window slides, only its tokens leave any.
    pub cache_bytes: usize,
    /// Floating-point operations for a token: those of linear layers and head, of experts as many as it goes to, without the scores of attention.
    pub flops: f64,
    /// Among how many devices, up to 16, attention and neurons can be shared out evenly (tensor parallelism): the number divides the
    /// heads of queries and the neurons, and those of keys and values, or is a multiple of these, which are repeated then.
    pub tensor_parallel: Vec<usize>,
    /// Share of the weights of the linear layers in rows of a multiple of 256, which k-quants of llama.cpp want.
    pub k_quants: f64,
}

impl DecoderSpec {
    /// What a runtime that serves the model meets.
    pub fn serving(&self) -> Serving {
        let branches = self.blocks.iter().flat_map(|block| &block.stages).flat_map(|stage| &stage.branches);
        let cached = branches.map(|branch| {
            let kept = layouts(branch).map(|layout| layout.widths()[1..].iter().sum::<usize>());
            branch.cached.unwrap_or_else(|| kept.sum())
        });
        let linears = || self.blocks.iter().flat_map(|block| &block.linears);
        let weights: usize = linears().map(LinearSpec::weights).sum();
        let active: f64 = linears().map(|linear| linear.weights() as f64 * linear.share).sum();
        let fit = linears().filter(|linear| linear.shape[1].is_multiple_of(K_QUANT)).map(LinearSpec::weights);
        Serving {
            cache_bytes: 2 * cached.sum::<usize>(),
            flops: 2.0 * (active + (self.vocabulary * self.head.width) as f64),
            tensor_parallel: (1..=DEVICES).filter(|&devices| self.is_shared_by(devices)).collect(),
            k_quants: fit.sum::<usize>() as f64 / weights.max(1) as f64,
        }
    }

    fn is_shared_by(&self, devices: usize) -> bool {
        let shares = |count: usize| count.is_multiple_of(devices);
        self.blocks.iter().all(|block| {
            let heads = |layout: &AttentionLayout| {
                shares(layout.heads) && (shares(layout.kv_heads) || devices.is_multiple_of(layout.kv_heads))
            };
            block.layouts().all(heads)
                && block.stages.iter().flat_map(|stage| &stage.branches).all(|branch| {
                    let program = &branch.program;
                    let made = program.instructions().iter().enumerate();
                    let scans = program.instructions().iter().all(|one| match one.operation {
                        Operation::HeadScan { heads, .. } => shares(heads.heads),
                        Operation::DeltaScan { heads, .. } => shares(heads.keys),
                        _ => true,
                    });
                    let mut neurons = made.filter(|(_, one)| {
                        matches!(
                            one.operation,
                            Operation::Gated(_)
                                | Operation::ClampedGate(_)
                                | Operation::Activate(_)
                                | Operation::Scan { .. }
                        )
                    });
                    scans && neurons.all(|(place, _)| shares(program.width(place + 1)))
                })
        })
    }
}

impl BlockSpec {
    /// Every operation of its branches, in order.
    pub(super) fn operations(&self) -> impl Iterator<Item = &Operation> {
        let branches = self.stages.iter().flat_map(|stage| &stage.branches);
        branches.flat_map(|branch| branch.program.instructions()).map(|instruction| &instruction.operation)
    }

    /// How heads lie in each attention, in order.
    pub(super) fn layouts(&self) -> impl Iterator<Item = &AttentionLayout> {
        self.stages.iter().flat_map(|stage| &stage.branches).flat_map(layouts)
    }
}

/// How heads lie in each attention of a branch.
fn layouts(branch: &Branch) -> impl Iterator<Item = &AttentionLayout> {
    branch.program.instructions().iter().filter_map(|instruction| match &instruction.operation {
        Operation::Attention { layout, .. } => Some(layout),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use crate::model::describe;

    #[test]
    fn of_a_small_llama() {
        let config = serde_json::json!({"model_type": "llama", "vocab_size": 64, "hidden_size": 24, "num_hidden_layers": 2,
            "num_attention_heads": 12, "num_key_value_heads": 4, "intermediate_size": 256, "head_dim": 2});
        let serving = describe("config.json".as_ref(), &config).expect("a model").serving();
        // two blocks of 4 heads of 2 entries, keys and values, two bytes each
        assert_eq!(serving.cache_bytes, 2 * 4 * 2 * 2 * 2);
        let (attention, down) = (24 * 24 * 2 + 2 * 8 * 24, 24 * 256);
        assert!((serving.flops - (2 * (2 * (attention + 3 * down) + 64 * 24)) as f64).abs() < 1e-6);
        // 3 and 6 divide the queries and 3 not the 256 neurons; 8 repeats keys and does not divide the queries
        assert_eq!(serving.tensor_parallel, [1, 2, 4]);
        assert!((serving.k_quants - down as f64 / (attention + 3 * down) as f64).abs() < 1e-12);
    }
}
