//! What a decoder is made of, as data: read once from config.json by a family, and all that anything else knows of it.
//!
//! A block is a list of stages. A stage adds the outputs of its branches to the residual stream, and may norm the sum. Llama has two
//! stages of one branch each; GPT-NeoX has one stage of two branches. A branch is what trains together by default.

use std::borrow::Cow;
use std::sync::Arc;

use super::program::{Operation, Program};
use super::rotary::RotarySpec;
use crate::checkpoint::StorageDtype;
use crate::error::Result;
use crate::tensor::Tensor;

/// A decoder-only language model.
#[derive(Clone, Debug)]
pub struct DecoderSpec {
    /// Name of the family, as in `FAMILIES`.
    pub family: &'static str,
    /// Tokens that there are: rows of the embedding.
    pub vocabulary: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Longest sequence the model was made for.
    pub max_positions: usize,
    /// From tokens to the residual stream.
    pub stem: Stem,
    /// What stands before the number of a block in the names of its tensors, `model.layers.`.
    pub block_prefix: &'static str,
    /// In order; blocks that are alike share one description.
    pub blocks: Vec<Arc<BlockSpec>>,
    /// From the residual stream to the next token.
    pub head: HeadSpec,
    /// Rotary positions that blocks refer to.
    pub rotary: Vec<RotarySpec>,
}

/// From tokens to the residual stream: a row of the embedding, changed by what the family does with it, plus a row per position.
#[derive(Clone, Debug)]
pub struct Stem {
    /// Name of the embedding [vocabulary, width].
    pub embedding: &'static str,
    /// Width of its rows.
    pub width: usize,
    /// A factor of the embedding.
    pub scale: Option<f32>,
    /// What a row goes through before positions are added: a projection, or a norm.
    pub transform: Option<Arc<BlockSpec>>,
    /// Positions that are learned.
    pub positions: Option<LearnedPositions>,
}

impl Stem {
    /// An embedding of this name and width, and nothing else.
    pub fn plain(embedding: &'static str, width: usize) -> Self {
        Self { embedding, width, scale: None, transform: None, positions: None }
    }
}

/// A table with a row for each position.
#[derive(Clone, Debug)]
pub struct LearnedPositions {
    /// Name of the table [rows, hidden].
    pub name: &'static str,
    /// The row of the first position.
    pub offset: usize,
    /// How many rows there are.
    pub rows: usize,
}

/// From the residual stream to the next token.
#[derive(Clone, Debug)]
pub struct HeadSpec {
    /// Final norm and projection: one stage without a residual stream; or nothing.
    pub finish: Option<Arc<BlockSpec>>,
    /// Name of the matrix [vocabulary, width].
    pub weight: &'static str,
    /// Name of what is added to the logits `[vocabulary]`.
    pub bias: Option<&'static str>,
    /// Bounds logits softly: `cap·tanh(x / cap)`.
    pub soft_cap: Option<f32>,
    /// Width that it reads.
    pub width: usize,
}

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
}

/// How a file holds a tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    #[default]
    Plain,
    /// A matrix as its transpose.
    Transposed,
    /// Less one: weights of norms that are close to one.
    LessOne,
}

impl Form {
    /// The tensor of a file as it is used.
    ///
    /// # Errors
    /// If a transpose is no matrix.
    pub fn read(self, tensor: Tensor) -> Result<Tensor> {
        match self {
            Self::Plain => Ok(tensor),
            Self::Transposed => tensor.transposed(),
            Self::LessOne => Ok(shifted(tensor, 1.0)),
        }
    }

    /// Rounds a tensor to what it will be when it is read from a file of this dtype.
    pub fn round(self, tensor: &mut Tensor, dtype: StorageDtype) {
        match (self, dtype) {
            (_, StorageDtype::F32) => {}
            (Self::LessOne, _) => {
                let mut stored = shifted(std::mem::replace(tensor, Tensor::zeros([0])), -1.0);
                dtype.round(stored.host_mut());
                *tensor = shifted(stored, 1.0);
            }
            _ => dtype.round(tensor.host_mut()),
        }
    }

    /// A tensor as the file has it.
    ///
    /// # Errors
    /// If a transpose is no matrix.
    pub fn write(self, tensor: &Tensor) -> Result<Cow<'_, Tensor>> {
        Ok(match self {
            Self::Plain => Cow::Borrowed(tensor),
            Self::Transposed => Cow::Owned(tensor.transposed()?),
            Self::LessOne => Cow::Owned(shifted(tensor.clone(), -1.0)),
        })
    }
}

fn shifted(mut tensor: Tensor, by: f32) -> Tensor {
    for x in tensor.host_mut() {
        *x += by;
    }
    tensor
}

