//! What a decoder is made of, as data: read once from config.json by a family, and all that anything else knows of it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::block_spec::{BlockSpec, BranchId, LinearId, LinearSpec, Stage, StageId};
use super::fewer::Fewer;
use super::form::Form;
use super::rotary::RotarySpec;
use crate::checkpoint::whole_of;

/// Positions of a model that has no last one: more than any text has.
pub const UNBOUNDED: usize = 1 << 20;

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
    pub block_prefix: String,
    /// In order; blocks that are alike share one description.
    pub blocks: Vec<Arc<BlockSpec>>,
    /// Blocks that the files have and the model has no more, by the numbers that the files give them.
    pub gone: BTreeMap<usize, Arc<BlockSpec>>,
    /// Blocks some of whose experts the model has no more, by the same numbers.
    pub fewer: BTreeMap<usize, Fewer>,
    /// From the residual stream to the next token.
    pub head: HeadSpec,
    /// Rotary positions that blocks refer to.
    pub rotary: Vec<RotarySpec>,
}

/// From tokens to the residual stream: a row of the embedding, changed by what the family does with it, plus a row per position.
#[derive(Clone, Debug)]
pub struct Stem {
    /// Name of the embedding [vocabulary, width].
    pub embedding: String,
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
    pub fn plain(embedding: &str, width: usize) -> Self {
        Self { embedding: embedding.into(), width, scale: None, transform: None, positions: None }
    }
}

/// A table with a row for each position.
#[derive(Clone, Debug)]
pub struct LearnedPositions {
    /// Name of the table [rows, hidden].
    pub name: String,
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
    /// Name of the matrix [vocabulary, width], where it is one of its own.
    pub weight: String,
    /// Whether it is the embedding instead.
    pub tied: bool,
    /// Name of what is added to the logits `[vocabulary]`.
    pub bias: Option<String>,
    /// Bounds logits softly: `cap·tanh(x / cap)`.
    pub soft_cap: Option<f32>,
    /// Width that it reads.
    pub width: usize,
}

impl HeadSpec {
    /// A norm, and a matrix of this name unless it is the embedding.
    pub fn plain(norm: BlockSpec, weight: &str, tied: bool, width: usize) -> Self {
        Self { finish: Some(Arc::new(norm)), weight: weight.into(), tied, bias: None, soft_cap: None, width }
    }

    /// Logits of a token that are alive at once, of each id: a soft bound makes others of the products.
    pub fn logits_alive(&self) -> usize {
        1 + usize::from(self.soft_cap.is_some())
    }
}

impl DecoderSpec {
    /// Every linear layer of the blocks, in order.
    pub fn linear_ids(&self) -> impl Iterator<Item = LinearId> {
        let blocks = self.blocks.iter().enumerate();
        blocks.flat_map(|(block, spec)| (0..spec.linears.len()).map(move |index| LinearId { block, index }))
    }

    /// The linear layers of a branch.
    pub fn linears_of(&self, branch: BranchId) -> impl Iterator<Item = LinearId> {
        let block = branch.at.block;
        self.blocks[block].branch(branch).linears.iter().map(move |&index| LinearId { block, index })
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
        let name = name.strip_prefix(&self.prefix(block))?;
        let spec = self.blocks.get(block)?;
        let index = spec.linears.iter().position(|linear| spec.tensors[linear.weight].name == name)?;
        Some(LinearId { block, index })
    }

    /// Name of a tensor of a block.
    pub fn tensor_name(&self, block: usize, tensor: usize) -> String {
        self.prefix(block) + &self.blocks[block].tensors[tensor].name
    }

    /// What stands before the names of the tensors of a block.
    pub fn prefix(&self, block: usize) -> String {
        format!("{}{}.", self.block_prefix, self.number(block))
    }

    /// The number that the files give a block; of the end, how many blocks the files have.
    pub fn number(&self, block: usize) -> usize {
        self.gone.keys().fold(block, |number, &gone| number + usize::from(gone <= number))
    }

    /// Numbers of the blocks that are gone just before a block, or before the end.
    pub fn gone_before(&self, block: usize) -> Range<usize> {
        block.checked_sub(1).map_or(0, |before| self.number(before) + 1)..self.number(block)
    }

    /// Whether a stage is the last before blocks that are gone.
    pub fn is_before_gone(&self, at: StageId) -> bool {
        at.stage + 1 == self.blocks[at.block].stages.len() && !self.gone_before(at.block + 1).is_empty()
    }

