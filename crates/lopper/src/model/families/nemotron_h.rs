//! Nemotron-H and Nemotron 3 (NVIDIA 2025, arXiv 2504.03624): every block is one thing, Mamba 2, attention without positions, a feed-forward
//! layer, or experts without gates.

use std::collections::BTreeMap;
use std::sync::Arc;

use lopper_kernels::Activation;
use serde_json::Value;

use super::config::Config;
use super::experts::{COUNTS, ExpertNames, Experts, Matrices, Shared};
use super::mixer::{ByHead, Keys, Mixer};
use crate::autograd::{AttentionLayout, Groups, Routing, Scoring};
use crate::error::Result;
use crate::model::block_spec::BlockSpec;
use crate::model::builder::{BlockBuilder, BranchBuilder, Norm};
use crate::model::spec::{DecoderSpec, HeadSpec, Stem};

const EMBEDDING: &str = "backbone.embeddings.weight";
/// What stands before the names of the tensors of a block.
const NAME: &str = "mixer";
/// Lists with the kind of every block, and a text with a letter for each.
const LISTS: [&str; 2] = ["layers_block_type", "layer_types"];
const LETTERS: &str = "hybrid_override_pattern";

/// What a block is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Recurrence,
    Attention,
    Mlp,
    Experts,
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "linear_attention" | "mamba" | "M" => Self::Recurrence,
            "full_attention" | "attention" | "*" => Self::Attention,
            "mlp" | "-" => Self::Mlp,
            "moe" | "E" => Self::Experts,
            _ => return None,
        })
    }
}

struct NemotronH {
    hidden: usize,
    norm: Norm,
    mixer: Mixer,
    layout: AttentionLayout,
    activation: Activation,
    /// Neurons of a feed-forward layer.
    width: usize,
    mlp_bias: bool,
    experts: Option<Experts>,
    /// Width of what experts read, where it is not that of the states.
    latent: Option<usize>,
}

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    let (hidden, kinds) = (config.size("hidden_size")?, kinds(config)?);
    let norm = Norm::rms(config.epsilon("layer_norm_epsilon", 1e-5)?);
    let heads = config.heads()?;
    let layout = AttentionLayout {
        kv_heads: config.kv_heads("num_key_value_heads", heads)?,
        ..AttentionLayout::new(heads, config.head_dim(Some(128), hidden / heads)?)
    };
    if layout.head_dim == 0 {
        return Err(config.wrong(format!("{heads} heads have no entry each of a width of {hidden}")));
    }
    let latent = "moe_latent_size";
    let model = NemotronH {
        hidden,
        norm,
        mixer: Mixer::ByHead(mixer(config, norm)?),
        layout,
        activation: config.activation("mlp_hidden_act", "relu2")?,
        width: config.size_or("intermediate_size", 21_504)?,
        mlp_bias: config.flag_or("mlp_bias", false)?,
        experts: if kinds.contains(&Kind::Experts) { Some(experts(config, &kinds)?) } else { None },
        latent: config.get(latent).map(|_| config.size(latent)).transpose()?,
    };
    let mut made = BTreeMap::new();
    let mut block = |kind: &Kind| made.entry(*kind).or_insert_with(|| Arc::new(model.block(*kind))).clone();
    Ok(DecoderSpec {
        family: "nemotron_h",
        vocabulary: config.size("vocab_size")?,
        hidden,
        max_positions: config.size_or("max_position_embeddings", 4096)?,
        stem: Stem::plain(EMBEDDING, hidden),
        block_prefix: "backbone.layers.".into(),
        gone: BTreeMap::new(),
        fewer: BTreeMap::new(),
        blocks: kinds.iter().map(&mut block).collect(),
        head: HeadSpec::plain(
            BlockBuilder::final_norm(hidden, norm, "backbone.norm_f", None),
            "lm_head.weight",
            config.flag_or("tie_word_embeddings", false)?,
            hidden,
        ),
        rotary: Vec::new(),
    })
}

/// What every block is. Where a list says it, letters do not count.
fn kinds(config: &Config) -> Result<Vec<Kind>> {
    let wrong = |key: &str, name: &str, block: usize| {
        let known = "\"linear_attention\", \"full_attention\", \"mlp\", \"moe\", or M, *, - and E";
        config.wrong(format!("{key:?} says {name:?} of block {block}; supported here: {known}"))
    };
    let named = |key: &str, names: Vec<String>| {
        config.blocks_in(key, names.len())?;
        let of = |(block, name): (usize, &String)| Kind::of(name).ok_or_else(|| wrong(key, name, block));
        names.iter().enumerate().map(of).collect::<Result<Vec<_>>>()
    };
    let kinds = if let Some(key) = LISTS.into_iter().find(|key| config.get(key).is_some()) {
        let list = config.get(key).and_then(Value::as_array);
        let names = list.and_then(|list| list.iter().map(|name| name.as_str().map(str::to_owned)).collect());
        named(key, names.ok_or_else(|| config.wrong(format!("{key:?} is no list of names")))?)?
    } else {
        named(LETTERS, config.text_or(LETTERS, "ME*-")?.chars().map(String::from).collect())?
    };
    if kinds.is_empty() { Err(config.wrong("there are no blocks")) } else { Ok(kinds) }
}

