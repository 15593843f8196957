//! One pass over a decoder for many token sequences: what it says about the tokens that are asked for.
//!
//! Sequences are put in alphabetical order, so that those that begin alike (the choices of a question, questions after the same
//! examples) stand together and share the rows of what they have in common ([`Sequences::shared`]); nothing is padded. Each block
//! is loaded once for as many sequences as fit in memory, and the head sees only the rows whose predictions are asked for.

use std::ops::Range;

use lopper_kernels::Precision;
use rayon::prelude::*;

use crate::autograd::{RotaryTable, Tape};
use crate::calibration::AT_ONCE;
use crate::error::{Error, Result};
use crate::model::{Block, Context, Decoder, DecoderSpec, NextToken, NoTap, Sequences, common_prefix};
use crate::tensor::Tensor;

/// Hidden states held at a time, in bytes, in a small model.
const GROUP_BYTES: usize = 192 << 20;
/// Rows that go through a block together, unless one sequence has more.
pub(crate) const BATCH_ROWS: usize = 1024;
/// Tokens that attention sees together, shared ones counted for each sequence.
const BATCH_TOKENS: usize = 4 * BATCH_ROWS;
/// Batches whose rows go through the head together.
pub(crate) const HEAD_BATCHES: usize = 8;

/// Bytes of hidden states held at a time; more sequences are evaluated in several passes over the blocks. As many
/// as a block has where that is more: a pass takes the longer the larger the blocks are.
pub(crate) fn group_bytes(spec: &DecoderSpec) -> usize {
    GROUP_BYTES.max(spec.block_weights() * size_of::<f32>())
}

/// A token sequence of which some predictions count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// Token ids, at least two.
    pub tokens: Vec<u32>,
    /// The predictions of `tokens[first..]`, each from what stands before it, are asked for; at least 1.
    pub first: usize,
}

impl Passage {
    /// What the model reads: all but the last token, which predicts nothing that is asked for.
    fn input(&self) -> &[u32] {
        &self.tokens[..self.tokens.len() - 1]
    }

    /// What it is asked about.
    pub fn targets(&self) -> &[u32] {
        &self.tokens[self.first..]
    }
}

/// Some passages that go through a block together.
pub(super) struct Batch {
    /// Which passages, as places in the list.
    pub members: Vec<usize>,
    layout: Sequences,
    ids: Vec<u32>,
}

impl Batch {
    fn new(passages: &[Passage], members: &[usize]) -> Self {
        let inputs: Vec<&[u32]> = members.iter().map(|&member| passages[member].input()).collect();
        let (layout, ids) = Sequences::shared(&inputs);
        Self { members: members.to_vec(), layout, ids }
    }

    /// Tokens of all, those on shared rows included.
    fn whole(&self) -> usize {
        self.layout.offsets()[self.members.len()]
    }

    /// Tokens of the longest.
    fn longest(&self) -> usize {
        self.layout.ranges().map(|tokens| tokens.len()).max().unwrap_or(0)
    }

    /// The rows that predict the targets of each passage, and those targets.
    fn asked(&self, passages: &[Passage]) -> (Vec<u32>, Vec<u32>) {
        let (mut rows, mut targets) = (Vec::new(), Vec::new());
        for (sequence, &member) in self.members.iter().enumerate() {
            let passage = &passages[member];
            rows.extend((passage.first..passage.tokens.len()).map(|at| self.layout.row(sequence, at - 1) as u32));
            targets.extend_from_slice(passage.targets());
        }
        (rows, targets)
    }
}

/// Rows that go through the head together: those of some batches.
pub(super) struct Asked {
    /// [rows, hidden]
    pub hidden: Tensor,
    /// The token that each row is asked about.
    pub targets: Vec<u32>,
    /// The passages the rows belong to, one after the other.
    pub members: Vec<usize>,
}

/// The batches of all passages, in groups whose hidden states, `width` numbers a row, take no more than `bytes`. Each has passages of one
/// `kind` by their length.
pub(super) fn groups<K: Ord>(
    passages: &[Passage],
    kind: impl Fn(usize) -> K,
    width: usize,
    bytes: usize,
) -> Vec<Vec<Batch>> {
    let mut groups: Vec<Vec<Batch>> = Vec::new();
    let mut rows = usize::MAX;
    for members in batches(passages, kind) {
        let batch = Batch::new(passages, &members);
        if rows.saturating_add(batch.ids.len()).saturating_mul(size_of::<f32>() * width) > bytes {
            groups.push(Vec::new());
            rows = 0;
        }
        rows += batch.ids.len();
        groups.last_mut().expect("one was pushed before the first batch").push(batch);
    }
    groups
}

/// Which passages go together, in alphabetical order.
fn batches<K: Ord>(passages: &[Passage], kind: impl Fn(usize) -> K) -> Vec<Vec<usize>> {
    let of = |member: usize| {
        let input = passages[member].input();
        (kind(input.len()), input)
    };
    let mut order: Vec<usize> = (0..passages.len()).collect();
    order.sort_by(|&a, &b| of(a).cmp(&of(b)));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let (mut rows, mut tokens, mut before) = (0, 0, &[][..]);
    for member in order {
        let input = passages[member].input();
        let new = input.len() - common_prefix(before, input);
        let alike = kind(before.len()) == kind(input.len());
        let fits = alike && rows + new <= BATCH_ROWS && tokens + input.len() <= BATCH_TOKENS;
        if batches.is_empty() || !fits {
            batches.push(Vec::new());
            (rows, tokens) = (input.len(), input.len());
        } else {
            (rows, tokens) = (rows + new, tokens + input.len());
        }
        batches.last_mut().expect("one was pushed").push(member);
        before = input;
    }
    batches
}

