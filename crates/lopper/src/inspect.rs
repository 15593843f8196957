//! What a checkpoint holds: shapes, dtypes, and how sparse each prunable matrix is. Reads every such matrix once.

use std::path::Path;

use rayon::prelude::*;
use serde::Serialize;

use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::model::{Decoder, LinearId};
use crate::tensor::Tensor;

/// Group sizes M for which the tightest N:M is looked for.
const GROUPS: [usize; 5] = [2, 4, 8, 16, 32];

/// How much denser than the matrix a pattern of more than half may be: a matrix pruned to it has its density.
const BY_CHANCE: f64 = 0.01;

/// A checkpoint at a glance.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// Family.
    pub family: &'static str,
    /// Numbers in all tensors of the files.
    pub parameters: usize,
    /// Numbers in the matrices that can be pruned.
    pub prunable: usize,
    /// How many of those are zero.
    pub zeros: usize,
    /// Blocks.
    pub blocks: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Rows of the embedding.
    pub vocabulary: usize,
    /// Longest sequence the model was made for.
    pub max_positions: usize,
    /// Whether the head is the embedding.
    pub tied_embeddings: bool,
    /// Bytes of the weight files.
    pub bytes: u64,
    /// Number of weight files.
    pub files: usize,
    /// What the user should know of how the files were understood.
    pub notes: Vec<String>,
    /// Each prunable matrix, in the order of the model.
    pub matrices: Vec<MatrixInspection>,
}

/// One prunable matrix.
#[derive(Clone, Debug, Serialize)]
pub struct MatrixInspection {
    /// Name of the tensor.
    pub name: String,
    /// Block.
    pub block: usize,
    /// What it does in the block: `query`, `down`.
    pub role: &'static str,
    /// [d_out, d_in]
    pub shape: [usize; 2],
    /// As the file stores it: `F32`, `F16`, `BF16`.
    pub dtype: String,
    /// Entries that are zero.
    pub zeros: usize,
    /// The N:M patterns it obeys, without those that follow from another; empty for a dense matrix.
    pub patterns: Vec<String>,
}

impl MatrixInspection {
    /// Share of zeros.
    pub fn sparsity(&self) -> f64 {
        self.zeros as f64 / (self.shape[0] * self.shape[1]).max(1) as f64
    }
}

impl Inspection {
    /// Share of zeros in the prunable matrices.
    pub fn sparsity(&self) -> f64 {
        self.zeros as f64 / self.prunable.max(1) as f64
    }
}

/// Opens the checkpoint in `model` and looks at every prunable matrix; `progress` is told how far that is, in [0, 1].
///
/// # Errors
/// If the checkpoint is damaged, incomplete, or of an unknown family.
pub fn inspect(model: &Path, progress: &mut dyn FnMut(f64)) -> Result<Inspection> {
    let decoder = Decoder::open(Checkpoint::open(model)?)?;
    let (checkpoint, spec) = (decoder.checkpoint(), decoder.spec());
    let mut matrices = Vec::new();
    let blocks = spec.blocks.len();
    for id in spec.linear_ids() {
        matrices.push(inspect_matrix(&decoder, id)?);
        progress((id.block + 1) as f64 / blocks as f64);
    }
    Ok(Inspection {
        family: spec.family,
        parameters: checkpoint.total_elements(),
        prunable: matrices.iter().map(|matrix| matrix.shape[0] * matrix.shape[1]).sum(),
        zeros: matrices.iter().map(|matrix| matrix.zeros).sum(),
        blocks,
        hidden: spec.hidden,
        vocabulary: spec.vocabulary,
        max_positions: spec.max_positions,
        tied_embeddings: spec.head.tied,
        bytes: checkpoint.shards().iter().map(|shard| shard.size).sum(),
        files: checkpoint.shards().len(),
        notes: decoder.notes()?,
        matrices,
    })
}

