//! A block in memory, and what it makes of states.

use std::borrow::Cow;
use std::sync::Arc;

use super::block_spec::{BlockSpec, BranchId};
use super::pass::{Context, EveryToken, Pass, Tap};
use super::program::Operation;
use crate::autograd::{Tape, Value};
use crate::error::Result;
use crate::tensor::{Tensor, misfit};
use lopper_kernels::Precision;

/// One block of a decoder, or what stands around the blocks: its tensors in memory as f32.
#[derive(Clone, Debug)]
pub struct Block {
    /// What it is made of.
    pub spec: Arc<BlockSpec>,
    /// What stands before the names of its tensors.
    pub prefix: String,
    /// In the order of the description; weights [d_out, d_in].
    pub tensors: Vec<Tensor>,
}

impl Block {
    /// Name of a tensor in the files.
    pub fn name(&self, tensor: usize) -> String {
        format!("{}{}", self.prefix, self.spec.tensors[tensor].name)
    }

    /// A tensor as the file holds it.
    ///
    /// # Errors
    /// If the file cannot hold it so.
    pub fn in_file(&self, tensor: usize) -> Result<Cow<'_, Tensor>> {
        self.spec.tensors[tensor].write(&self.tensors[tensor])
    }

    /// The weight of a linear layer.
    pub fn weight(&self, linear: usize) -> &Tensor {
        &self.tensors[self.spec.linears[linear].weight]
    }

    /// Its tensors as constants.
    pub fn constants(&self) -> Vec<Value> {
        self.tensors.iter().map(Value::from).collect()
    }

    /// All stages; x [rows, hidden] → [rows, hidden].
    ///
    /// # Errors
    /// If shapes do not fit, or the tap fails.
    pub fn forward(&self, tape: &mut Tape, x: &Value, context: Context, tap: &mut dyn Tap) -> Result<Value> {
        let constants = self.constants();
        (0..self.spec.stages.len())
            .try_fold(x.clone(), |x, stage| self.stage(stage, &constants, tape, &x, context, tap))
    }

    /// One stage, its tensors as given; x [rows, hidden] → [rows, hidden].
    ///
    /// # Errors
    /// If shapes do not fit, or the tap fails.
    pub fn stage(
        &self,
        stage: usize,
        tensors: &[Value],
        tape: &mut Tape,
        x: &Value,
        context: Context,
        tap: &mut dyn Tap,
    ) -> Result<Value> {
        let stage = &self.spec.stages[stage];
        let mut pass = Pass { spec: &self.spec, tensors, tape, context, tap };
        let mut sum = stage.residual.then(|| x.clone());
        for branch in &stage.branches {
            sum = Some(pass.branch(&branch.program, x, sum)?);
        }
        let sum = sum.ok_or_else(|| misfit("a stage without a branch".into()))?;
        match &stage.after {
            Some(after) => pass.alone(after, sum),
            None => Ok(sum),
        }
    }

    /// A branch as far as taps see anything of it.
    ///
    /// # Errors
    /// If shapes do not fit, or the tap fails.
    pub fn show(
        &self,
        branch: BranchId,
        tensors: &[Value],
        tape: &mut Tape,
        x: &Value,
        context: Context,
        tap: &mut dyn Tap,
    ) -> Result<()> {
        let program = &self.spec.branch(branch).program;
        let is_first = |linear: usize| self.spec.linears[linear].first_reader == linear;
        let needed = program.needed(|linear| is_first(linear) && tap.wants(linear));
        let mut pass = Pass { spec: &self.spec, tensors, tape, context, tap };
        pass.run(program, x, program.instructions().len(), &needed)?;
        Ok(())
    }

    /// The scores of the experts of a branch for rows x [rows, hidden], and what each of them, in order, makes of every row.
    ///
    /// # Errors
    /// If shapes do not fit, or the branch has no experts.
    pub fn experts(&self, branch: BranchId, x: &Tensor, context: Context) -> Result<(Tensor, Vec<Tensor>)> {
        let (program, tensors) = (&self.spec.branch(branch).program, self.constants());
        let all = program.instructions();
        let place = |is_it: fn(&Operation) -> bool| {
            let place = all.iter().position(|one| is_it(&one.operation));
            place.ok_or_else(|| misfit("a branch without experts".into()))
        };
        let route = place(|operation| matches!(operation, Operation::Route { .. }))?;
        let combine = place(|operation| matches!(operation, Operation::Combine))?;
        let (mut tape, mut tap) = (Tape::new(Precision::F32), EveryToken);
        let mut pass = Pass { spec: &self.spec, tensors: &tensors, tape: &mut tape, context, tap: &mut tap };
        let mut found = |count: usize, reads: &[usize]| {
            let slots = pass.run(program, &x.into(), count, &vec![true; all.len() + 1])?;
            reads
                .iter()
                .map(|&value| slots[value].as_ref().ok_or_else(|| misfit("a value that is not there".into()))?.tensor())
                .collect::<Result<Vec<_>>>()
        };
        let scores = found(route, &all[route].reads)?.swap_remove(0);
        Ok((scores, found(combine, &all[combine].reads[1..])?))
    }

    /// A linear layer alone, its tensors as given; x [rows, d_in] → [rows, d_out].
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn linear(&self, linear: usize, tensors: &[Value], tape: &mut Tape, x: &Value) -> Result<Value> {
        let spec = &self.spec.linears[linear];
        tape.linear(x, &tensors[spec.weight], spec.bias.map(|bias| &tensors[bias]), None)
    }
}
