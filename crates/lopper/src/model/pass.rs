//! The one interpreter of the programs of branches.
//!
//! Two things are fused on the way: the last linear layer of a branch adds onto the residual stream, and a norm that only linear
//! layers read keeps the gradient of its weight cheap ([`crate::autograd::Normed`]). A value is dropped when nothing reads it any more.

use std::sync::Arc;

use super::block_spec::BlockSpec;
use super::program::{Instruction, NormKind, Operation, Program};
use super::sequences::Sequences;
use crate::autograd::{Normed, RotaryTable, Routes, Tape, Value};
use crate::error::Result;
use crate::tensor::{Tensor, misfit};

/// What a forward pass knows beside its input.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Which rows are which tokens.
    pub sequences: &'a Sequences,
    /// Angles of every rotary embedding of the decoder, for the longest sequence.
    pub rotary: &'a [RotaryTable],
}

/// Sees the inputs of linear layers during a forward pass.
pub trait Tap {
    /// The linear layer `first`, and those that read the same, are about to read `input` [rows, d_in]: a row for every token, or for these.
    ///
    /// # Errors
    /// Ends the forward pass.
    fn linear_input(&mut self, first: usize, input: &Tensor, tokens: Option<&Arc<[u32]>>) -> Result<()>;

    /// Whether the inputs of this layer are wanted; [`Block::show`](super::Block::show) computes no others.
    fn wants(&self, _first: usize) -> bool {
        true
    }

    /// Whether experts are to read every token instead of their own. What they give cannot be combined then: only [`Block::show`](super::Block::show) may.
    fn every_token(&self) -> bool {
        false
    }
}

/// Looks at nothing.
pub struct NoTap;

impl Tap for NoTap {
    fn linear_input(&mut self, _: usize, _: &Tensor, _: Option<&Arc<[u32]>>) -> Result<()> {
        Ok(())
    }
}

/// Looks at nothing, and sends every token to every expert.
pub(super) struct EveryToken;

impl Tap for EveryToken {
    fn linear_input(&mut self, _: usize, _: &Tensor, _: Option<&Arc<[u32]>>) -> Result<()> {
        Ok(())
    }

    fn every_token(&self) -> bool {
        true
    }
}

/// A value on the way.
pub(super) struct Slot {
    normed: Normed,
    rows: Rows,
    /// Where it sends tokens.
    routes: Option<Arc<Routes>>,
}

/// What the rows of a value are.
#[derive(Clone)]
enum Rows {
    /// Those of the batch.
    Batch,
    /// The tokens of every sequence, rows that sequences share included.
    Whole,
    /// Some rows of the batch.
    Some(Arc<[u32]>),
}

impl Slot {
    fn new(normed: impl Into<Normed>, rows: &Rows) -> Self {
        Self { normed: normed.into(), rows: rows.clone(), routes: None }
    }

    fn routes(&self) -> Result<&Arc<Routes>> {
        self.routes.as_ref().ok_or_else(|| misfit("a value that routes nothing".into()))
    }

    /// The numbers, where no gradient goes by other ways.
    pub fn tensor(&self) -> Result<Tensor> {
        self.value().map(|value| value.tensor().clone())
    }

    fn value(&self) -> Result<&Value> {
        self.normed.value().ok_or_else(|| misfit("only linear layers can read this norm".into()))
    }
}

/// A forward pass through one stage.
pub(super) struct Pass<'a, 't> {
    pub spec: &'a BlockSpec,
    pub tensors: &'a [Value],
    pub tape: &'t mut Tape,
    pub context: Context<'a>,
    pub tap: &'t mut dyn Tap,
}

impl Pass<'_, '_> {
    /// The output of a program, added to `residual` if there is one.
    pub fn branch(&mut self, program: &Program, x: &Value, residual: Option<Value>) -> Result<Value> {
        let last = program.instructions().len() - 1;
        let slots = self.run(program, x, last, &vec![true; last + 1])?;
        let one = &program.instructions()[last];
        let input = slots[one.reads[0]].as_ref().and_then(|slot| slot.normed.value());
        if let (&Operation::Linear(linear), Some(residual), Some(input)) = (&one.operation, &residual, input) {
            self.tapped(linear, input.tensor(), &Rows::Batch)?;
            let spec = &self.spec.linears[linear];
            let bias = spec.bias.map(|bias| &self.tensors[bias]);
            return self.tape.linear(input, &self.tensors[spec.weight], bias, Some(residual));
        }
        let y = self.instruction(one, &slots, false)?.normed.into_value()?;
        residual.map_or(Ok(y.clone()), |residual| self.tape.add(&residual, &y))
    }

