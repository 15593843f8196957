//! Gemma 4 (Gemma Team 2026), 31B and 26B-A4B: Gemma 3 with wider and fewer heads where attention is full, whose values are its keys there,
//! norms that are stored as they are, values that are normed, and a factor of the states after each block; in some models experts beside the
//! feed-forward layer.

use serde_json::{Map, Value, json};

use super::config::Config;
use super::config_blocks::BY_BLOCK;
use super::experts::{ExpertNames, Experts, Matrices, OwnNorms, Shared};
use super::gemma::FOUR_NORMS;
use super::llama_block::QueryNorms;
use super::llama_form::{Base, Defaults, LLAMA, LlamaForm};
use crate::error::Result;
use crate::model::form::Form;
use crate::model::spec::DecoderSpec;

/// Those that are read here.
pub const NAMES: [&str; 2] = ["gemma4_text", "gemma4"];
/// Place of full attention among the kinds.
const FULL: usize = 0;
/// Bases of rotary positions, of full attention and of that with a window.
const BASES: [(&str, f64); 2] = [("rope_theta", 1e6), ("rope_theta", 1e4)];
const DEFAULTS: Defaults = Defaults {
    activation: ("hidden_activation", "gelu_pytorch_tanh"),
    max_positions: 131_072,
    head_dim: Some(256),
    base: Base::ByKind(BASES),
    tied: true,
    ..LLAMA
};
/// What differs between blocks.
const HEAD_DIM: &str = "head_dim";
const KV_HEADS: &str = "num_key_value_heads";
/// The same of full attention.
const FULL_HEAD_DIM: &str = "global_head_dim";
const FULL_KV_HEADS: &str = "num_global_key_value_heads";

const EXPERT_NORMS: OwnNorms = OwnNorms {
    before: "pre_feedforward_layernorm_2",
    after: "post_feedforward_layernorm_2",
    after_shared: "post_feedforward_layernorm_1",
    router: "router.scale",
};

pub fn spec(config: &Config) -> Result<DecoderSpec> {
    for (key, default, what) in [
        ("hidden_size_per_layer_input", 256.0, "embeddings that every block reads"),
        ("num_kv_shared_layers", 0.0, "keys and values that blocks share"),
    ] {
        let number = config.number_or(key, default)?;
        if number > 0.0 {
            let known = "of Gemma 4 the models 31B and 26B-A4B, without these, are";
            return Err(config.wrong(format!("{key:?} is {number}: {what} (E2B, E4B) are not supported; {known}")));
        }
    }
    match config.get("use_bidirectional_attention").map(Value::as_str) {
        // within images
        None | Some(Some("vision")) => {}
        _ => return Err(config.wrong("\"use_bidirectional_attention\" makes an encoder; only decoders can be pruned")),
    }
    if config.get("rope_parameters").is_some() {
        return read(config);
    }
    let mut said = config.object_or_all("")?.clone();
    let full = json!({ "rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": BASES[FULL].1 });
    let sliding = json!({ "rope_type": "default", "rope_theta": BASES[1].1 });
    said.insert("rope_parameters".into(), json!({ "full_attention": full, "sliding_attention": sliding }));
    read(&Config::new(&config.path, &said.into())?)
}

fn read(config: &Config) -> Result<DecoderSpec> {
    let mut form = LlamaForm::read(config, NAMES[0], &DEFAULTS)?;
    form.norms = FOUR_NORMS;
    form.query_norms = Some(QueryNorms { values: true, ..QueryNorms::HEADS });
    form.scale = Some(1.0);
    form.logit_cap = config.cap("final_logit_softcapping", None)?;
    form.embedding_scale = Some((form.hidden as f64).sqrt() as f32);
    form.factor_of_states = Some("layer_scalar");
    form.read_attention_bias(config)?;
    form.read_windows(config, Some(512), |block| (block + 1) % 6 != 0)?;
    read_heads(config, &mut form)?;
    if config.flag_or("enable_moe_block", false)? {
        let mut experts =
            Experts::shares(config, [config.size("num_experts")?, 1], config.size("moe_intermediate_size")?)?;
        experts.routing.top_k = config.size("top_k_experts")?;
        experts.routing.normalised = true;
        let matrices = Matrices::stacked(Form::Plain);
        experts.names = ExpertNames { router: "router.proj", experts: "experts", matrices };
        experts.factors = Some("router.per_expert_scale");
        experts.norms = Some(EXPERT_NORMS);
        experts.shared = Some(Shared { name: "mlp", matrices: Matrices::PLAIN, width: form.intermediate, gate: None });
        form.take_experts(config, experts)?;
    }
    Ok(form.build())
}

/// Heads of both kinds of attention, and the rotary positions of that which is full, which go over such a head. What blocks have otherwise
/// goes before the keys of full attention, which transformers no longer writes.
fn read_heads(config: &Config, form: &mut LlamaForm) -> Result<()> {
    // whatever is said of it
    if let Some(last) = form.blocks.last_mut() {
        (last.window, last.rotary) = (None, Some(FULL));
    }
    let keys_are_values = config.flag_or("attention_k_eq_v", false)?;
    let by_block = config.by_block(&[HEAD_DIM, KV_HEADS])?;
    let mut of_full = Map::new();
    of_full.insert(HEAD_DIM.into(), json!(config.width_of_head(FULL_HEAD_DIM, 512)?));
    if let Some(kv_heads) = config.get(FULL_KV_HEADS).filter(|_| keys_are_values) {
        of_full.insert(KV_HEADS.into(), kv_heads.clone());
    }
    let (heads, mut of_kinds) = (form.heads, [None; 2]);
    for (block, attention) in form.blocks.iter_mut().enumerate() {
        let kind = attention.rotary.unwrap_or(FULL);
        let own = match &by_block {
            Some(all) => all[block].clone(),
            None if kind == FULL => of_full.clone(),
            None => Map::new(),
        };
        let own = Value::Object(own);
        let own = Config::new(&config.path, &own)?;
        attention.head_dim = own.width_of_head(HEAD_DIM, attention.head_dim)?;
        if own.get(KV_HEADS).is_some() {
            attention.kv_heads = own.kv_heads(KV_HEADS, heads)?;
        }
        attention.keys_are_values = keys_are_values && kind == FULL;
        let own = [attention.head_dim, attention.kv_heads];
        let of_kind: [usize; 2] = *of_kinds[kind].get_or_insert(own);
        if own != of_kind {
            let problem = format!("{BY_BLOCK:?} gives block {block} other heads than blocks of its kind before it");
            return Err(config.wrong(problem));
        }
    }
    let Some([head_dim, kv_heads]) = of_kinds[FULL] else { return Ok(()) };
    for (key, size) in [(FULL_HEAD_DIM, head_dim), (FULL_KV_HEADS, kv_heads)] {
        let counts = key == FULL_HEAD_DIM || keys_are_values;
        if counts && config.size_or(key, size)? != size {
            return Err(config.wrong(format!("{BY_BLOCK:?} gives full attention {size} where {key:?} says otherwise")));
        }
    }
    form.rotary[FULL] = config.rotary_of("full_attention", (head_dim, form.max_positions), BASES[FULL])?;
    Ok(())
}
