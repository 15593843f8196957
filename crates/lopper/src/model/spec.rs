//! What a decoder is made of, read once from config.json.

use super::linear::LinearRole;
use super::rotary::RotarySpec;

/// A decoder-only transformer of pre-norm blocks: RMSNorm, attention, RMSNorm, gated feed-forward.
#[derive(Clone, Debug)]
pub struct DecoderSpec {
    /// Name of the family, as in `FAMILIES`.
    pub family: &'static str,
    /// Rows of the embedding.
    pub vocabulary: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Number of blocks.
    pub blocks: usize,
    /// Attention of every block.
    pub attention: AttentionSpec,
    /// Feed-forward layer of every block.
    pub mlp: MlpSpec,
    /// ε of every norm.
    pub norm_epsilon: f32,
    /// Position embedding.
    pub rotary: RotarySpec,
    /// Whether the head is the transposed embedding.
    pub tied_embeddings: bool,
    /// Longest sequence the model was made for.
    pub max_positions: usize,
}

/// Causal attention with grouped queries.
#[derive(Clone, Debug)]
pub struct AttentionSpec {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Sliding window of each block; `None` sees everything before it.
    pub windows: Vec<Option<usize>>,
    /// Whether query, key and value projections have biases.
    pub input_bias: bool,
    /// Whether the output projection has a bias.
    pub output_bias: bool,
}

/// Gated feed-forward layer `down(silu(gate(x)) · up(x))`.
#[derive(Clone, Debug)]
pub struct MlpSpec {
    /// Width between the projections.
    pub intermediate: usize,
    /// Whether the projections have biases.
    pub bias: bool,
}

impl DecoderSpec {
    /// Shape [d_out, d_in] of a linear layer of a block.
    pub fn shape(&self, role: LinearRole) -> (usize, usize) {
        let (hidden, intermediate) = (self.hidden, self.mlp.intermediate);
        let AttentionSpec { heads, kv_heads, head_dim, .. } = self.attention;
        match role {
            LinearRole::Query => (heads * head_dim, hidden),
            LinearRole::Key | LinearRole::Value => (kv_heads * head_dim, hidden),
            LinearRole::Output => (hidden, heads * head_dim),
            LinearRole::Gate | LinearRole::Up => (intermediate, hidden),
            LinearRole::Down => (hidden, intermediate),
        }
    }

    /// Weights of the linear layers of a block.
    pub fn block_weights(&self) -> usize {
        LinearRole::ALL.into_iter().map(|role| self.shape(role)).map(|(d_out, d_in)| d_out * d_in).sum()
    }

    /// Whether a linear layer has a bias.
    pub fn has_bias(&self, role: LinearRole) -> bool {
        match role {
            LinearRole::Query | LinearRole::Key | LinearRole::Value => self.attention.input_bias,
            LinearRole::Output => self.attention.output_bias,
            LinearRole::Gate | LinearRole::Up | LinearRole::Down => self.mlp.bias,
        }
    }
}
