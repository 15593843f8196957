//! Falcon H1 (Zuo et al. 2025, arXiv 2507.22448): attention and Mamba 2 side by side, a feed-forward layer, and factors everywhere.

use super::bamba::{NAMES, NORMS};
use super::config::Config;
use super::llama_form::{Defaults, LLAMA, LlamaForm};
use super::mixer::{ByHead, HYBRID, Mixer, Mixers, expanded};
use crate::error::Result;
use crate::model::spec::DecoderSpec;

const DEFAULTS: Defaults = Defaults { epsilon: ("rms_norm_eps", 1e-5), max_positions: 8192, ..LLAMA };

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "falcon_h1", &DEFAULTS)?;
    (form.names, form.norms) = (NAMES, NORMS);
    form.read_attention_bias(config)?;
    form.mlp_bias = config.flag_or("mlp_bias", false)?;
    form.embedding_scale = config.factor("embedding_multiplier")?;
    form.logit_scale = config.factor("lm_head_multiplier")?;
    let [gate, down] = config.factors("mlp_multipliers")?;
    let factors = &mut form.factors;
    (factors.gate, factors.down) = (gate, down);
    factors.key = config.factor("key_multiplier")?;
    factors.attention = [config.factor("attention_in_multiplier")?, config.factor("attention_out_multiplier")?];
    factors.mixer = [config.factor("ssm_in_multiplier")?, config.factor("ssm_out_multiplier")?];
    let own = "mamba_d_ssm";
    // `null` says that it follows
    let width = if config.has(own) && config.get(own).is_none() {
        expanded(config, "mamba_expand", form.hidden)?
    } else {
        config.size_or(own, 1024)?
    };
    let mut mixer = ByHead::read(config, "mamba", &HYBRID, width, form.norm)?;
    let norms = config.flag_or("mamba_rms_norm", false)?;
    mixer.norm = mixer.norm.filter(|_| norms);
    mixer.gated_last = config.flag_or_null("mamba_norm_before_gate", true)?;
    mixer.output_bias = config.flag_or("projectors_bias", false)?;
    mixer.factors = config.factors("ssm_multipliers")?;
    let blocks = vec![true; form.blocks.len()];
    form.mixers = Some(Mixers { mixer: Mixer::ByHead(mixer), blocks, beside: true });
    Ok(form.build())
}