    /// One operation of a value.
    pub fn alone(&mut self, operation: &Operation, x: Value) -> Result<Value> {
        let one = Instruction { operation: operation.clone(), reads: vec![0] };
        self.instruction(&one, &[Some(Slot::new(x, &Rows::Batch))], false)?.normed.into_value()
    }

    /// The values after the first `count` instructions that later ones read, as far as they are needed. Of a linear layer that is not, what
    /// it would read is shown.
    pub fn run(&mut self, program: &Program, x: &Value, count: usize, needed: &[bool]) -> Result<Vec<Option<Slot>>> {
        let last_reads = program.last_reads();
        let mut slots = vec![Some(Slot::new(x.clone(), &Rows::Batch))];
        for (place, one) in program.instructions()[..count].iter().enumerate() {
            let cheap = program.only_linears_read(place + 1);
            slots.push(match (&one.operation, &slots[one.reads[0]]) {
                _ if needed[place + 1] => Some(self.instruction(one, &slots, cheap)?),
                (&Operation::Linear(linear), Some(input)) => {
                    self.tapped(linear, input.normed.tensor(), &input.rows)?;
                    None
                }
                _ => None,
            });
            for &value in one.reads.iter().filter(|&&value| last_reads[value] == Some(place)) {
                slots[value] = None;
            }
        }
        Ok(slots)
    }

    fn instruction(&mut self, one: &Instruction, slots: &[Option<Slot>], cheap: bool) -> Result<Slot> {
        let slot = |which: usize| {
            let slot = one.reads.get(which).and_then(|&value| slots.get(value)).and_then(Option::as_ref);
            slot.ok_or_else(|| misfit("a program reads a value that is not there".into()))
        };
        let first = slot(0)?;
        let rows = &first.rows;
        Ok(match &one.operation {
            norm @ Operation::Norm { .. } => Slot::new(self.norm(norm, first.value()?, cheap)?, rows),
            &Operation::Linear(linear) => {
                self.tapped(linear, first.normed.tensor(), rows)?;
                let spec = &self.spec.linears[linear];
                let bias = spec.bias.map(|bias| &self.tensors[bias]);
                Slot::new(self.tape.normed_linear(&first.normed, &self.tensors[spec.weight], bias)?, rows)
            }
            Operation::Columns(columns) => Slot::new(self.tape.columns(first.value()?, columns)?, rows),
            Operation::Join(parts) => {
                let slots = (0..one.reads.len()).map(slot).collect::<Result<Vec<_>>>()?;
                let turned = slots.iter().any(|slot| matches!(slot.rows, Rows::Whole));
                let of = |slot: &&Slot| if turned { self.whole(slot) } else { slot.value().cloned() };
                let values = slots.iter().map(of).collect::<Result<Vec<_>>>()?;
                let y = self.tape.join(&values.iter().collect::<Vec<_>>(), parts)?;
                Slot::new(y, if turned { &Rows::Whole } else { rows })
            }
            &Operation::Rotary { head_dim, table } => {
                let (x, offsets) = (self.whole(first)?, self.context.sequences.offsets());
                Slot::new(self.tape.rotary(&x, head_dim, offsets, &self.context.rotary[table])?, &Rows::Whole)
            }
            Operation::Attention { layout, sinks } => {
                let [q, k, v] = [0, 1, 2].map(|which| self.whole(slot(which)?));
                let (q, k, v) = (q?, k?, v?);
                let (sinks, offsets) = (sinks.map(|place| &self.tensors[place]), self.context.sequences.offsets());
                let y = self.tape.attention([&q, &k, &v], sinks, layout, offsets)?;
                Slot::new(self.context.sequences.rows(self.tape, y)?, &Rows::Batch)
            }
            &Operation::Convolution { weight, bias } => {
                let (x, weight) = (self.whole(first)?, &self.tensors[weight]);
                let bias = bias.map_or_else(
                    || Tensor::zeros([weight.tensor().shape()[0]]).into(),
                    |bias| self.tensors[bias].clone(),
                );
                let y = self.tape.convolution(&x, weight, &bias, self.context.sequences.offsets())?;
                Slot::new(self.context.sequences.rows(self.tape, y)?, &Rows::Batch)
            }
            &Operation::Scan { decay, skip } => {
                let [x, step, b, c] = [0, 1, 2, 3].map(|which| self.whole(slot(which)?));
                let (x, step, b, c) = (x?, step?, b?, c?);
                let inputs = [&x, &step, &b, &c, &self.tensors[decay], &self.tensors[skip]];
                let y = self.tape.scan(inputs, self.context.sequences.offsets())?;
                Slot::new(self.context.sequences.rows(self.tape, y)?, &Rows::Batch)
            }
            &Operation::HeadScan { decay, skip, bias, heads } => {
                let [x, step, b, c] = [0, 1, 2, 3].map(|which| self.whole(slot(which)?));
                let (x, step, b, c) = (x?, step?, b?, c?);
                let [decay, skip, bias] = [decay, skip, bias].map(|place| &self.tensors[place]);
                let offsets = self.context.sequences.offsets();
                let y = self.tape.head_scan([&x, &step, &b, &c, decay, skip, bias], heads, offsets)?;
                Slot::new(self.context.sequences.rows(self.tape, y)?, &Rows::Batch)
            }
            &Operation::DeltaScan { decay, bias, heads } => {
                let [query, key, value, step, strength] = [0, 1, 2, 3, 4].map(|which| self.whole(slot(which)?));
                let (query, key, value, step, strength) = (query?, key?, value?, step?, strength?);
                let [decay, bias] = [decay, bias].map(|place| &self.tensors[place]);
                let inputs = [&query, &key, &value, &step, &strength, decay, bias];
                let y = self.tape.delta_scan(inputs, heads, self.context.sequences.offsets())?;
                Slot::new(self.context.sequences.rows(self.tape, y)?, &Rows::Batch)
            }
            &Operation::Activate(kind) => Slot::new(self.tape.activate(kind, first.value()?)?, rows),
            &Operation::Scale(factor) => Slot::new(self.tape.scale(first.value()?, factor)?, rows),
            &Operation::Times { factors, which } => {
                Slot::new(self.tape.times(first.value()?, &self.tensors[factors], which)?, rows)
            }
            &Operation::Clamp(bound) => Slot::new(self.tape.clamp(first.value()?, bound)?, rows),
            &Operation::Gated(kind) => Slot::new(self.tape.gated(kind, first.value()?, slot(1)?.value()?)?, rows),
            &Operation::ClampedGate(gate) => Slot::new(self.tape.clamped_gate(gate, first.value()?)?, rows),
            Operation::Add => Slot::new(self.tape.add(first.value()?, slot(1)?.value()?)?, rows),
            Operation::GateRows => Slot::new(self.tape.gate_rows(first.value()?, slot(1)?.value()?)?, rows),
            &Operation::Score { weight, bias } => {
                let bias = bias.map(|bias| &self.tensors[bias]);
                Slot::new(self.tape.score(first.value()?, &self.tensors[weight], bias)?, rows)
            }
            Operation::Route { routing, correction } => {
                let (scores, correction) = (first.value()?, correction.map(|place| self.tensors[place].tensor()));
                let routes = Arc::new(routing.choose(scores.tensor(), correction)?);
                let weights = self.tape.route(routing, &routes, scores)?;
                Slot { routes: Some(routes), ..Slot::new(weights, rows) }
            }
            Operation::Reaching { .. } if self.tap.every_token() => Slot::new(first.value()?.clone(), rows),
            &Operation::Reaching { expert, .. } => {
                let tokens = slot(1)?.routes()?.reaching(expert);
                Slot::new(self.tape.select_rows(first.value()?, tokens)?, &Rows::Some(tokens.clone()))
            }
            Operation::Combine => {
                let outputs = (1..one.reads.len()).map(|which| slot(which)?.value()).collect::<Result<Vec<_>>>()?;
                Slot::new(self.tape.combine(first.routes()?, first.value()?, &outputs)?, rows)
            }
        })
    }

