//! A checkpoint as a decoder: its blocks, embedding and head, each loaded when asked for.

use candle_core::{Device, Tensor};

use super::attention::Attention;
use super::block::Block;
use super::families::{describe, names};
use super::head::Head;
use super::linear::{Linear, LinearId, LinearRole, Norm, Part};
use super::mlp::Mlp;
use super::spec::DecoderSpec;
use crate::autograd::{AttentionLayout, RotaryTable};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};

/// A decoder whose weights stay in the checkpoint until they are loaded.
pub struct Decoder {
    checkpoint: Checkpoint,
    spec: DecoderSpec,
    device: Device,
}

impl Decoder {
    /// Name of the weight of the norm before the head.
    pub const FINAL_NORM: &str = names::FINAL_NORM;

    /// Reads config.json and checks that every tensor it implies is there with the right shape.
    ///
    /// # Errors
    /// If the family is unknown, or a tensor is missing or of another shape.
    pub fn open(checkpoint: Checkpoint, device: Device) -> Result<Self> {
        let spec = describe(&checkpoint.dir().join("config.json"), &checkpoint.config_json()?)?;
        let decoder = Self { checkpoint, spec, device };
        for (name, shape) in decoder.expected() {
            decoder.check(&name, &shape)?;
        }
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

    /// Where tensors are loaded to.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Name of the weight of a linear layer.
    pub fn weight_name(id: LinearId) -> String {
        names::linear(id, "weight")
    }

    /// Name of the bias of a linear layer.
    pub fn bias_name(id: LinearId) -> String {
        names::linear(id, "bias")
    }

    /// Name of the weight of the norm of one half of a block.
    pub fn norm_name(block: usize, part: Part) -> String {
        names::norm(block, part)
    }

    /// Name and shape of every tensor of the model.
    fn expected(&self) -> Vec<(String, Vec<usize>)> {
        let spec = &self.spec;
        let mut expected = vec![
            (names::EMBEDDING.into(), vec![spec.vocabulary, spec.hidden]),
            (names::FINAL_NORM.into(), vec![spec.hidden]),
        ];
        if !spec.tied_embeddings {
            expected.push((names::HEAD.into(), vec![spec.vocabulary, spec.hidden]));
        }
        for block in 0..spec.blocks {
            expected.extend([Part::Attention, Part::Mlp].map(|part| (names::norm(block, part), vec![spec.hidden])));
            for role in LinearRole::ALL {
                let (id, (d_out, d_in)) = (LinearId { block, role }, spec.shape(role));
                expected.push((Self::weight_name(id), vec![d_out, d_in]));
                if spec.has_bias(role) {
                    expected.push((Self::bias_name(id), vec![d_out]));
                }
            }
        }
        expected
    }

    fn check(&self, name: &str, shape: &[usize]) -> Result<()> {
        let problem = match self.checkpoint.info(name) {
            None => format!("tensor {name:?} is missing, which config.json of a {} model asks for", self.spec.family),
            Some(info) if info.shape != shape => {
                format!("tensor {name:?} has shape {:?}, config.json says {shape:?}", info.shape)
            }
            Some(info) if info.storage().is_none() => {
                format!("tensor {name:?} has dtype {:?}; only F32, F16 and BF16 weights can be pruned", info.dtype)
            }
            Some(_) => return Ok(()),
        };
        let hint = Some("quantised or partial checkpoints cannot be pruned: use the original one".into());
        Err(Error::Checkpoint { path: self.checkpoint.dir().into(), problem, hint })
    }

    /// Reads every weight once and fails at the first NaN or infinity.
    ///
    /// # Errors
    /// Naming the tensor and the place.
    pub fn check_finite(&self) -> Result<()> {
        self.expected().iter().try_for_each(|(name, _)| self.checkpoint.check_finite(name))
    }

    fn load(&self, name: &str) -> Result<Tensor> {
        Ok(self.checkpoint.tensor_f32(name)?.to_device(&self.device)?)
    }

    /// Loads the weight of a linear layer, f32.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn load_weight(&self, id: LinearId) -> Result<Tensor> {
        self.load(&Self::weight_name(id))
    }

    /// Has the system read a block from the disk while the program goes on; beyond the last there is nothing to do.
    pub fn prefetch_block(&self, index: usize) {
        if index < self.spec.blocks {
            let names = LinearRole::ALL.map(|role| Self::weight_name(LinearId { block: index, role }));
            self.checkpoint.prefetch(names.iter().map(String::as_str));
        }
    }

    fn load_linear(&self, block: usize, role: LinearRole) -> Result<Linear> {
        let id = LinearId { block, role };
        let bias = self.spec.has_bias(role).then(|| self.load(&Self::bias_name(id))).transpose()?;
        Ok(Linear { weight: self.load_weight(id)?, bias })
    }

    /// Loads the norm whose weight has this name.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn load_norm(&self, name: &str) -> Result<Norm> {
        Ok(Norm { weight: self.load(name)?, epsilon: self.spec.norm_epsilon })
    }

    /// Loads block `index` as f32.
    ///
    /// # Errors
    /// If the file cannot be read, or memory is short.
    pub fn load_block(&self, index: usize) -> Result<Block> {
        let linear = |role| self.load_linear(index, role);
        let spec = &self.spec.attention;
        let layout = AttentionLayout {
            heads: spec.heads,
            kv_heads: spec.kv_heads,
            head_dim: spec.head_dim,
            scale: (spec.head_dim as f32).sqrt().recip(),
            window: spec.windows[index],
        };
        let attention = Attention {
            norm: self.load_norm(&names::norm(index, Part::Attention))?,
            query: linear(LinearRole::Query)?,
            key: linear(LinearRole::Key)?,
            value: linear(LinearRole::Value)?,
            output: linear(LinearRole::Output)?,
            layout,
        };
        let mlp = Mlp {
            norm: self.load_norm(&names::norm(index, Part::Mlp))?,
            gate: linear(LinearRole::Gate)?,
            up: linear(LinearRole::Up)?,
            down: linear(LinearRole::Down)?,
        };
        Ok(Block { attention, mlp })
    }

    /// Angles for sequences of up to `length` tokens.
    ///
    /// # Errors
    /// If memory is short.
    pub fn rotary(&self, length: usize) -> Result<RotaryTable> {
        Ok(self.spec.rotary.table(length, &self.device)?)
    }

    /// Embeds token ids → [tokens, hidden].
    ///
    /// # Errors
    /// If an id is beyond the vocabulary.
    pub fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        Ok(self.checkpoint.gather_rows_f32(names::EMBEDDING, ids)?.to_device(&self.device)?)
    }

    /// The whole head as f32, [vocabulary, hidden].
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn head_weight(&self) -> Result<Tensor> {
        self.load(if self.spec.tied_embeddings { names::EMBEDDING } else { names::HEAD })
    }

    /// The final norm and the head.
    ///
    /// # Errors
    /// If the norm cannot be read.
    pub fn head(&self) -> Result<Head<'_>> {
        Ok(Head::new(self, self.load_norm(names::FINAL_NORM)?))
    }
}
