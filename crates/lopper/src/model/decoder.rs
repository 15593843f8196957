//! A checkpoint as a decoder: its blocks, embedding and head, each loaded when asked for.

use std::ops::Range;
use std::sync::Arc;

use super::block::{Block, Context, NoTap};
use super::block_spec::{BlockSpec, LinearId, TensorSpec};
use super::families::describe;
use super::head::{Head, HeadWeights};
use super::sequences::Sequences;
use super::spec::DecoderSpec;
use crate::autograd::{RotaryTable, Tape, Value};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use lopper_kernels::{Precision, add_assign};

/// A decoder whose weights stay in the checkpoint until they are loaded.
pub struct Decoder {
    checkpoint: Checkpoint,
    spec: DecoderSpec,
}

impl Decoder {
    /// Reads config.json and checks that every tensor it implies is there with the right shape. Where config.json ties the head to the
    /// embedding and the files have a head of its own, that one counts, as in transformers.
    ///
    /// # Errors
    /// If the family is unknown, or a tensor is missing or of another shape.
    pub fn open(checkpoint: Checkpoint) -> Result<Self> {
        let spec = describe(&checkpoint.dir().join("config.json"), &checkpoint.config_json()?)?;
        let mut spec = as_named(spec, &checkpoint);
        spec.head.tied &= checkpoint.info(&spec.head.weight).is_none();
        let decoder = Self { checkpoint, spec };
        decoder.spec.tensors().iter().try_for_each(|(name, shape)| decoder.check(name, shape))?;
        Ok(decoder)
    }

    /// What config.json says.
    pub fn spec(&self) -> &DecoderSpec {
        &self.spec
    }

