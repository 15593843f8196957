//! Mamba (Gu and Dao 2023, arXiv 2312.00752) and Falcon Mamba: no attention, a recurrence of every channel instead.

use std::collections::BTreeMap;
use std::sync::Arc;

use lopper_kernels::Activation;
use serde_json::Value;

use super::config::Config;
use crate::error::Result;
use crate::model::block_spec::BlockSpec;
use crate::model::builder::{BlockBuilder, BranchBuilder, Norm};
use crate::model::spec::{DecoderSpec, HeadSpec, Stem, UNBOUNDED};

const EMBEDDING: &str = "backbone.embeddings.weight";

struct Mamba {
    hidden: usize,
    /// Channels of the recurrence.
    width: usize,
    /// States of each.
    states: usize,
    taps: usize,
    /// Width of what steps are made of.
    rank: usize,
    norm: Norm,
    /// Of what steps, B and C are made of.
    inner: Option<Norm>,
    bias: bool,
    filter_bias: bool,
}

pub fn first(config: &Config) -> Result<DecoderSpec> {
    read(config, "mamba", None)
}

pub fn falcon(config: &Config) -> Result<DecoderSpec> {
    let norm = Norm { weight: false, ..Norm::rms(config.epsilon("mixer_rms_eps", 1e-6)?) };
    read(config, "falcon_mamba", Some(norm))
}

fn read(config: &Config, family: &'static str, inner: Option<Norm>) -> Result<DecoderSpec> {
    let hidden = config.size("hidden_size")?;
    let width = config.size_or("expand", 2)?.saturating_mul(hidden);
    if width >= 1 << 32 {
        return Err(config.wrong(format!("\"expand\" makes {width} channels of {hidden}")));
    }
    if config.activation("hidden_act", "silu")? != Activation::Silu {
        return Err(config.wrong("\"hidden_act\" is not \"silu\": this family gates by nothing else"));
    }
    let rank = "time_step_rank";
    let by_itself = config.get(rank).and_then(Value::as_str) == Some("auto");
    let mamba = Mamba {
        hidden,
        width,
        states: config.size_or("state_size", 16)?,
        taps: config.size_or("conv_kernel", 4)?,
        rank: if by_itself { hidden.div_ceil(16) } else { config.size_or(rank, hidden.div_ceil(16))? },
        norm: Norm::rms(config.epsilon("layer_norm_epsilon", 1e-5)?),
        inner,
        bias: config.flag_or("use_bias", false)?,
        filter_bias: config.flag_or("use_conv_bias", true)?,
    };
    let block = Arc::new(mamba.block());
    Ok(DecoderSpec {
        family,
        vocabulary: config.size("vocab_size")?,
        hidden,
        max_positions: UNBOUNDED,
        stem: Stem::plain(EMBEDDING, hidden),
        block_prefix: "backbone.layers.".into(),
        gone: BTreeMap::new(),
        blocks: vec![block; config.blocks()?],
        head: HeadSpec::plain(
            BlockBuilder::final_norm(hidden, mamba.norm, "backbone.norm_f", None),
            "lm_head.weight",
            config.flag_or("tie_word_embeddings", true)?,
            hidden,
        ),
        rotary: Vec::new(),
    })
}

impl Mamba {
    fn block(&self) -> BlockSpec {
        let &Self { hidden, width, states, rank, .. } = self;
        let mut block = BlockBuilder::default();
        let mut branch = block.branch("mixer", hidden);
        let x = branch.norm(BranchBuilder::INPUT, self.norm, "norm");
        let both = branch.linear(x, "input", "mixer.in_proj", 2 * width, self.bias);
        let [x, gate] = branch.split(both, [width; 2]);
        let x = branch.convolution(x, "mixer.conv1d", self.taps, self.filter_bias);
        let x = branch.activate(x, Activation::Silu);
        let chosen = branch.linear(x, "selection", "mixer.x_proj", rank + 2 * states, false);
        let [step, into, out_of] = branch
            .split(chosen, [rank, states, states])
            .map(|part| self.inner.map_or(part, |norm| branch.norm(part, norm, "")));
        let step = branch.linear(step, "step", "mixer.dt_proj", width, true);
        let y = branch.scan([x, step, into, out_of], ["mixer.A_log", "mixer.D"]);
        let y = branch.gated(Activation::Silu, gate, y);
        branch.linear(y, "output", "mixer.out_proj", hidden, self.bias);
        let branch = branch.finish();
        block.stage([branch]);
        block.finish()
    }
}
