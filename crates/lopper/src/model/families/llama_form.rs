//! The form that Llama gave to most families: RMS norms, rotary attention with grouped queries, gated feed-forward layer.
//! A family reads it from config.json, changes what it has otherwise, and builds it.

use std::collections::BTreeMap;
use std::sync::Arc;

use lopper_kernels::{Activation, RotaryPairs};

use super::config::Config;
use super::experts::Experts;
use super::latent_attention::Latent;
use super::llama_block::{Attention, Factors, Mlp, Names, Norms, Parts, QueryNorms};
use super::mixer::Mixers;
use super::rotary_config::RotaryDefaults;
use crate::error::Result;
use crate::model::builder::{BlockBuilder, Norm};
use crate::model::rotary::RotarySpec;
use crate::model::spec::{DecoderSpec, HeadSpec, Stem};

const EMBEDDING: &str = "model.embed_tokens.weight";

/// What a family has where config.json says nothing, and the keys that it names otherwise.
#[derive(Clone, Copy)]
pub struct Defaults {
    /// Width of the feed-forward layer, under this key; `None` where the file has to say it.
    pub width: (&'static str, Option<usize>),
    /// Of the feed-forward layer, under this key.
    pub activation: (&'static str, &'static str),
    /// ε of the norms, under this key.
    pub epsilon: (&'static str, f64),
    /// Longest sequence.
    pub max_positions: usize,
    /// Width of a head; `None` shares the width of the states out.
    pub head_dim: Option<usize>,
    /// Share of each head that is rotated, in families that let it be less than all.
    pub rotated: Option<f64>,
    /// Base of the rotary positions.
    pub base: Base,
    /// Length trained on before positions were scaled, where that does not stand with the scaling.
    pub original: Option<usize>,
    /// Whether the head is the embedding.
    pub tied: bool,
}

/// Base of rotary positions.
#[derive(Clone, Copy)]
pub enum Base {
    /// `rope_theta`, or this.
    One(f64),
    /// Of full and of sliding attention, each under its key.
    ByKind([(&'static str, f64); 2]),
}

/// Those of Llama.
pub const LLAMA: Defaults = Defaults {
    width: ("intermediate_size", None),
    activation: ("hidden_act", "silu"),
    epsilon: ("rms_norm_eps", 1e-6),
    max_positions: 2048,
    head_dim: None,
    rotated: None,
    base: Base::One(10_000.0),
    original: None,
    tied: false,
};

/// A decoder of this form.
#[expect(clippy::struct_excessive_bools, reason = "each says whether one tensor is there")]
pub struct LlamaForm {
    family: &'static str,
    vocabulary: usize,
    pub hidden: usize,
    pub intermediate: usize,
    pub heads: usize,
    pub max_positions: usize,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// Of every norm.
    pub norm: Norm,
    /// Which norms there are.
    pub norms: Norms,
    /// Norms of queries and keys.
    pub query_norms: Option<QueryNorms>,
    /// Names of the matrices that some families name otherwise.
    pub names: Names,
    /// Of the feed-forward layer.
    pub activation: Activation,
    /// Rotary positions that blocks refer to.
    pub rotary: Vec<RotarySpec>,
    /// What differs between blocks.
    pub blocks: Vec<Attention>,
    /// Whether attention and feed-forward layer read the same states, side by side.
    pub parallel: bool,
    /// Factor of attention scores, where it is not 1/√head_dim.
    pub scale: Option<f32>,
    /// Name of the sinks of attention, where heads have such.
    pub sinks: Option<&'static str>,
    /// Bound of attention scores.
    pub soft_cap: Option<f32>,
    /// Bound of the entries of queries, keys and values.
    pub clamp: Option<f32>,
    /// Whether what attention gives passes a gate that the matrix of the queries makes: of every head first the query.
    pub gated_attention: bool,
    /// Whether queries, keys and values come from one matrix, one after the other.
    pub fused_inputs: bool,
    /// Whether queries, keys and values have biases.
    pub input_bias: bool,
    /// Whether the output of the attention has one.
    pub output_bias: bool,
    /// Keys and values made of a narrow value.
    pub latent: Option<Latent>,
    /// What some blocks have in the place of attention, or beside it.
    pub mixers: Option<Mixers>,
    /// Experts in the place of the feed-forward layer of some blocks.
    experts: Option<Experts>,
    pub factors: Factors,
    /// How the feed-forward layer begins.
    pub mlp: Mlp,
    /// Whether the feed-forward layer has biases.
    pub mlp_bias: bool,
    /// Factor of the embedding.
    pub embedding_scale: Option<f32>,
    /// Factor of what each branch adds.
    pub residual_scale: Option<f32>,
    /// Name of what the states are multiplied by after each block.
    pub factor_of_states: Option<&'static str>,
    /// Whether the head has a bias.
    pub head_bias: bool,
    /// Factor of the logits.
    pub logit_scale: Option<f32>,
    /// Bound of the logits.
    pub logit_cap: Option<f32>,
}

impl LlamaForm {
    /// That the heads are as wide together as hidden states, where transformers knows nothing else.
    pub fn heads_fill_width(&self, config: &Config) -> Result<()> {
        let &Self { heads, hidden, family, .. } = self;
        let other = self.blocks.iter().find(|own| heads * own.head_dim != hidden);
        let Some(Attention { head_dim, .. }) = other else { return Ok(()) };
        let problem = format!(
            "{heads} heads of {head_dim} are not as wide as \"hidden_size\" {hidden}: {family} knows no others"
        );
        Err(config.wrong(problem))
    }

    /// As far as the families agree.
    pub fn read(config: &Config, family: &'static str, defaults: &Defaults) -> Result<Self> {
        let (hidden, heads) = (config.size("hidden_size")?, config.heads()?);
        let head_dim = config.head_dim(defaults.head_dim, hidden / heads)?;
        let kv_heads = config.kv_heads("num_key_value_heads", heads)?;
        let max_positions = config.size_or("max_position_embeddings", defaults.max_positions)?;
        let heads_and_length = (head_dim, max_positions);
        let rotary = match defaults.base {
            Base::One(base) => {
                let share = defaults.rotated.map(|share| ("partial_rotary_factor", share));
                let defaults = RotaryDefaults { share, base: ("rope_theta", base), original: defaults.original };
                vec![config.rotary(heads_and_length, &defaults)?]
            }
            Base::ByKind([full, sliding]) => vec![
                config.rotary_of("full_attention", heads_and_length, full)?,
                config.rotary_of("sliding_attention", heads_and_length, sliding)?,
            ],
        };
        let attention = Attention { head_dim, kv_heads, keys_are_values: false, window: None, rotary: Some(0) };
        Ok(Self {
            family,
            vocabulary: config.size("vocab_size")?,
            hidden,
            intermediate: config.size_unless(defaults.width)?,
            heads,
            max_positions,
            tied: config.flag_or("tie_word_embeddings", defaults.tied)?,
            norm: Norm::rms(config.epsilon(defaults.epsilon.0, defaults.epsilon.1)?),
            norms: Norms::BEFORE,
            query_norms: None,
            names: Names::PLAIN,
            activation: config.activation(defaults.activation.0, defaults.activation.1)?,
            rotary,
            blocks: vec![attention; config.blocks()?],
            parallel: false,
            scale: None,
            sinks: None,
            soft_cap: None,
            clamp: None,
            gated_attention: false,
            fused_inputs: false,
            input_bias: false,
            output_bias: false,
            latent: None,
            mixers: None,
            experts: None,
            factors: Factors::default(),
            mlp: Mlp::Gated,
            mlp_bias: false,
            embedding_scale: None,
            residual_scale: None,
            factor_of_states: None,
            head_bias: false,
            logit_scale: None,
            logit_cap: None,
        })
    }

    /// Some blocks have experts.
    pub fn take_experts(&mut self, config: &Config, experts: Experts) -> Result<()> {
        experts.check(config)?;
        self.experts = Some(experts);
        Ok(())
    }

    /// Attention has no positions.
    pub fn forget_positions(&mut self) {
        self.rotary.clear();
        self.blocks.iter_mut().for_each(|attention| attention.rotary = None);
    }

    /// `attention_bias`, of all four matrices.
    pub fn read_attention_bias(&mut self, config: &Config) -> Result<()> {
        self.input_bias = config.flag_or("attention_bias", false)?;
        self.output_bias = self.input_bias;
        Ok(())
    }

    /// The rotary table turns neighbouring entries of a head together, not those of its halves.
    pub fn turn_neighbours(&mut self) {
        self.rotary.iter_mut().for_each(|rotary| rotary.pairs = RotaryPairs::Neighbours);
    }

    /// Windows of `sliding_window` tokens, in the blocks that `layer_types` names, or else those of which `slides` is true; where both
    /// kinds of attention have rotary positions of their own, those too.
    pub fn read_windows(
        &mut self,
        config: &Config,
        default: Option<usize>,
        slides: impl Fn(usize) -> bool,
    ) -> Result<()> {
        let window = config.window(default)?;
        for (block, attention) in self.blocks.iter_mut().enumerate() {
            let slides = config.slides(block)?.unwrap_or_else(|| slides(block));
            attention.window = window.filter(|_| slides);
            attention.rotary = Some(usize::from(slides && self.rotary.len() > 1));
        }
        Ok(())
    }

    /// The same window in every block, whatever `layer_types` says.
    pub fn slide_everywhere(&mut self, config: &Config, default: Option<usize>) -> Result<()> {
        let window = config.window(default)?;
        self.blocks.iter_mut().for_each(|attention| attention.window = window);
        Ok(())
    }

    /// Windows in late blocks, as the Qwens have them: where `use_sliding_window` asks for them.
    pub fn read_late_windows(&mut self, config: &Config) -> Result<()> {
        if !config.flag_or("use_sliding_window", false)? {
            return Ok(());
        }
        let first = config.size_or("max_window_layers", 28)?;
        self.read_windows(config, Some(4096), |block| block >= first)
    }

    /// The decoder.
    pub fn build(self) -> DecoderSpec {
        let mut kinds = BTreeMap::new();
        let mut block = |(index, &attention): (usize, &Attention)| {
            let experts = self.experts.as_ref().filter(|experts| experts.blocks[index]);
            let mixers = self.mixers.as_ref().filter(|mixers| mixers.blocks[index]);
            let attention = mixers.is_none_or(|mixers| mixers.beside).then_some(attention);
            let kind = kinds.entry((attention, mixers.is_some(), experts.is_some()));
            let parts = Parts { attention, mixer: mixers.map(|mixers| &mixers.mixer), experts };
            kind.or_insert_with(|| Arc::new(self.block(&parts))).clone()
        };
        let blocks = self.blocks.iter().enumerate().map(&mut block).collect();
        DecoderSpec {
            family: self.family,
            vocabulary: self.vocabulary,
            hidden: self.hidden,
            max_positions: self.max_positions,
            stem: Stem { scale: self.embedding_scale, ..Stem::plain(EMBEDDING, self.hidden) },
            block_prefix: "model.layers.".into(),
            gone: BTreeMap::new(),
            fewer: BTreeMap::new(),
            blocks,
            head: HeadSpec {
                bias: self.head_bias.then(|| "lm_head.bias".into()),
                soft_cap: self.logit_cap,
                ..HeadSpec::plain(
                    BlockBuilder::final_norm(self.hidden, self.norm, self.norms.last, self.logit_scale),
                    "lm_head.weight",
                    self.tied,
                    self.hidden,
                )
            },
            rotary: self.rotary,
        }
    }
}
