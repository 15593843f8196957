//! How a family writes a block down: branch by branch.

use super::block_spec::{BlockSpec, Branch, Kind, Stage, TensorSpec};
pub use super::branch_builder::BranchBuilder;
use super::form::Form;
pub use super::norm::Norm;
use super::norm::add_norm;
use super::program::{Operation, Program};

/// A block in the making.
#[derive(Default)]
pub struct BlockBuilder {
    spec: BlockSpec,
    /// How the file holds the weights of linear layers.
    weights: Form,
}

impl BlockBuilder {
    /// A block whose file holds the weights of linear layers transposed.
    pub fn transposed() -> Self {
        Self { weights: Form::Transposed, ..Self::default() }
    }

    /// Begins a branch that reads states of this width; its value 0.
    pub fn branch(&mut self, name: &'static str, width: usize) -> BranchBuilder<'_> {
        let program = Program::new(width);
        BranchBuilder {
            spec: &mut self.spec,
            weights: self.weights,
            name,
            program,
            linears: Vec::new(),
            others: Vec::new(),
            cached: None,
        }
    }

    /// Ends a stage whose branches are added to the states.
    pub fn stage(&mut self, branches: impl Into<Vec<Branch>>) {
        self.stage_and(branches, None);
    }

    /// The same, and the sum is multiplied by the number of this name.
    pub fn multiplied_stage(&mut self, branches: impl Into<Vec<Branch>>, name: &str) {
        let factors = self.spec.tensors.len();
        let (name, kind, form) = (name.into(), Kind::Factor, Form::Plain);
        self.spec.tensors.push(TensorSpec { name, shape: vec![1], kind, form, rows: None });
        self.stage_and(branches, Some(Operation::Times { factors, which: 0 }));
    }

    fn stage_and(&mut self, branches: impl Into<Vec<Branch>>, after: Option<Operation>) {
        let mut branches = branches.into();
        // a norm that several branches read trains with the last of them, when the others are as they will be
        for place in 1..branches.len() {
            let (earlier, later) = branches.split_at_mut(place);
            let later = later.iter().flat_map(|branch| &branch.others).copied().collect::<Vec<_>>();
            earlier[place - 1].others.retain(|tensor| !later.contains(tensor));
        }
        self.spec.stages.push(Stage { branches, residual: true, after });
    }

    /// Ends attention and feed-forward layer: a stage of both where they stand side by side, else a stage of each.
    pub fn stages(&mut self, parallel: bool, [attention, mlp]: [Branch; 2]) {
        if parallel {
            self.stage([attention, mlp]);
        } else {
            self.stage([attention]);
            self.stage([mlp]);
        }
    }

    /// The same as [`BlockBuilder::stage`], and the sum goes through a norm of this name.
    pub fn normed_stage(&mut self, branches: impl Into<Vec<Branch>>, norm: Norm, name: &str) {
        let mut branches = branches.into();
        let width = branches.first().map_or(0, |branch| branch.program.width(0));
        let (operation, tensors) = add_norm(&mut self.spec, norm, name, width);
        for branch in &mut branches {
            branch.others.extend_from_slice(&tensors);
        }
        self.spec.stages.push(Stage { branches, residual: true, after: Some(operation) });
    }

    /// One branch that replaces the states: what stands before the blocks, or after them.
    pub fn replacing(mut self, branch: Branch) -> BlockSpec {
        self.spec.stages.push(Stage { branches: vec![branch], residual: false, after: None });
        self.spec
    }

    /// A norm that replaces the states, times a factor if there is one: what stands between the last block and the head.
    pub fn final_norm(width: usize, norm: Norm, name: &str, scale: Option<f32>) -> BlockSpec {
        let mut block = Self::default();
        let mut branch = block.branch("final norm", width);
        let x = branch.norm(BranchBuilder::INPUT, norm, name);
        branch.scale(x, scale);
        let branch = branch.finish();
        block.replacing(branch)
    }

    /// The block.
    pub fn finish(self) -> BlockSpec {
        self.spec
    }
}
