//! Gemma 1 to 3 (Gemma Team 2024, arXiv 2403.08295 and 2408.00118; 2025, arXiv 2503.19786): a scaled embedding, norms whose weights are
//! stored less one, GELU gates. Gemma 2 norms what a branch gives too, bounds its scores and logits softly and slides in every other block;
//! Gemma 3 norms queries and keys instead of bounding, slides in five of six blocks and turns them by another base.

use lopper_kernels::Activation;

use super::config::Config;
use super::llama_form::{LlamaForm, Norms, QueryNorms};
use crate::error::Result;
use crate::model::builder::Norm;
use crate::model::form::Form;
use crate::model::rotary::RotarySpec;
use crate::model::spec::DecoderSpec;

/// Without a name, and by the legacy name "gelu" of the first release, the approximation by tanh is meant.
const FIRST: [(&str, Activation); 3] =
    [("gelu_pytorch_tanh", Activation::GeluTanh), ("gelu", Activation::GeluTanh), ("gelu_new", Activation::GeluTanh)];
const LATER: [(&str, Activation); 3] =
    [("gelu_pytorch_tanh", Activation::GeluTanh), ("gelu", Activation::Gelu), ("gelu_new", Activation::GeluTanh)];
/// Around both branches.
const FOUR_NORMS: Norms = Norms {
    before_attention: Some("input_layernorm"),
    after_attention: Some("post_attention_layernorm"),
    before_mlp: Some("pre_feedforward_layernorm"),
    after_mlp: Some("post_feedforward_layernorm"),
};

pub fn first(config: &Config) -> Result<DecoderSpec> {
    let activation = config.one_of("hidden_act", &FIRST)?;
    let (head_dim, max_positions) = sizes(config, 8192)?;
    let rotary = vec![rotary(config, head_dim, max_positions)?];
    let form = LlamaForm::with_rotary(config, "gemma", activation, (head_dim, max_positions), rotary)?;
    finish(config, form)
}

pub fn second(config: &Config) -> Result<DecoderSpec> {
    let activation = config.one_of("hidden_activation", &LATER)?;
    let (head_dim, max_positions) = sizes(config, 8192)?;
    let rotary = vec![rotary(config, head_dim, max_positions)?];
    let mut form = LlamaForm::with_rotary(config, "gemma2", activation, (head_dim, max_positions), rotary)?;
    form.norms = FOUR_NORMS;
    form.soft_cap = config.cap("attn_logit_softcapping", Some(50.0))?;
    form.logit_cap = config.cap("final_logit_softcapping", Some(30.0))?;
    read_scale(config, &mut form)?;
    let window = config.window(Some(4096))?;
    for (block, attention) in form.blocks.iter_mut().enumerate() {
        let slides = config.layer_type(block)?.map_or(block % 2 == 0, |kind| kind == "sliding_attention");
        attention.window = window.filter(|_| slides);
    }
    finish(config, form)
}

pub fn third(config: &Config) -> Result<DecoderSpec> {
    let activation = config.one_of("hidden_activation", &LATER)?;
    let (head_dim, max_positions) = sizes(config, 131_072)?;
    let of = |kind, key, base| config.rotary_of(kind, head_dim, max_positions, (key, base));
    let rotary = vec![of("full_attention", "rope_theta", 1e6)?, of("sliding_attention", "rope_local_base_freq", 1e4)?];
    let mut form = LlamaForm::with_rotary(config, "gemma3_text", activation, (head_dim, max_positions), rotary)?;
    form.norms = FOUR_NORMS;
    form.query_norms = QueryNorms::Heads;
    form.soft_cap = config.cap("attn_logit_softcapping", None)?;
    form.logit_cap = config.cap("final_logit_softcapping", None)?;
    read_scale(config, &mut form)?;
    let (window, pattern) = (config.window(Some(4096))?, config.size_or("sliding_window_pattern", 6)?);
    for (block, attention) in form.blocks.iter_mut().enumerate() {
        let slides = config.layer_type(block)?.map_or((block + 1) % pattern != 0, |kind| kind == "sliding_attention");
        attention.window = window.filter(|_| slides);
        attention.rotary = Some(usize::from(slides));
    }
    finish(config, form)
}

/// Width of a head, and the longest sequence.
fn sizes(config: &Config, max_positions: usize) -> Result<(usize, usize)> {
    Ok((config.head_dim(256)?, config.size_or("max_position_embeddings", max_positions)?))
}

fn rotary(config: &Config, head_dim: usize, max_positions: usize) -> Result<RotarySpec> {
    config.rotary(head_dim, max_positions, ("partial_rotary_factor", 1.0), ("rope_theta", 10_000.0))
}

fn read_scale(config: &Config, form: &mut LlamaForm) -> Result<()> {
    form.scale = Some(config.positive_or("query_pre_attn_scalar", 256.0)?.powf(-0.5) as f32);
    Ok(())
}

/// What all of them have.
fn finish(config: &Config, mut form: LlamaForm) -> Result<DecoderSpec> {
    if config.flag_or("use_bidirectional_attention", false)? {
        return Err(config.wrong("\"use_bidirectional_attention\" makes an encoder; only decoders can be pruned"));
    }
    form.tie_by_default(config)?;
    form.norm = Norm { form: Form::LessOne, ..form.norm };
    form.embedding_scale = Some((form.hidden as f64).sqrt() as f32);
    form.input_bias = config.flag_or("attention_bias", false)?;
    form.output_bias = form.input_bias;
    Ok(form.build())
}
