//! Jamba (Lieber et al. 2024, arXiv 2403.19887): Mamba, every so many blocks attention without positions, and every so many experts.

use lopper_kernels::Activation;

use super::bamba::{NAMES, NORMS};
use super::config::Config;
use super::experts::{ExpertNames, Experts};
use super::llama_form::{Defaults, LLAMA, LlamaForm};
use super::mixer::{Mixer, Mixers, Selective, expanded, rank, states};
use crate::error::Result;
use crate::model::spec::DecoderSpec;

const EXPERTS: ExpertNames =
    ExpertNames { router: "feed_forward.router", experts: "feed_forward.experts", ..ExpertNames::PLAIN };

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, "jamba", &Defaults { max_positions: 262_144, ..LLAMA })?;
    (form.names, form.norms) = (NAMES, NORMS);
    form.forget_positions();
    if form.activation != Activation::Silu {
        return Err(config.wrong("\"hidden_act\" is not \"silu\": no other is known of the filters of this family"));
    }
    let mixer = Selective {
        name: "mamba",
        width: expanded(config, "mamba_expand", form.hidden)?,
        states: states(config, ("mamba_d_state", 16))?,
        taps: config.size_or("mamba_d_conv", 4)?,
        rank: rank(config, "mamba_dt_rank", form.hidden)?,
        inner: Some((form.norm, ["dt_layernorm", "b_layernorm", "c_layernorm"])),
        bias: config.flag_or("mamba_proj_bias", false)?,
        filter_bias: config.flag_or("mamba_conv_bias", true)?,
    };
    let attention = every(config, "attn_layer", [8, 4], form.blocks.len())?;
    let blocks = attention.into_iter().map(|attends| !attends).collect();
    form.mixers = Some(Mixers { mixer: Mixer::Selective(mixer), blocks, beside: false });
    let mut experts = Experts::shares(config, [16, 2], form.intermediate)?;
    experts.names = EXPERTS;
    experts.routing.normalised = false;
    if experts.routing.experts > 1 {
        experts.blocks = every(config, "expert_layer", [2, 1], form.blocks.len())?;
        form.take_experts(config, experts)?;
    }
    Ok(form.build())
}

/// Which of so many blocks are those that stand at an offset within a period.
fn every(config: &Config, what: &str, [period, offset]: [usize; 2], blocks: usize) -> Result<Vec<bool>> {
    let (key, within) = (format!("{what}_period"), format!("{what}_offset"));
    let (period, offset) = (config.size_or(&key, period)?, config.number_or(&within, offset as f64)?);
    if !(0.0..period as f64).contains(&offset) {
        return Err(config.wrong(format!("{within:?} is {offset}, not below {key:?}, which is {period}")));
    }
    Ok((0..blocks).map(|block| block % period == offset as usize).collect())
}