    /// Where the weights come from.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    fn check(&self, name: &str, shape: &[usize]) -> Result<()> {
        let quantised = "quantised checkpoints cannot be pruned: use the original one";
        let (problem, hint) = match self.checkpoint.info(name) {
            None => {
                let family = self.spec.family;
                let problem = format!("tensor {name:?} is missing, which config.json of a {family} model asks for");
                (problem, if self.is_quantised() { quantised.into() } else { self.instead_of(name) })
            }
            Some(info) if info.shape != shape => {
                let problem = format!("tensor {name:?} has shape {:?}, config.json says {shape:?}", info.shape);
                let differs = "config.json and the weights are of different models, or the weights are packed";
                (problem, differs.into())
            }
            Some(info) if info.storage().is_none() => {
                let dtype = &info.dtype;
                let problem =
                    format!("tensor {name:?} has dtype {dtype:?}; only F32, F16 and BF16 weights can be pruned");
                (problem, quantised.into())
            }
            Some(_) => return Ok(()),
        };
        Err(Error::Checkpoint { path: self.checkpoint.dir().into(), problem, hint: Some(hint) })
    }

    /// Whether there are tensors that quantised checkpoints have beside their weights.
    fn is_quantised(&self) -> bool {
        let parts = [".qweight", ".qzeros", ".scales", ".weight_scale", ".weight_packed", ".SCB", ".absmax"];
        self.checkpoint.names().any(|name| parts.iter().any(|part| name.ends_with(part)))
    }

    /// What the files have instead of a tensor of this name.
    fn instead_of(&self, name: &str) -> String {
        let short = name.strip_prefix(self.spec.base()).unwrap_or(name);
        let alike = self.checkpoint.names().find(|other| other.ends_with(short));
        match alike.or_else(|| self.checkpoint.names().next()) {
            Some(other) if alike.is_some() => {
                format!("the files have {other:?}: name their tensors as the family does")
            }
            Some(other) => format!("the files have other tensors, as {other:?}: they are not all of this model"),
            None => "the files have no tensors".into(),
        }
    }

    /// Reads every weight once and fails at the first NaN or infinity.
    ///
    /// # Errors
    /// Naming the tensor and the place.
    pub fn check_finite(&self) -> Result<()> {
        self.spec.tensors().iter().try_for_each(|(name, _)| self.checkpoint.check_finite(name))
    }

    /// Loads the weight of a linear layer, f32 [d_out, d_in].
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn load_weight(&self, id: LinearId) -> Result<Tensor> {
        self.spec.form(id).read(self.checkpoint.tensor_f32(&self.spec.weight_name(id))?)
    }

    /// Has the system read a block from the disk while the program goes on; beyond the last there is nothing to do.
    pub fn prefetch_block(&self, index: usize) {
        if let Some(spec) = self.spec.blocks.get(index) {
            let names = spec.linears.iter().map(|linear| self.spec.tensor_name(index, linear.weight));
            let names: Vec<String> = names.collect();
            self.checkpoint.prefetch(names.iter().map(String::as_str));
        }
    }

    /// Loads block `index` as f32.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn load_block(&self, index: usize) -> Result<Block> {
        self.load(&self.spec.blocks[index], self.spec.prefix(index))
    }

    fn load(&self, spec: &Arc<BlockSpec>, prefix: String) -> Result<Block> {
        let load =
            |tensor: &TensorSpec| tensor.form.read(self.checkpoint.tensor_f32(&format!("{prefix}{}", tensor.name))?);
        let tensors = spec.tensors.iter().map(load).collect::<Result<_>>()?;
        Ok(Block { spec: spec.clone(), prefix, tensors })
    }

    /// Angles for sequences of up to `length` tokens, a table for each rotary embedding.
    pub fn rotary(&self, length: usize) -> Vec<RotaryTable> {
        self.spec.rotary.iter().map(|rotary| rotary.table(length)).collect()
    }

    /// Embeds token ids at these positions of their sequences → [tokens, hidden].
    ///
    /// # Errors
    /// If an id is beyond the vocabulary, or a position beyond what the model has learned.
    pub fn embed(&self, ids: &[u32], positions: &[u32]) -> Result<Tensor> {
        let stem = &self.spec.stem;
        let mut states = self.checkpoint.gather_rows_f32(&stem.embedding, ids)?;
        if let Some(scale) = stem.scale {
            states.host_mut().iter_mut().for_each(|x| *x *= scale);
        }
        if let Some(transform) = &stem.transform {
            let block = self.load(transform, String::new())?;
            let context = Context { sequences: &Sequences::new([ids.len()]), rotary: &[] };
            let y = block.forward(&mut Tape::new(Precision::F32), &states.into(), context, &mut NoTap)?;
            states = y.tensor().clone();
        }
        if let Some(table) = &stem.positions {
            let rows: Vec<u32> = positions.iter().map(|&position| position + table.offset as u32).collect();
            let learned = self.checkpoint.gather_rows_f32(&table.name, &rows)?;
            add_assign(states.host_mut(), learned.host());
        }
        Ok(states)
    }

    /// The whole head.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn head_weights(&self) -> Result<HeadWeights> {
        self.head_rows(0..self.spec.vocabulary)
    }

    /// The head of some tokens.
    pub(super) fn head_rows(&self, rows: Range<usize>) -> Result<HeadWeights> {
        let head = &self.spec.head;
        let weight = self.checkpoint.rows_f32(self.spec.head_matrix(), rows.clone())?;
        let bias = head.bias.as_ref().map(|bias| self.checkpoint.rows_f32(bias, rows)).transpose()?;
        Ok(HeadWeights { weight: weight.into(), bias: bias.map(Value::from), soft_cap: head.soft_cap })
    }

    /// What stands between the last block and the head, if anything does.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn load_finish(&self) -> Result<Option<Block>> {
        self.spec.head.finish.as_ref().map(|spec| self.load(spec, String::new())).transpose()
    }

    /// What comes after the blocks.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn head(&self) -> Result<Head<'_>> {
        Ok(Head::new(self, self.load_finish()?))
    }
}

/// Where a model of more than text keeps its text part: what stands before the names of its body, and of its head.
const TEXT_PARTS: [[&str; 2]; 2] = [["language_model.model.", "language_model."], ["model.language_model.", ""]];

/// The model as the files name its tensors: as its family does; without what stands before all names but those of the head, as a model
/// saved without a head does; or as the text part of a model of more than text.
fn as_named(spec: DecoderSpec, checkpoint: &Checkpoint) -> DecoderSpec {
    let base = spec.base().to_owned();
    let named = |[body, head]: [&str; 2]| {
        let rename = |name: &str| match name.strip_prefix(&base) {
            Some(rest) => format!("{body}{rest}"),
            None => format!("{head}{name}"),
        };
        spec.clone().renamed(rename)
    };
    let fits = |spec: &DecoderSpec| checkpoint.info(&spec.stem.embedding).is_some();
    let others = [["", ""]].into_iter().chain(TEXT_PARTS);
    if fits(&spec) { spec } else { others.map(named).find(fits).unwrap_or(spec) }
}