fn inspect_matrix(decoder: &Decoder, id: LinearId) -> Result<MatrixInspection> {
    let (name, linear) = (decoder.spec().weight_name(id), decoder.spec().linear(id));
    let weight = decoder.load_weight(id)?;
    let zeros = weight.count_zeros();
    let patterns = patterns(&weight, zeros);
    let dtype = decoder.checkpoint().info(&name).map(|info| format!("{:?}", info.dtype)).unwrap_or_default();
    Ok(MatrixInspection { name, block: id.block, role: linear.role, shape: linear.shape, dtype, zeros, patterns })
}

/// The N:M patterns that `weight` [rows, columns] with so many zeros obeys, smallest M first. For each M only the smallest N counts, and a
/// pattern is left out when one of a smaller M that divides it already says as much, or when it holds only because no
/// group of a sparse matrix happens to be full.
fn patterns(weight: &Tensor, zeros: usize) -> Vec<String> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    let density = 1.0 - zeros as f64 / weight.len().max(1) as f64;
    for of in GROUPS.into_iter().filter(|of| weight.width().is_multiple_of(*of)) {
        let keep = weight.host().par_chunks(of << 12).map(|part| most_kept(part, of)).max().unwrap_or(0);
        let implied = found.iter().any(|&(n, m)| of.is_multiple_of(m) && n * of <= keep * m);
        let telling = 2 * keep <= of || keep as f64 / of as f64 <= density + BY_CHANCE;
        if keep > 0 && keep < of && telling && !implied {
            found.push((keep, of));
        }
    }
    found.into_iter().map(|(keep, of)| format!("{keep}:{of}")).collect()
}

/// The largest number of non-zeros in a group of `of`.
fn most_kept(weight: &[f32], of: usize) -> usize {
    weight.chunks_exact(of).map(|group| group.iter().filter(|&&w| w != 0.0).count()).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::Tensor;

    fn patterns(numbers: &[f32], columns: usize) -> Vec<String> {
        let weight = Tensor::new([numbers.len() / columns, columns], numbers.to_vec());
        super::patterns(&weight, weight.count_zeros())
    }

    #[test]
    fn finds_the_tightest_pattern_and_nothing_that_follows_from_it() {
        let two_of_four = [1.0, 2.0, 0.0, 0.0, 0.0, 3.0, 0.0, 4.0].repeat(8);
        assert_eq!(patterns(&two_of_four, 8), ["2:4"]);
        let one_of_two = [1.0, 0.0, 0.0, 2.0].repeat(8);
        assert_eq!(patterns(&one_of_two, 8), ["1:2"]);
        let one_of_four = [1.0, 0.0, 0.0, 0.0].repeat(8);
        assert_eq!(patterns(&one_of_four, 32), ["1:2", "1:4"]);
    }

    #[test]
    fn dense_and_empty_matrices_obey_none() {
        assert!(patterns(&[1.0; 64], 8).is_empty());
        assert!(patterns(&[0.0; 64], 8).is_empty());
        // groups must not straddle rows
        assert!(patterns(&[1.0, 1.0, 0.0, 0.0, 1.0, 1.0], 3).is_empty());
    }

    #[test]
    fn a_pattern_that_holds_by_chance_is_not_told() {
        // fifteen groups of sixteen are half full, one is three quarters full: 3:4 holds, and says nothing
        let mut uneven = [1.0, 1.0, 0.0, 0.0].repeat(16);
        uneven[2] = 1.0;
        assert!(patterns(&uneven, 4).is_empty());
        let three_of_four = [1.0, 1.0, 0.0, 1.0].repeat(16);
        assert_eq!(patterns(&three_of_four, 4), ["3:4"]);
    }

    #[test]
    fn one_full_group_breaks_a_pattern() {
        let mut weight = [1.0, 2.0, 0.0, 0.0].repeat(4096);
        weight[4 * 4000..4 * 4000 + 4].fill(1.0);
        assert!(!patterns(&weight, 16).iter().any(|pattern| pattern == "2:4"));
        assert_eq!(Tensor::new([weight.len()], weight).count_zeros(), 2 * 4095);
    }
}