    /// A value with a row for every token of every sequence.
    fn whole(&mut self, slot: &Slot) -> Result<Value> {
        let value = slot.value()?.clone();
        if matches!(slot.rows, Rows::Whole) { Ok(value) } else { self.context.sequences.whole(self.tape, value) }
    }

    fn norm(&mut self, operation: &Operation, x: &Value, cheap: bool) -> Result<Normed> {
        let &Operation::Norm { kind, weight, bias, width, epsilon } = operation else {
            return Err(misfit("no norm".into()));
        };
        let given = |tensor: Option<usize>, default: f32| {
            tensor.map_or_else(
                || Tensor::new([width], vec![default; width]).into(),
                |tensor| self.tensors[tensor].clone(),
            )
        };
        let weight: Value = given(weight, 1.0);
        match kind {
            NormKind::Rms if cheap => self.tape.norm(x, &weight, width, epsilon),
            NormKind::Rms => Ok(self.tape.rms_norm(x, &weight, width, epsilon)?.into()),
            NormKind::Layer => {
                let bias: Value = given(bias, 0.0);
                Ok(self.tape.layer_norm(x, &weight, &bias, epsilon)?.into())
            }
        }
    }

    /// Shows the tap what a linear layer reads, if it is the first to read it.
    fn tapped(&mut self, linear: usize, input: &Tensor, rows: &Rows) -> Result<()> {
        if self.spec.linears[linear].first_reader != linear {
            return Ok(());
        }
        let tokens = if let Rows::Some(tokens) = rows { Some(tokens) } else { None };
        self.tap.linear_input(linear, input, tokens)
    }
}
