//! What a scan by the delta rule is over, what it reads, and where gradients go.

use crate::scan::chunks;

/// Sizes of a scan by the delta rule.
#[derive(Clone, Copy, Debug)]
pub struct DeltaScanShape<'a> {
    /// Heads of queries and keys; they divide the value heads, those that share one next to each other.
    pub key_heads: usize,
    /// Width of each.
    pub key_dim: usize,
    /// Heads of values.
    pub value_heads: usize,
    /// Width of each.
    pub value_dim: usize,
    /// Where each sequence starts among the tokens, and the number of tokens.
    pub offsets: &'a [usize],
}

/// What a scan by the delta rule reads.
#[derive(Clone, Copy, Debug)]
pub struct DeltaScanInputs<'a> {
    /// q [tokens, key_heads·key_dim]
    pub query: &'a [f32],
    /// k [tokens, key_heads·key_dim]
    pub key: &'a [f32],
    /// v [tokens, value_heads·value_dim]
    pub value: &'a [f32],
    /// s [tokens, value_heads]
    pub step: &'a [f32],
    /// β [tokens, value_heads]
    pub strength: &'a [f32],
    /// a, of which A is −eᵃ `[value_heads]`
    pub decay: &'a [f32],
    /// b `[value_heads]`
    pub bias: &'a [f32],
}

/// Where gradients of a scan by the delta rule go: of the shapes of its inputs, added to what is there.
#[derive(Debug)]
pub struct DeltaScanGradients<'a> {
    /// [tokens, key_heads·key_dim]
    pub query: &'a mut [f32],
    /// [tokens, key_heads·key_dim]
    pub key: &'a mut [f32],
    /// [tokens, value_heads·value_dim]
    pub value: &'a mut [f32],
    /// [tokens, value_heads]
    pub step: &'a mut [f32],
    /// [tokens, value_heads]
    pub strength: &'a mut [f32],
    /// `[value_heads]`
    pub decay: &'a mut [f32],
    /// `[value_heads]`
    pub bias: &'a mut [f32],
}

impl DeltaScanShape<'_> {
    pub(crate) fn tokens(&self) -> usize {
        self.offsets.last().copied().unwrap_or(0)
    }

    /// Columns of queries and keys.
    pub(crate) fn keys(&self) -> usize {
        self.key_heads * self.key_dim
    }

    /// Columns of values.
    pub(crate) fn values(&self) -> usize {
        self.value_heads * self.value_dim
    }

    /// Numbers of the state of a head.
    pub(crate) fn state(&self) -> usize {
        self.key_dim * self.value_dim
    }

    /// The value heads of a key head.
    pub(crate) fn sharing(&self, key_head: usize) -> std::ops::Range<usize> {
        let sharing = self.value_heads / self.key_heads;
        key_head * sharing..(key_head + 1) * sharing
    }

    /// Numbers that the way back needs of the way forward: the state of every head before each chunk.
    pub fn kept(&self) -> usize {
        chunks(self.offsets).count() * self.value_heads * self.state()
    }

    pub(crate) fn check(&self, inputs: &DeltaScanInputs) {
        let (tokens, keys) = (self.tokens(), self.tokens() * self.keys());
        assert!(self.key_heads > 0 && self.value_heads.is_multiple_of(self.key_heads), "value heads of key heads");
        assert!(inputs.query.len() == keys && inputs.key.len() == keys, "queries and keys of tokens");
        assert!(inputs.value.len() == tokens * self.values(), "values of tokens");
        let of_heads = tokens * self.value_heads;
        assert!(inputs.step.len() == of_heads && inputs.strength.len() == of_heads, "steps and strengths of tokens");
        assert!(
            [inputs.decay, inputs.bias].iter().all(|numbers| numbers.len() == self.value_heads),
            "A and b of heads"
        );
    }
}