/// The states after the last block of each batch, [rows, hidden]; every block is loaded once.
pub(super) fn states(
    decoder: &Decoder,
    group: &[Batch],
    precision: Precision,
    progress: &mut dyn FnMut(f64),
) -> Result<Vec<Tensor>> {
    let embed = |batch: &Batch| decoder.embed(&batch.ids, &batch.layout.positions());
    let mut states = group.iter().map(embed).collect::<Result<Vec<_>>>()?;
    let spec = decoder.spec();
    let rotary = [false, true].map(|stretched| {
        let lengths = group.iter().map(Batch::longest).filter(|&length| spec.is_stretched(length) == stretched);
        decoder.rotary(lengths.max().unwrap_or(0))
    });
    let angles = |batch: &Batch| rotary[usize::from(spec.is_stretched(batch.longest()))].as_slice();
    let blocks = decoder.spec().blocks.len();
    let total: usize = group.iter().map(Batch::whole).sum();
    for index in 0..blocks {
        let block = decoder.load_block(index)?;
        let mut done = 0;
        for (states, batches) in states.chunks_mut(AT_ONCE).zip(group.chunks(AT_ONCE)) {
            advance(&block, states, batches, angles, precision)?;
            done += batches.iter().map(Batch::whole).sum::<usize>();
            progress((index as f64 + done as f64 / total as f64) / (blocks + 1) as f64);
        }
    }
    Ok(states)
}

/// Takes a few batches through a block, side by side.
fn advance<'a>(
    block: &Block,
    states: &mut [Tensor],
    batches: &[Batch],
    angles: impl Fn(&Batch) -> &'a [RotaryTable] + Sync,
    precision: Precision,
) -> Result<()> {
    let one = |(states, batch): (&mut Tensor, &Batch)| {
        let context = Context { sequences: &batch.layout, rotary: angles(batch) };
        let y = block.forward(&mut Tape::new(precision), &(&*states).into(), context, &mut NoTap)?;
        // copied back: buffers that live as long as a group would otherwise lie between those of a forward pass
        states.host_mut().copy_from_slice(y.tensor().host());
        Ok(())
    };
    states.par_iter_mut().zip(batches).map(one).collect()
}

/// The rows of some batches that are asked for.
pub(super) fn asked(passages: &[Passage], batches: &[Batch], states: &[Tensor]) -> Result<Asked> {
    let (mut hidden, mut targets, mut members) = (Vec::new(), Vec::new(), Vec::new());
    for (batch, states) in batches.iter().zip(states) {
        let (rows, tokens) = batch.asked(passages);
        let chosen = Tape::new(Precision::F32).select_rows(&states.into(), &rows)?;
        hidden.push(chosen.tensor().clone());
        targets.extend(tokens);
        members.extend_from_slice(&batch.members);
    }
    Ok(Asked { hidden: Tensor::stack(&hidden)?, targets, members })
}

/// The part of the answers `all`, one per row, that belongs to each passage: (passage, its rows).
pub(super) fn by_passage<'a>(
    asked: &'a Asked,
    passages: &'a [Passage],
) -> impl Iterator<Item = (usize, Range<usize>)> + 'a {
    let mut start = 0;
    asked.members.iter().map(move |&member| {
        let rows = start..start + passages[member].targets().len();
        start = rows.end;
        (member, rows)
    })
}

/// What the model says about the tokens asked for, for each passage.
///
/// # Errors
/// If a passage asks about its first token or about none, the model cannot be read, or memory is short.
pub fn next_tokens(
    decoder: &Decoder,
    passages: &[Passage],
    precision: Precision,
    progress: &mut dyn FnMut(f64),
) -> Result<Vec<Vec<NextToken>>> {
    if let Some(passage) = passages.iter().find(|passage| passage.first == 0 || passage.first >= passage.tokens.len()) {
        let problem = format!("tokens from {} on of {} cannot be predicted", passage.first, passage.tokens.len());
        return Err(Error::Text { problem, hint: Some("ask about tokens from 1 to the last".into()) });
    }
    let mut found = vec![Vec::new(); passages.len()];
    let head = decoder.head()?;
    let spec = decoder.spec();
    let groups = groups(passages, |length| spec.is_stretched(length), spec.hidden, group_bytes(spec));
    let total: usize = groups.iter().flatten().map(Batch::whole).sum();
    let mut done = 0;
    for group in groups {
        let share = group.iter().map(Batch::whole).sum::<usize>();
        let states = states(decoder, &group, precision, &mut |part| {
            progress((done as f64 + part * share as f64) / total as f64);
        })?;
        for (batches, states) in group.chunks(HEAD_BATCHES).zip(states.chunks(HEAD_BATCHES)) {
            let asked = asked(passages, batches, states)?;
            let said = head.next_tokens(&asked.hidden, &asked.targets, precision)?;
            by_passage(&asked, passages).for_each(|(passage, rows)| found[passage] = said[rows].to_vec());
        }
        done += share;
        progress(done as f64 / total as f64);
    }
    Ok(found)
}