fn mixer(config: &Config, norm: Norm) -> Result<ByHead> {
    // files of before have other names, which win
    let either = |old: &'static str, new: &'static str| if config.get(old).is_some() { old } else { new };
    let keys = Keys {
        heads: ("mamba_num_heads", 128),
        head_dim: ("mamba_head_dim", 64),
        groups: (either("mamba_n_groups", "n_groups"), 8),
        states: ("ssm_state_size", 128),
        taps: either("mamba_d_conv", "conv_kernel"),
        bias: "use_bias",
        filter_bias: either("mamba_conv_bias", "use_conv_bias"),
        limits: "",
        activation: "mamba_hidden_act",
    };
    let sizes = [keys.heads, keys.head_dim].map(|(key, default)| config.size_or(key, default));
    let [heads, head_dim] = sizes;
    let width = heads?.saturating_mul(head_dim?);
    if width >= 1 << 32 {
        return Err(config.wrong(format!("\"mamba_num_heads\" and \"mamba_head_dim\" make {width} channels")));
    }
    let mut mixer = ByHead::read(config, NAME, &keys, width, norm)?;
    let least = config.number_or(either("mamba_dt_min", "time_step_min"), 0.001)?;
    mixer.heads.limits[0] = least.max(0.0) as f32;
    Ok(mixer)
}

fn experts(config: &Config, kinds: &[Kind]) -> Result<Experts> {
    let groups = Groups { count: config.size_or("n_group", 1)?, kept: config.size_or("topk_group", 1)?, best: 2 };
    let routing = Routing {
        experts: if COUNTS.iter().any(|key| config.get(key).is_some()) { config.size_of(&COUNTS)? } else { 8 },
        top_k: config.size_or("num_experts_per_tok", 2)?,
        scoring: Scoring::Sigmoid,
        normalised: config.flag_or("norm_topk_prob", true)?,
        factor: config.positive_or("routed_scaling_factor", 1.0)? as f32,
        groups: Some(groups).filter(|groups| groups.count > 1),
    };
    let width = config.size_or("moe_shared_expert_intermediate_size", 7688)?;
    let experts = Experts {
        routing,
        width: config.size_or("moe_intermediate_size", 7688)?,
        names: ExpertNames { router: "mixer.gate", experts: "mixer.experts", ..ExpertNames::PLAIN },
        router_bias: false,
        correction: Some("mixer.gate.e_score_correction_bias"),
        factors: None,
        norms: None,
        shared: Some(Shared { name: "mixer.shared_experts", matrices: Matrices::PLAIN, width, gate: None }),
        blocks: kinds.iter().map(|kind| *kind == Kind::Experts).collect(),
    };
    experts.check(config)?;
    Ok(experts)
}

impl NemotronH {
    fn block(&self, kind: Kind) -> BlockSpec {
        let mut block = BlockBuilder::default();
        let name = match kind {
            Kind::Recurrence => "mixer",
            Kind::Attention => "attention",
            Kind::Mlp => "mlp",
            Kind::Experts => "experts",
        };
        let mut branch = block.branch(name, self.hidden);
        let x = branch.norm(BranchBuilder::INPUT, self.norm, "norm");
        match (kind, &self.experts) {
            (Kind::Recurrence, _) => self.mixer.mix(&mut branch, x, self.hidden),
            (Kind::Attention, _) => self.attention(&mut branch, x),
            (Kind::Experts, Some(experts)) => self.experts(&mut branch, x, experts),
            _ => self.mlp(&mut branch, x, NAME, [self.width, self.hidden]),
        };
        let branch = branch.finish();
        block.stage([branch]);
        block.finish()
    }

    fn attention(&self, branch: &mut BranchBuilder, x: usize) -> usize {
        let [of_queries, of_keys, of_values] = self.layout.widths();
        let query = branch.linear(x, "query", "mixer.q_proj", of_queries, false);
        let key = branch.linear(x, "key", "mixer.k_proj", of_keys, false);
        let value = branch.linear(x, "value", "mixer.v_proj", of_values, false);
        let mixed = branch.attention([query, key, value], self.layout.clone());
        branch.linear(mixed, "output", "mixer.o_proj", self.hidden, false)
    }

    fn mlp(&self, branch: &mut BranchBuilder, x: usize, name: &str, [width, output]: [usize; 2]) -> usize {
        let up = branch.linear(x, "up", &format!("{name}.up_proj"), width, self.mlp_bias);
        let activated = branch.activate(up, self.activation);
        branch.linear(activated, "down", &format!("{name}.down_proj"), output, self.mlp_bias)
    }

    fn experts(&self, branch: &mut BranchBuilder, x: usize, experts: &Experts) -> usize {
        let Experts { routing, width, names, correction, shared, .. } = experts;
        let scores = branch.score(x, names.router, routing.experts, false);
        let routes = branch.route(scores, *routing, *correction);
        let read = match self.latent {
            Some(latent) => branch.linear(x, "latent", "mixer.fc1_latent_proj", latent, self.mlp_bias),
            None => x,
        };
        let narrow = branch.width(read);
        let of_expert = |expert: usize| {
            let own = branch.reaching(read, routes, expert, routing);
            let (name, _) = names.around(expert);
            let up = branch.linear(own, "up", &format!("{name}.up_proj"), *width, false);
            let activated = branch.activate(up, self.activation);
            branch.linear(activated, "down", &format!("{name}.down_proj"), narrow, false)
        };
        let outputs: Vec<usize> = (0..routing.experts).map(of_expert).collect();
        let mut y = branch.combine(routes, &outputs);
        if self.latent.is_some() {
            y = branch.linear(y, "latent_output", "mixer.fc2_latent_proj", self.hidden, self.mlp_bias);
        }
        let Some(shared) = shared else { return y };
        let z = self.mlp(branch, x, shared.name, [shared.width, self.hidden]);
        branch.add(y, z)
    }
}
