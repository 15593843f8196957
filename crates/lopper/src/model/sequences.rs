//! Which rows of a batch are which tokens of which sequence.
//!
//! A ragged batch holds the rows of its sequences one after the other. Sequences that begin alike may share the rows of their common
//! beginning: a causal model gives those the same states. Everything that works row by row then sees each of them once; attention
//! sees every sequence whole, its rows gathered, and the results of a shared row, which are the same in each, are taken from the first.

use std::ops::Range;

use crate::autograd::{Tape, Value};
use crate::error::Result;

/// A ragged batch: sequence `s` is rows `offsets[s]..offsets[s + 1]` of the token dimension, or shares rows with others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequences {
    /// Of the sequences whole.
    offsets: Vec<usize>,
    shared: Option<Shared>,
}

/// How rows of the batch and tokens of the sequences go together.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shared {
    /// For each token of the sequences, one after the other: its row.
    gather: Vec<u32>,
    /// For each row: the first token that is it.
    first: Vec<u32>,
}

impl Sequences {
    /// From the length of each sequence.
    pub fn new(lengths: impl IntoIterator<Item = usize>) -> Self {
        let mut offsets = vec![0];
        for length in lengths {
            offsets.push(offsets[offsets.len() - 1] + length);
        }
        Self { offsets, shared: None }
    }

    /// Token sequences that share the rows of what each has in common with the beginning of the one before it, and the token of each
    /// row. In alphabetical order as many rows as possible are shared.
    pub fn shared(sequences: &[&[u32]]) -> (Self, Vec<u32>) {
        let mut tokens = Vec::new();
        let mut shared = Shared { gather: Vec::new(), first: Vec::new() };
        let mut before = (&[][..], 0..0);
        for sequence in sequences {
            let common = common_prefix(before.0, sequence);
            let start = shared.gather.len();
            shared.gather.extend_from_within(before.1.start..before.1.start + common);
            for &token in &sequence[common..] {
                shared.first.push(shared.gather.len() as u32);
                shared.gather.push(tokens.len() as u32);
                tokens.push(token);
            }
            before = (sequence, start..shared.gather.len());
        }
        let layout = Self::new(sequences.iter().map(|sequence| sequence.len()));
        let shares = tokens.len() < layout.offsets[sequences.len()];
        (Self { shared: shares.then_some(shared), ..layout }, tokens)
    }

    /// Where each sequence starts among the tokens of all of them, and the number of tokens. Where none share rows, these are rows.
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// Number of rows.
    pub fn tokens(&self) -> usize {
        self.shared.as_ref().map_or(self.offsets[self.offsets.len() - 1], |shared| shared.first.len())
    }

    /// The tokens of each sequence; where none share rows, its rows.
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        self.offsets.windows(2).map(|span| span[0]..span[1])
    }

    /// The row of token `position` of sequence `sequence`.
    pub fn row(&self, sequence: usize, position: usize) -> usize {
        let token = self.offsets[sequence] + position;
        self.shared.as_ref().map_or(token, |shared| shared.gather[token] as usize)
    }

    /// Rows [rows, width] → the tokens of every sequence [tokens, width].
    pub(super) fn whole(&self, tape: &mut Tape, rows: Value) -> Result<Value> {
        self.select(tape, rows, |shared| &shared.gather)
    }

    /// The tokens of every sequence [tokens, width] → rows [rows, width].
    pub(super) fn rows(&self, tape: &mut Tape, whole: Value) -> Result<Value> {
        self.select(tape, whole, |shared| &shared.first)
    }

    fn select(&self, tape: &mut Tape, x: Value, indices: impl FnOnce(&Shared) -> &Vec<u32>) -> Result<Value> {
        let Some(shared) = &self.shared else { return Ok(x) };
        tape.select_rows(&x, indices(shared))
    }

    /// The position of each row in its sequence.
    pub fn positions(&self) -> Vec<u32> {
        let positions: Vec<u32> = self.ranges().flat_map(|range| 0..range.len() as u32).collect();
        let Some(shared) = &self.shared else { return positions };
        shared.first.iter().map(|&token| positions[token as usize]).collect()
    }
}

/// How many tokens two sequences have in common at their beginning.
pub fn common_prefix(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::Sequences;

    #[test]
    fn rows_are_shared_with_the_sequence_before() {
        let sequences: [&[u32]; 4] = [&[7, 8], &[7, 8, 9], &[7, 8, 4, 5], &[6]];
        let (layout, tokens) = Sequences::shared(&sequences);
        assert_eq!(tokens, [7, 8, 9, 4, 5, 6]);
        assert_eq!((layout.tokens(), layout.offsets()), (6, &[0, 2, 5, 9, 10][..]));
        for (s, sequence) in sequences.iter().enumerate() {
            for (position, &token) in sequence.iter().enumerate() {
                assert_eq!(tokens[layout.row(s, position)], token);
                assert_eq!(layout.positions()[layout.row(s, position)], position as u32);
            }
        }
        let (layout, _) = Sequences::shared(&[&[1, 2], &[3, 4]]);
        assert_eq!(layout, Sequences::new([2, 2]));
    }
}
