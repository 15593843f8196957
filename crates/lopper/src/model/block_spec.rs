//! What a block is made of, as data: its tensors, its linear layers, and stages of branches that compute with them.
//!
//! A stage adds the outputs of its branches to the residual stream, and may norm the sum, or multiply it. Llama has two stages of one
//! branch each; GPT-NeoX has one stage of two branches. A branch is what trains together by default.

use std::borrow::Cow;
use std::sync::Arc;

use super::form::Form;
use super::program::{Operation, Program};
use crate::error::Result;
use crate::tensor::Tensor;

/// A block: its tensors, its linear layers, and what they compute.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BlockSpec {
    /// Everything that the files hold of it.
    pub tensors: Vec<TensorSpec>,
    /// What can be pruned, in the order of the forward pass.
    pub linears: Vec<LinearSpec>,
    /// In order.
    pub stages: Vec<Stage>,
}

/// A tensor of the files.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    /// Its name within the block.
    pub name: String,
    /// In memory.
    pub shape: Vec<usize>,
    /// What it is.
    pub kind: Kind,
    /// How the file holds it.
    pub form: Form,
    /// Those of its rows in the file that it has, where some are gone.
    pub rows: Option<Arc<Rows>>,
}

/// Rows of a tensor of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// How many the file has.
    pub of: usize,
    /// Places of those that stay, in order.
    pub kept: Vec<usize>,
}

/// What a tensor is, for training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of a linear layer [d_out, d_in].
    Weight,
    /// Of a linear layer `[d_out]`.
    Bias,
    /// Weight or bias of a norm.
    Norm,
    /// What a router goes by.
    Router,
    /// A filter over neighbouring tokens, or what it adds.
    Convolution,
    /// How the state of a recurrence decays, or what passes it by.
    State,
    /// Scores of attention that belong to no key.
    Sink,
    /// What the states are multiplied by. It never trains.
    Factor,
}

impl Kind {
    /// Those that train only where they are asked for.
    pub const SPECIAL: [Self; 4] = [Self::Router, Self::Convolution, Self::State, Self::Sink];
}

impl TensorSpec {
    /// Its shape in the file.
    pub fn file_shape(&self) -> Vec<usize> {
        let mut shape: Vec<usize> = match self.form {
            Form::Transposed => self.shape.iter().rev().copied().collect(),
            Form::Plain | Form::LessOne => self.shape.clone(),
        };
        if let (Some(rows), Some(first)) = (&self.rows, shape.first_mut()) {
            *first = rows.of;
        }
        shape
    }

    /// The tensor of a file as it is used.
    ///
    /// # Errors
    /// If it is not of this shape.
    pub fn read(&self, tensor: Tensor) -> Result<Tensor> {
        let Some(rows) = &self.rows else { return self.form.read(tensor) };
        let width = tensor.len() / rows.of.max(1);
        let kept = rows.kept.iter().flat_map(|&row| &tensor.host()[row * width..(row + 1) * width]).copied();
        self.form.read(Tensor::new(self.shape.as_slice(), kept.collect()))
    }

    /// A tensor as the file has it; rows that are gone are zeros.
    ///
    /// # Errors
    /// If a transpose is no matrix.
    pub fn write<'a>(&self, tensor: &'a Tensor) -> Result<Cow<'a, Tensor>> {
        let own = self.form.write(tensor)?;
        let Some(rows) = &self.rows else { return Ok(own) };
        let mut whole = Tensor::zeros(self.file_shape());
        let width = own.len() / rows.kept.len().max(1);
        for (&row, own) in rows.kept.iter().zip(own.host().chunks(width.max(1))) {
            whole.host_mut()[row * width..(row + 1) * width].copy_from_slice(own);
        }
        Ok(Cow::Owned(whole))
    }
}

/// A linear layer `x·Wᵀ + b`.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearSpec {
    /// What people call it.
    pub role: &'static str,
    /// Place of its weight among the tensors.
    pub weight: usize,
    /// Place of its bias.
    pub bias: Option<usize>,
    /// [d_out, d_in]
    pub shape: [usize; 2],
    /// The first linear layer that reads the same input: they share its statistics.
    pub first_reader: usize,
    /// Whether it is of an expert, and reads only the tokens that go there.
    pub of_expert: bool,
    /// Tokens that it reads, as a share of all, on average over the experts.
    pub share: f64,
}

impl LinearSpec {
    /// How many weights it has.
    pub fn weights(&self) -> usize {
        self.shape[0] * self.shape[1]
    }
}

/// Branches that read the same states and add to them.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// In order.
    pub branches: Vec<Branch>,
    /// Whether the states that it reads are added to what the branches give.
    pub residual: bool,
    /// What is made of the sum: a norm of it, or a multiple.
    pub after: Option<Operation>,
}

/// What trains together by default: attention, or a feed-forward layer, with the norm before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Branch {
    /// What people call it.
    pub name: &'static str,
    /// What it computes.
    pub program: Program,
    /// Its linear layers.
    pub linears: Vec<usize>,
    /// Its other tensors: of norms, that of its stage included, of routers, filters and recurrences.
    pub others: Vec<usize>,
    /// Numbers per token that a runtime keeps of it, where those are not the keys and values of its attention.
    pub cached: Option<usize>,
}

/// A linear layer of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct LinearId {
    /// Index of the block.
    pub block: usize,
    /// Place among the linear layers of the block.
    pub index: usize,
}

/// A stage of a model, or of the blocks of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StageId {
    /// Index of the block.
    pub block: usize,
    /// Place in the block.
    pub stage: usize,
}

/// A branch of a model, or of the blocks of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BranchId {
    /// Its stage.
    pub at: StageId,
    /// Place in the stage.
    pub branch: usize,
}

impl BlockSpec {
    /// Stages in order, counted in a block of this index.
    pub fn stage_ids(&self, block: usize) -> impl Iterator<Item = StageId> + use<> {
        (0..self.stages.len()).map(move |stage| StageId { block, stage })
    }

    /// Branches of all stages in order, counted in a block of this index.
    pub fn branch_ids(&self, block: usize) -> impl Iterator<Item = BranchId> {
        self.stage_ids(block)
            .flat_map(|at| (0..self.stages[at.stage].branches.len()).map(move |branch| BranchId { at, branch }))
    }

    /// A branch; of its id only the place in the block counts.
    pub fn branch(&self, id: BranchId) -> &Branch {
        &self.stages[id.at.stage].branches[id.branch]
    }

    /// The linear layer whose outputs a branch adds to the states as they are, if there is one that no other reads with.
    pub fn adds(&self, branch: BranchId) -> Option<usize> {
        let (stage, program) = (&self.stages[branch.at.stage], &self.branch(branch).program);
        let last = program.instructions().last()?;
        match last.operation {
            Operation::Linear(linear) if stage.residual && stage.after.is_none() => {
                Some(linear).filter(|&linear| self.linears[linear].first_reader == linear)
            }
            _ => None,
        }
    }

    /// Weights of all linear layers.
    pub fn weights(&self) -> usize {
        self.linears.iter().map(LinearSpec::weights).sum()
    }

    /// Whether there is a tensor of this kind.
    pub fn has(&self, kind: Kind) -> bool {
        self.tensors.iter().any(|tensor| tensor.kind == kind)
    }

    /// Whether any linear layer has a bias.
    pub fn has_bias(&self) -> bool {
        self.linears.iter().any(|linear| linear.bias.is_some())
    }
}