impl TensorSpec {
    /// Its shape in the file.
    pub fn file_shape(&self) -> Vec<usize> {
        match self.form {
            Form::Transposed => self.shape.iter().rev().copied().collect(),
            Form::Plain | Form::LessOne => self.shape.clone(),
        }
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
    /// A norm of the sum.
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
    /// Its other tensors, those of the norm of its stage included.
    pub others: Vec<usize>,
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

    /// Weights of all linear layers.
    pub fn weights(&self) -> usize {
        self.linears.iter().map(LinearSpec::weights).sum()
    }

    /// Whether any norm has a weight or a bias.
    pub fn has_norm(&self) -> bool {
        self.tensors.iter().any(|tensor| tensor.kind == Kind::Norm)
    }

    /// Whether any linear layer has a bias.
    pub fn has_bias(&self) -> bool {
        self.linears.iter().any(|linear| linear.bias.is_some())
    }
}

impl DecoderSpec {
    /// Every linear layer of the blocks, in order.
    pub fn linear_ids(&self) -> impl Iterator<Item = LinearId> {
        let blocks = self.blocks.iter().enumerate();
        blocks.flat_map(|(block, spec)| (0..spec.linears.len()).map(move |index| LinearId { block, index }))
    }

    /// A linear layer.
    pub fn linear(&self, id: LinearId) -> &LinearSpec {
        &self.blocks[id.block].linears[id.index]
    }

    /// Name of the weight of a linear layer.
    pub fn weight_name(&self, id: LinearId) -> String {
        self.tensor_name(id.block, self.linear(id).weight)
    }

    /// How the file holds the weight of a linear layer.
    pub fn form(&self, id: LinearId) -> Form {
        self.blocks[id.block].tensors[self.linear(id).weight].form
    }

    /// The linear layer of a block whose weight has this name.
    pub fn linear_named(&self, block: usize, name: &str) -> Option<LinearId> {
        let ids = (0..self.blocks.get(block)?.linears.len()).map(|index| LinearId { block, index });
        ids.into_iter().find(|&id| self.weight_name(id) == name)
    }

    /// Name of a tensor of a block.
    pub fn tensor_name(&self, block: usize, tensor: usize) -> String {
        self.prefix(block) + &self.blocks[block].tensors[tensor].name
    }

    /// What stands before the names of the tensors of a block.
    pub fn prefix(&self, block: usize) -> String {
        format!("{}{block}.", self.block_prefix)
    }

    /// The number of a linear layer among all of the model.
    pub fn linear_number(&self, id: LinearId) -> usize {
        self.blocks[..id.block].iter().map(|block| block.linears.len()).sum::<usize>() + id.index
    }

    /// The number of a branch among all of the model.
    pub fn branch_number(&self, id: BranchId) -> usize {
        let branches = |stages: &[Stage]| stages.iter().map(|stage| stage.branches.len()).sum::<usize>();
        let before: usize = self.blocks[..id.at.block].iter().map(|block| branches(&block.stages)).sum();
        before + branches(&self.blocks[id.at.block].stages[..id.at.stage]) + id.branch
    }

    /// The same model whose file leaves out what stands before all names but that of the head, `transformer.`: as a model without a head is
    /// saved.
    #[must_use]
    pub fn without_base(mut self) -> Self {
        let base = self.stem.embedding.split_inclusive('.').next().unwrap_or_default();
        let short = |name: &mut &'static str| *name = name.strip_prefix(base).unwrap_or(name);
        let names = [&mut self.stem.embedding, &mut self.block_prefix, &mut self.head.weight];
        names.into_iter().chain(self.stem.positions.as_mut().map(|table| &mut table.name)).for_each(short);
        let around = [&mut self.stem.transform, &mut self.head.finish].into_iter().flatten();
        for tensor in around.flat_map(|spec| &mut Arc::make_mut(spec).tensors) {
            tensor.name = tensor.name.strip_prefix(base).unwrap_or(&tensor.name).to_owned();
        }
        self
    }

    /// Whether the head is the transposed embedding.
    pub fn tied_embeddings(&self) -> bool {
        self.head.weight == self.stem.embedding
    }

    /// Weights of the linear layers of the largest block.
    pub fn block_weights(&self) -> usize {
        self.blocks.iter().map(|block| block.weights()).max().unwrap_or(0)
    }

    /// Whether any linear layer has a bias.
    pub fn has_bias(&self) -> bool {
        self.blocks.iter().any(|block| block.has_bias())
    }

    /// The widest input or output of a linear layer.
    pub fn widest(&self) -> usize {
        let linears = self.blocks.iter().flat_map(|block| &block.linears);
        linears.flat_map(|linear| linear.shape).max().unwrap_or(self.hidden)
    }

    /// Name and shape in the file of every tensor of the model.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let of = |prefix: String, spec: &BlockSpec| {
            let named = spec.tensors.iter().map(|tensor| (format!("{prefix}{}", tensor.name), tensor.file_shape()));
            named.collect::<Vec<_>>()
        };
        let mut tensors = vec![(self.stem.embedding.to_owned(), vec![self.vocabulary, self.stem.width])];
        let positions = self.stem.positions.as_ref();
        tensors.extend(positions.map(|table| (table.name.to_owned(), vec![table.rows, self.hidden])));
        let around = [&self.stem.transform, &self.head.finish].into_iter().flatten();
        tensors.extend(around.flat_map(|spec| of(String::new(), spec)));
        if !self.tied_embeddings() {
            tensors.push((self.head.weight.to_owned(), vec![self.vocabulary, self.head.width]));
        }
        tensors.extend(self.head.bias.map(|bias| (bias.to_owned(), vec![self.vocabulary])));
        tensors.extend(self.blocks.iter().enumerate().flat_map(|(index, spec)| of(self.prefix(index), spec)));
        tensors
    }
}
