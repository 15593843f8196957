//! A checkpoint as a decoder: its blocks, embedding and head, each loaded when asked for.

use std::ops::Range;
use std::sync::Arc;

use super::block::Block;
use super::block_spec::{BlockSpec, LinearId, TensorSpec};
use super::edit::narrowed;
use super::edit_depth::shortened;
use super::edit_experts::with_experts;
use super::families::describe_stored;
use super::form::Form;
use super::head::{Head, HeadWeights};
use super::naming::{as_named, explained, is_of_language, stack_of_experts};
use super::omitted::Omitted;
use super::pass::{Context, NoTap};
use super::sequences::Sequences;
use super::spec::DecoderSpec;
use super::units::UnitKind;
use crate::autograd::{RotaryTable, Tape, Value};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use lopper_kernels::{Precision, add_assign};

/// A decoder whose weights stay in the checkpoint until they are loaded.
pub struct Decoder {
    checkpoint: Checkpoint,
    spec: DecoderSpec,
    /// How the files hold the matrices of all experts of a layer in one tensor, if they do.
    stacked: Option<Form>,
    /// Whether the files have a head of their own where config.json has none.
    unties: bool,
    notes: Vec<String>,
}

impl Decoder {
    /// Reads config.json and checks that every tensor it implies is there with the right shape. What the files hold goes before what config.json
    /// says: a head of its own counts, though config.json ties it to the embedding, as in transformers.
    ///
    /// # Errors
    /// If the family is unknown, or a tensor is missing or of another shape.
    pub fn open(mut checkpoint: Checkpoint) -> Result<Self> {
        let config = checkpoint.config_json()?;
        let stacked = stack_of_experts(&checkpoint);
        let described = describe_stored(&checkpoint.dir().join("config.json"), &config, stacked)?;
        let (mut spec, note) = as_named(described, &checkpoint)?;
        let mut notes: Vec<String> = note.into_iter().collect();
        let [embedding, head] = [&spec.stem.embedding, &spec.head.weight];
        let [has_embedding, has_head] = [embedding, head].map(|name| checkpoint.info(name).is_some());
        let is_same = checkpoint.alias(head) == Some(embedding) || checkpoint.alias(embedding) == Some(head);
        let ties = spec.head.tied;
        spec.head.tied = !(has_embedding && has_head) && (ties || is_same);
        if spec.head.tied && !has_embedding && has_head {
            spec.stem.embedding.clone_from(&spec.head.weight);
        }
        let architecture = config["architectures"][0].as_str().unwrap_or_default();
        if spec.head.tied && !is_of_language(architecture) {
            let head = "its own head is kept, and what is scored is the embedding as the head of a language model";
            notes.push(format!("the model is a {architecture}: {head}"));
        }
        for (whole, parts) in spec.stacked() {
            checkpoint.divide(&whole, parts)?;
        }
        let decoder = Self { checkpoint, spec, stacked, unties: ties && has_embedding && has_head, notes };
        decoder.spec.tensors().iter().try_for_each(|(name, shape)| decoder.check(&config, name, shape))?;
        Ok(decoder)
    }

    /// What another config.json describes, of a model whose files are as those of this one.
    ///
    /// # Errors
    /// As [`describe`](super::describe).
    pub fn describe(&self, config: &serde_json::Value) -> Result<DecoderSpec> {
        describe_stored(&self.checkpoint.dir().join("config.json"), config, self.stacked)
    }

