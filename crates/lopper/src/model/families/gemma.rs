//! Gemma 1 to 3 (Gemma Team 2024, arXiv 2403.08295 and 2408.00118; 2025, arXiv 2503.19786): a scaled embedding, norms whose weights are
//! stored less one, GELU gates. Gemma 2 norms what a branch gives too, bounds its scores and logits softly and slides in every other block;
//! Gemma 3 norms queries and keys instead of bounding, slides in five of six blocks and turns them by another base.

use lopper_kernels::Activation;

use super::config::Config;
use super::llama_block::{Norms, QueryNorms};
use super::llama_form::{Base, Defaults, LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::builder::Norm;
use crate::model::form::Form;
use crate::model::spec::DecoderSpec;

const FIRST: Defaults = Defaults {
    activation: ("hidden_act", "gelu_pytorch_tanh"),
    max_positions: 8192,
    head_dim: Some(256),
    tied: true,
    ..LLAMA
};
const SECOND: Defaults = Defaults { activation: ("hidden_activation", "gelu_pytorch_tanh"), ..FIRST };
const THIRD: Defaults = Defaults {
    max_positions: 131_072,
    base: Base::ByKind([("rope_theta", 1e6), ("rope_local_base_freq", 1e4)]),
    ..SECOND
};
/// Around both branches.
pub const FOUR_NORMS: Norms = Norms {
    after_attention: Some("post_attention_layernorm"),
    before_mlp: Some("pre_feedforward_layernorm"),
    after_mlp: Some("post_feedforward_layernorm"),
    ..Norms::BEFORE
};

pub fn first(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "gemma", &FIRST)?;
    if config.text_or("hidden_act", "")? == "gelu" {
        // so the first release says, and means the approximation by tanh
        form.activation = Activation::GeluTanh;
    }
    finish(config, form)
}

pub fn second(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "gemma2", &SECOND)?;
    form.norms = FOUR_NORMS;
    form.soft_cap = config.cap("attn_logit_softcapping", Some(50.0))?;
    form.logit_cap = config.cap("final_logit_softcapping", Some(30.0))?;
    read_scale(config, &mut form)?;
    form.read_windows(config, Some(4096), |block| block % 2 == 0)?;
    finish(config, form)
}

pub fn third(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "gemma3_text", &THIRD)?;
    form.norms = FOUR_NORMS;
    form.query_norms = Some(QueryNorms::HEADS);
    // transformers reads `attn_logit_softcapping` and does not use it
    form.logit_cap = config.cap("final_logit_softcapping", None)?;
    read_scale(config, &mut form)?;
    let pattern = config.size_or("sliding_window_pattern", 6)?;
    form.read_windows(config, Some(4096), |block| (block + 1) % pattern != 0)?;
    finish(config, form)
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
    form.norm = Norm { form: Form::LessOne, ..form.norm };
    form.embedding_scale = Some((form.hidden as f64).sqrt() as f32);
    form.read_attention_bias(config)?;
    Ok(form.build())
}