    /// The same model without the blocks that the files give these numbers.
    #[must_use]
    pub fn without(mut self, numbers: &[usize]) -> Self {
        let all = (0..self.blocks.len()).map(|block| self.number(block)).collect::<Vec<_>>();
        let blocks = std::mem::take(&mut self.blocks);
        for (number, block) in all.into_iter().zip(blocks) {
            if numbers.contains(&number) {
                self.gone.insert(number, block);
            } else {
                self.blocks.push(block);
            }
        }
        self
    }

    /// What a tensor of the files is called where blocks and experts that are gone are counted no more; `None` if it goes with them.
    pub fn renumbered(&self, name: &str) -> Option<String> {
        let numbered = name.strip_prefix(&self.block_prefix).and_then(|rest| rest.split_once('.'));
        let Some((number, rest)) = numbered.and_then(|(number, rest)| Some((number.parse().ok()?, rest))) else {
            return Some(name.into());
        };
        let rest = self.fewer.get(&number).map_or_else(|| Some(rest.into()), |fewer| fewer.renamed(rest));
        let rest = rest.filter(|_| !self.gone.contains_key(&number))?;
        let before = self.gone.range(..number).count();
        Some(format!("{}{}.{rest}", self.block_prefix, number - before))
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

    /// The same model whose file names its tensors otherwise.
    #[must_use]
    pub fn renamed(mut self, rename: impl Fn(&str) -> String) -> Self {
        let Self { stem, block_prefix, head, .. } = &mut self;
        let positions = stem.positions.as_mut().map(|table| &mut table.name);
        let names = [&mut stem.embedding, block_prefix, &mut head.weight].into_iter().chain(positions);
        names.chain(&mut head.bias).for_each(|name| *name = rename(name));
        for spec in [&mut stem.transform, &mut head.finish].into_iter().flatten() {
            Arc::make_mut(spec).tensors.iter_mut().for_each(|tensor| tensor.name = rename(&tensor.name));
        }
        self
    }

    /// What stands before the names of all tensors but those of the head, `transformer.`.
    pub fn base(&self) -> &str {
        self.stem.embedding.split_inclusive('.').next().unwrap_or_default()
    }

    /// Whether sequences of so many tokens turn otherwise than short ones do.
    pub fn is_stretched(&self, length: usize) -> bool {
        self.rotary.iter().any(|rotary| rotary.is_stretched(length))
    }

    /// Name of the matrix of the head.
    pub fn head_matrix(&self) -> &str {
        if self.head.tied { &self.stem.embedding } else { &self.head.weight }
    }

    /// Weights of the linear layers of the largest block.
    pub fn block_weights(&self) -> usize {
        self.blocks.iter().map(|block| block.weights()).max().unwrap_or(0)
    }

    /// The same of the dense model: with all experts, and the blocks that are gone.
    pub fn largest_block(&self) -> usize {
        let whole = self.fewer.values().map(|fewer| &fewer.whole).chain(self.gone.values());
        whole.map(|block| block.weights()).max().unwrap_or(0).max(self.block_weights())
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

    /// Tensors of the files that hold a part for each expert, and how many.
    pub fn stacked(&self) -> BTreeMap<String, usize> {
        let mut stacked = BTreeMap::new();
        for (name, _) in self.tensors() {
            if let Some(whole) = whole_of(&name) {
                *stacked.entry(whole.to_owned()).or_default() += 1;
            }
        }
        stacked
    }

    /// Name and shape in the file of every tensor of the model.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let of = |prefix: String, spec: &BlockSpec| {
            let named = spec.tensors.iter().map(|tensor| (format!("{prefix}{}", tensor.name), tensor.file_shape()));
            named.collect::<Vec<_>>()
        };
        let mut tensors = vec![(self.stem.embedding.clone(), vec![self.vocabulary, self.stem.width])];
        let positions = self.stem.positions.as_ref();
        tensors.extend(positions.map(|table| (table.name.clone(), vec![table.rows, self.hidden])));
        let around = [&self.stem.transform, &self.head.finish].into_iter().flatten();
        tensors.extend(around.flat_map(|spec| of(String::new(), spec)));
        if !self.head.tied {
            tensors.push((self.head.weight.clone(), vec![self.vocabulary, self.head.width]));
        }
        tensors.extend(self.head.bias.clone().map(|bias| (bias, vec![self.vocabulary])));
        tensors.extend(self.blocks.iter().enumerate().flat_map(|(index, spec)| of(self.prefix(index), spec)));
        tensors
    }
}