    /// What the user should know of how the files were understood.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn notes(&self) -> Result<Vec<String>> {
        let [embedding, head] = [&self.spec.stem.embedding, &self.spec.head.weight];
        let mut notes = self.notes.clone();
        if self.unties && !self.checkpoint.are_equal(embedding, head)? {
            notes.push(format!(
                "config.json ties the head to the embedding, but the files have {head:?}, which differs: it is used, as transformers does"
            ));
        }
        Ok(notes)
    }

    /// The same model without blocks and experts of the files.
    ///
    /// # Errors
    /// If no config.json describes it.
    pub fn without(mut self, omitted: &Omitted) -> Result<Self> {
        if let Some(kept) = omitted.experts.values().next() {
            let path = self.checkpoint.dir().join("config.json");
            let small = with_experts(&path, &self.checkpoint.config_json()?, kept.len())?;
            let small = self.describe(&small)?;
            self.spec = self.spec.with_experts(&small, &omitted.experts)?;
        }
        self.spec = self.spec.without(&omitted.blocks);
        Ok(self)
    }

    /// config.json of this model: without the blocks and experts that are gone, and with so many units of each kind in every layer that has such;
    /// `None` where it stays as it is. What JSON has no word for could not be written again.
    ///
    /// # Errors
    /// If it is not JSON by the standard, or as [`shortened`], [`with_experts`] and [`narrowed`].
    pub fn edited_config(&self, units: &[(UnitKind, usize)]) -> Result<Option<serde_json::Value>> {
        let Omitted { blocks, experts } = self.spec.omitted();
        if blocks.is_empty() && experts.is_empty() && units.is_empty() {
            return Ok(None);
        }
        let path = self.checkpoint.dir().join("config.json");
        let text = std::fs::read(&path).map_err(Error::io("read", &path))?;
        let mut config = serde_json::from_slice(&text).map_err(|error| Error::Checkpoint {
            path: path.clone(),
            problem: format!("it cannot be written with another shape: {error}"),
            hint: Some("save it as JSON without a byte order mark, NaN and Infinity".into()),
        })?;
        if !blocks.is_empty() {
            config = shortened(&path, &config, &blocks)?;
        }
        if let Some(kept) = experts.values().next() {
            config = with_experts(&path, &config, kept.len())?;
        }
        for &(kind, keep) in units {
            config = narrowed(&path, &config, kind, keep)?;
        }
        Ok(Some(config))
    }

    /// What config.json says.
    pub fn spec(&self) -> &DecoderSpec {
        &self.spec
    }

    /// Where the weights come from.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    fn check(&self, config: &serde_json::Value, name: &str, shape: &[usize]) -> Result<()> {
        let (problem, hint) = match self.checkpoint.info(name) {
            None => {
                let (what, hint) = explained(&self.spec, &self.checkpoint, config, name);
                let family = self.spec.family;
                (format!("tensor {name:?} of a {family} model is missing: {what}"), hint)
            }
            Some(info) if info.storage().is_none() => {
                let (what, hint) = explained(&self.spec, &self.checkpoint, config, name);
                let dtype = &info.dtype;
                let problem =
                    format!("tensor {name:?} has dtype {dtype:?}, and weights are F64, F32, F16 or BF16: {what}");
                (problem, hint)
            }
            Some(info) if info.shape != shape => {
                let problem = format!("tensor {name:?} has shape {:?}, config.json says {shape:?}", info.shape);
                let is_table = [self.spec.stem.embedding.as_str(), self.spec.head_matrix()].contains(&name);
                let hint = match info.shape.first() {
                    Some(rows) if is_table && info.shape[1..] == shape[1..] => {
                        format!("set \"vocab_size\" to {rows} in config.json, if tokens were added to this model")
                    }
                    _ => "config.json and the weights are of different models, or the weights are packed".into(),
                };
                (problem, hint)
            }
            Some(_) => return Ok(()),
        };
        Err(Error::Checkpoint { path: self.checkpoint.dir().into(), problem, hint: Some(hint) })
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

    /// Loads block `index` as the files have it, where some of its experts are gone.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn load_whole(&self, index: usize) -> Result<Option<Block>> {
        let fewer = self.spec.fewer.get(&self.spec.number(index));
        fewer.map(|fewer| self.load(&fewer.whole, self.spec.prefix(index))).transpose()
    }

    /// Loads a block that is gone, by the number that the files give it, as f32.
    ///
    /// # Errors
    /// If the file cannot be read, or it is not gone.
    pub fn load_gone(&self, number: usize) -> Result<Block> {
        let missing = || Error::Plan { problem: format!("block {number} is not one that goes"), hint: None };
        let spec = self.spec.gone.get(&number).ok_or_else(missing)?;
        self.load(spec, format!("{}{number}.", self.spec.block_prefix))
    }

    fn load(&self, spec: &Arc<BlockSpec>, prefix: String) -> Result<Block> {
        let load = |tensor: &TensorSpec| tensor.read(self.checkpoint.tensor_f32(&format!("{prefix}{}", tensor.name))?);
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
