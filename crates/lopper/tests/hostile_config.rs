//! Configurations that are wrong, or lie: each gives an error that names the file and the key, and none a panic.

use crate::files;

use std::fs;
use std::path::Path;

use files::{directory, safetensors, stored, write_single};
use lopper::checkpoint::Checkpoint;
use lopper::model::{Decoder, DecoderSpec, FAMILIES, Operation, describe};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A configuration of a family with some keys changed; those that become null are missing.
fn read(family: &str, changes: &Value) -> lopper::Result<DecoderSpec> {
    let mut config = json!({
        "model_type": family, "hidden_act": "silu", "hidden_size": 32, "intermediate_size": 80, "num_attention_heads": 4,
        "num_hidden_layers": 3, "num_key_value_heads": 2, "vocab_size": 96, "rms_norm_eps": 1e-5, "max_position_embeddings": 64
    });
    match family {
        "opt" => (config["activation_function"], config["ffn_dim"]) = ("relu".into(), 80.into()),
        "gpt_neox" => config["hidden_act"] = "gelu".into(),
        "gemma" => config["hidden_act"] = "gelu_pytorch_tanh".into(),
        "bloom" => (config["n_layer"], config["n_head"]) = (3.into(), 4.into()),
        "gptj" => config["rotary_dim"] = 8.into(),
        "gemma4_text" | "gemma4" => config["hidden_size_per_layer_input"] = 0.into(),
        "helium" => config["head_dim"] = 8.into(),
        "glm4_moe" | "dots1" | "deepseek_v2" | "deepseek_v3" | "glm4_moe_lite" | "solar_open" | "exaone_moe" => {
            (config["n_routed_experts"], config["num_experts_per_tok"], config["moe_intermediate_size"]) =
                (16.into(), 2.into(), 20.into());
        }
        "mamba2" => (config["num_heads"], config["head_dim"]) = (8.into(), 8.into()),
        "granitemoehybrid" | "bamba" => config["mamba_n_heads"] = 8.into(),
        "nemotron_h" => config["layers_block_type"] = json!(["mamba", "attention", "mlp"]),
        "mistral3" => {
            config["text_config"] = config.clone();
            config["text_config"]["model_type"] = "mistral".into();
        }
        "ministral3" => config["rope_parameters"] = json!({"rope_type": "yarn", "factor": 2.0}),
        _ => (),
    }
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    describe(Path::new("dir/config.json"), &config)
}

fn refused(family: &str, changes: &Value, expected: &str) {
    let error = read(family, changes).expect_err(expected);
    let message = error.to_string();
    assert!(message.starts_with("dir/config.json: ") && message.contains(expected), "{changes}: {message}");
    assert!(message.len() < 400 && !error.is_machine(), "{message}");
}

#[test]
fn what_the_others_change_is_accepted_as_it_is() {
    for family in FAMILIES {
        let spec = read(family.name, &json!({})).unwrap();
        assert_eq!((spec.family, spec.blocks.len(), spec.hidden), (family.name, 3, 32));
    }
}

#[test]
fn experts_that_cannot_be_chosen_are_refused() {
    refused("mixtral", &json!({"num_local_experts": 1 << 20}), "more than 4096");
    refused("mixtral", &json!({"num_local_experts": 4096, "num_hidden_layers": 999}), "in 999 blocks are more than");
    refused("mixtral", &json!({"num_local_experts": 1}), "more than the 1 experts");
    refused("deepseek_v3", &json!({"qk_rope_head_dim": 4_294_967_294u64}), "above 65536");
    refused("deepseek_v2", &json!({"mlp_bias": true}), "\"mlp_bias\"");
    refused("qwen3_moe", &json!({"num_experts": 8, "num_local_experts": 9}), "says otherwise");
    refused("deepseek_v3", &json!({"n_group": 3}), "16 experts are not 3 groups of 2 or more");
    refused("deepseek_v3", &json!({"topk_group": 9}), "cannot be chosen from so many of 8 groups");
    refused("deepseek_v2", &json!({"topk_method": "noaux_tc"}), "\"noaux_tc\"");
    refused("glm4_moe_lite", &json!({"mlp_layer_types": ["dense", "sparse"]}), "of block 2");
    for key in ["swiglu_alpha", "swiglu_limit"] {
        refused("gpt_oss", &json!({ key: 0.0 }), &format!("{key:?} is 0, not above 0"));
    }
    refused("hunyuan_v1_moe", &json!({"moe_topk": [2, 1, 2]}), "\"moe_topk\" differs between blocks");
    refused("hunyuan_v1_moe", &json!({"moe_topk": []}), "\"moe_topk\"");
    refused("mamba", &json!({"hidden_act": "gelu"}), "\"hidden_act\"");
    refused("mamba", &json!({"expand": 1u64 << 31, "hidden_size": 64}), "channels");
}

#[test]
fn recurrences_that_cannot_be_are_refused() {
    refused("mamba2", &json!({"num_heads": 7}), "7 heads of 8 are not as wide as the 64 channels");
    refused("mamba2", &json!({"n_groups": 3}), "3 groups do not divide 8 heads");
    refused("mamba2", &json!({"state_size": 1 << 20}), "\"state_size\" is 1048576, above");
    for limits in [json!([1.0, 0.5]), json!([0.0]), json!([["NaN"], 1.0]), json!({"__float__": ["infinity"]})] {
        refused("mamba2", &json!({ "time_step_limit": limits }), "\"time_step_limit\" is");
    }
    assert!(read("mamba2", &json!({"time_step_limit": [0.0, {"__float__": ["infinity"]}]})).is_ok());
    refused("granitemoehybrid", &json!({"layer_types": ["mamba", "x", "mamba"]}), "of block 1");
    refused("falcon_h1", &json!({"ssm_multipliers": [1.0, 2.0]}), "has 2 factors, not 5");
    refused("falcon_h1", &json!({"mlp_multipliers": [1.0, 0.0]}), "has the factor 0, not above 0");
    refused("jamba", &json!({"attn_layer_offset": 8}), "not below \"attn_layer_period\"");
    refused("nemotron_h", &json!({"layers_block_type": ["mamba", "?"]}), "says \"?\" of block 1");
    refused("nemotron_h", &json!({"layers_block_type": null, "hybrid_override_pattern": ""}), "no blocks");
    for factor in [1e12, 1e300, 1e-9] {
        refused("lfm2", &json!({ "block_ffn_dim_multiplier": factor }), "neurons");
    }
    assert!(read("lfm2", &json!({"intermediate_size": null, "block_ff_dim": 96})).is_ok());
    refused("jamba", &json!({"hidden_act": "gelu"}), "\"hidden_act\"");
    refused("qwen3_next", &json!({"linear_num_key_heads": 3}), "3 does not divide \"linear_num_value_heads\" 32");
    let heads = json!({"linear_num_key_heads": 1u64 << 31, "linear_num_value_heads": 1u64 << 31});
    refused("qwen3_next", &heads, "\"linear_num_key_heads\" is 2147483648, above 65536");
    refused(
        "qwen3_5_text",
        &json!({"linear_value_head_dim": 1u64 << 20}),
        "\"linear_value_head_dim\" is 1048576, above",
    );
    refused("qwen3_5_moe_text", &json!({"layer_types": ["full_attention"]}), "of block 1");
    refused("qwen3_5", &json!({"text_config": {"linear_num_key_heads": 0}}), "\"linear_num_key_heads\"");
    refused("falcon_h1", &json!({"mamba_rms_norm": 1}), "\"mamba_rms_norm\" is 1");
    refused("nemotron_h", &json!({"head_dim": null, "num_attention_heads": 64}), "no entry each");
}

#[test]
fn blocks_of_gemma4_that_cannot_be_are_refused() {
    let known = "of Gemma 4 the models 31B and 26B-A4B";
    refused("gemma4_text", &json!({"hidden_size_per_layer_input": null}), "\"hidden_size_per_layer_input\" is 256");
    refused("gemma4_text", &json!({"hidden_size_per_layer_input": 8}), known);
    refused("gemma4", &json!({"num_kv_shared_layers": 2}), known);
    let by_block = |own: Value| json!({ "per_layer_config": own });
    refused("gemma4_text", &by_block(json!([])), "\"per_layer_config\" is [], not an object");
    refused("gemma4_text", &by_block(json!({"3": {}})), "names the block \"3\"");
    refused("gemma4_text", &by_block(json!({"x": {}})), "names the block \"x\"");
    refused("gemma4_text", &by_block(json!({"1": 5})), "an object for each block");
    refused(
        "gemma4_text",
        &by_block(json!({"1": {"intermediate_size": 5}})),
        "changes \"intermediate_size\" of block 1",
    );
    refused("gemma4_text", &by_block(json!({"1": {"head_dim": 16}})), "gives block 1 other heads");
    refused("gemma4_text", &by_block(json!({"2": {"num_key_value_heads": 3}})), "cannot share 3");
    refused("gemma4_text", &by_block(json!({"2": {"head_dim": u32::MAX}})), "above 65536");
    let mut both = by_block(json!({"2": {"head_dim": 16}}));
    both["global_head_dim"] = 32.into();
    refused("gemma4_text", &both, "gives full attention 16 where \"global_head_dim\" says otherwise");
    refused("gemma3", &json!({"text_config": by_block(json!({}))}), "\"per_layer_config\" is not known in this family");
    refused("gemma4_text", &json!({"enable_moe_block": true}), "\"num_experts\" is missing");
    let experts = json!({"enable_moe_block": true, "num_experts": 2, "top_k_experts": 3, "moe_intermediate_size": 8});
    refused("gemma4_text", &experts, "more than the 2 experts");
    for share in [-0.5, 1.5] {
        let full = json!({"rope_type": "proportional", "partial_rotary_factor": share});
        let both = json!({"rope_parameters": {"full_attention": full}});
        refused("gemma4_text", &both, &format!("\"partial_rotary_factor\" is {share}, outside [0, 1]"));
    }
}

#[test]
fn a_size_that_is_none_is_refused() {
    let sizes = ["vocab_size", "hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers"];
    let optional = ["num_key_value_heads", "head_dim", "max_position_embeddings"];
    for key in sizes.into_iter().chain(optional) {
        let wrong =
            [json!(-1), json!(0), json!(1.5), json!("96"), json!(1e30), json!(u64::MAX), json!([96]), json!(true)];
        for value in wrong.into_iter().chain([json!({"a": "b".repeat(10_000)})]) {
            refused("llama", &json!({ key: value }), &format!("{key:?} is "));
        }
    }
    for key in sizes {
        refused("llama", &json!({ key: null }), &format!("{key:?} is missing"));
    }
}

#[test]
fn sizes_that_would_take_memory_before_tensors_are_seen_are_refused() {
    refused("llama", &json!({"num_hidden_layers": u32::MAX}), "\"num_hidden_layers\" is 4294967295, above");
    refused("llama", &json!({"head_dim": u32::MAX - 1}), "\"head_dim\" is 4294967294, above");
    refused(
        "llama",
        &json!({"hidden_size": u32::MAX - 3, "num_attention_heads": 1, "num_key_value_heads": 1}),
        "\"head_dim\"",
    );
    let many = json!({"hidden_size": u32::MAX - 7, "num_attention_heads": (1 << 29) - 1});
    refused("llama", &many, "\"num_attention_heads\" is 536870911, above");
    refused("gpt_neox", &many, "\"num_attention_heads\" is 536870911, above");
    for family in ["gpt_neox", "opt", "bloom", "gpt2", "gpt_bigcode", "gptj", "falcon"] {
        let wide = json!({"hidden_size": u32::MAX - 3, "num_attention_heads": 1, "n_head": null});
        refused(family, &wide, "a head of 4294967292 entries");
    }
    // what the other sizes claim is compared with the tensors
    assert!(read("llama", &json!({"vocab_size": u32::MAX, "intermediate_size": u32::MAX})).is_ok());
}

#[test]
fn sizes_that_contradict_each_other_are_refused() {
    let cases = [
        (json!({"num_key_value_heads": 3}), "4 attention heads cannot share 3"),
        (json!({"num_key_value_heads": 8}), "4 attention heads cannot share 8"),
        (json!({"num_attention_heads": 64, "num_key_value_heads": 64}), "rotary embedding of 0"),
        (json!({"head_dim": 15}), "rotary embedding of 15"),
        (json!({"partial_rotary_factor": 2.0}), "this family rotates whole heads"),
        (json!({"rope_theta": 0}), "with base 0"),
        (json!({"rope_theta": -1e4}), "with base -10000"),
    ];
    for (changes, expected) in cases {
        refused("llama", &changes, expected);
    }
}

#[test]
fn heads_that_a_family_does_not_know_are_refused() {
    for family in ["helium", "stablelm"] {
        refused(family, &json!({ "head_dim": 16 }), "are not as wide as \"hidden_size\"");
    }
}

#[test]
fn shares_of_a_head_that_make_no_sense_are_refused() {
    let cases = [
        (json!(2.0), "rotary embedding of 16 of the 8 entries"),
        (json!(1e10), "makes no sense"),
        (json!(-1), "rotary embedding of 0"),
        (json!(null), "\"partial_rotary_factor\" is null"),
    ];
    for (share, expected) in cases {
        for family in ["phi", "nemotron", "stablelm"] {
            refused(family, &json!({ "partial_rotary_factor": share }), expected);
        }
    }
}

#[test]
fn values_of_another_kind_are_refused() {
    let cases = [
        (json!({"model_type": null}), "\"model_type\" is missing"),
        (json!({"model_type": 7}), "\"model_type\" is missing or no string"),
        (json!({"model_type": "rnn"}), "models of type \"rnn\" are not supported"),
        (json!({"hidden_act": 3}), "\"hidden_act\" is 3, not a string"),
        (json!({"hidden_act": "mish"}), "\"hidden_act\" is \"mish\""),
        (json!({"rms_norm_eps": "NaN"}), "\"rms_norm_eps\" is \"NaN\", not a number"),
        (json!({"rms_norm_eps": -1e-5}), "outside [0, 1)"),
        (json!({"rms_norm_eps": 1e300}), "outside [0, 1)"),
        (json!({"rope_theta": "Infinity"}), "\"rope_theta\" is \"Infinity\", not a number"),
        (json!({"tie_word_embeddings": "no"}), "\"tie_word_embeddings\" is \"no\", not true or false"),
        (json!({"attention_bias": 1}), "\"attention_bias\" is 1"),
        (json!({"rope_scaling": "linear"}), "\"rope_scaling\" is \"linear\", not an object"),
        (json!({"rope_parameters": [1]}), "\"rope_parameters\" is [1], not an object"),
    ];
    for (changes, expected) in cases {
        refused("llama", &changes, expected);
    }
    let windows = [
        (json!({"sliding_window": "wide"}), "\"sliding_window\" is \"wide\""),
        (json!({"sliding_window": 8, "layer_types": "sliding_attention"}), "does not name the kind of block 0"),
        (json!({"sliding_window": 8, "layer_types": ["sliding_attention"]}), "does not name the kind of block 1"),
        (json!({"sliding_window": 8, "layer_types": [1, 2, 3]}), "does not name the kind of block 0"),
    ];
    for (mut changes, expected) in windows {
        refused("mistral", &changes, expected);
        changes["use_sliding_window"] = json!(true);
        refused("qwen2", &changes, expected);
    }
    refused("qwen2", &json!({"use_sliding_window": "yes"}), "\"use_sliding_window\" is \"yes\"");
    refused("qwen2", &json!({"use_sliding_window": true, "max_window_layers": -1}), "\"max_window_layers\" is -1");
}

#[test]
fn scalings_that_give_no_angles_are_refused() {
    let llama3 = |low: f64, high: f64| {
        json!({"rope_type": "llama3", "factor": 8, "low_freq_factor": low, "high_freq_factor": high,
            "original_max_position_embeddings": 8192})
    };
    let cases = [
        (json!({"type": 7}), "\"type\" is 7, not a string"),
        (json!({"rope_type": {}}), "\"rope_type\" is {}, not a string"),
        (json!({"rope_type": "spiral"}), "rotary scaling \"spiral\" is not supported"),
        (json!({"rope_type": "linear"}), "\"factor\" is missing"),
        (json!({"rope_type": "linear", "factor": "2"}), "\"factor\" is \"2\", not a number"),
        (json!({"rope_type": "linear", "factor": 0}), "\"factor\" is 0, not above 0"),
        (json!({"rope_type": "linear", "factor": 1e-300}), "frequencies that are no numbers"),
        (json!({"rope_type": "dynamic", "factor": -3}), "\"factor\" is -3, not above 0"),
        (llama3(0.0, 4.0), "\"low_freq_factor\" is 0"),
        (llama3(1.0, -4.0), "\"high_freq_factor\" is -4"),
        (json!({"rope_type": "yarn", "factor": -1}), "\"factor\" is -1"),
        (json!({"rope_type": "yarn", "factor": 4, "attention_factor": 1e300}), "frequencies that are no numbers"),
        (json!({"rope_type": "yarn", "factor": 4, "attention_factor": 0}), "frequencies that are no numbers"),
        (json!({"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": -1}), "is -1, not a positive"),
    ];
    for (scaling, expected) in cases {
        refused("llama", &json!({ "rope_scaling": scaling }), expected);
    }
}

#[test]
fn a_file_that_holds_no_configuration_is_refused() {
    let dir = directory();
    write_single(dir.path(), &safetensors(&[stored("a", "F32", &[1])]));
    let cases: [(&[u8], &str); 9] = [
        (b"", "not valid JSON"),
        (b"[]", "is not a JSON object"),
        (b"null", "is not a JSON object"),
        (b"\"llama\"", "is not a JSON object"),
        (b"{\"model_type\": NaN}", "\"model_type\" is missing or no string"),
        (b"{\"rope_theta\": 1e999}", "number out of range"),
        (b"{\"model_type\": \"\xff\"}", "not valid JSON"),
        (&b"[".repeat(1_000_000), "recursion limit"),
        (&b"{\"a\":".repeat(1_000_000), "recursion limit"),
    ];
    for (contents, expected) in cases {
        fs::write(dir.path().join("config.json"), contents).unwrap();
        let error = Decoder::open(Checkpoint::open(dir.path()).unwrap()).err().unwrap();
        let message = error.to_string();
        assert!(message.contains("config.json: ") && message.contains(expected), "{message}");
    }
}

const KEYS: &[&str] = &[
    "hidden_size",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "rms_norm_eps",
    "rope_theta",
    "partial_rotary_factor",
    "rotary_pct",
    "rotary_emb_base",
    "use_parallel_residual",
    "ffn_dim",
    "word_embed_proj_dim",
    "do_layer_norm_before",
    "layer_types",
    "sliding_window",
    "use_sliding_window",
    "max_window_layers",
];

const SCALING_KEYS: &[&str] = &[
    "factor",
    "low_freq_factor",
    "high_freq_factor",
    "original_max_position_embeddings",
    "attention_factor",
    "mscale",
    "mscale_all_dim",
    "beta_fast",
    "beta_slow",
    "rope_theta",
    "partial_rotary_factor",
];

fn values() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        (0_u64..100).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-20.0..20.0_f64).prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(json!(["sliding_attention", "full_attention", "sliding_attention"])),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_accepted_can_be_computed(
        family in 0..FAMILIES.len(),
        changes in prop::collection::vec((prop::sample::select(KEYS), values()), 0..3),
        kind in prop::sample::select(&["default", "linear", "proportional", "dynamic", "llama3", "yarn"][..]),
        scaling in prop::collection::vec((prop::sample::select(SCALING_KEYS), values()), 0..6),
    ) {
        let mut changes: serde_json::Map<_, _> =
            changes.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let mut scaling: serde_json::Map<_, _> =
            scaling.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        scaling.insert("rope_type".into(), kind.into());
        changes.insert("rope_scaling".into(), scaling.into());
        if let Ok(spec) = read(FAMILIES[family].name, &changes.into()) {
            let branches = spec.blocks.iter().flat_map(|block| &block.stages).flat_map(|stage| &stage.branches);
            for one in branches.flat_map(|branch| branch.program.instructions()) {
                match &one.operation {
                    &Operation::Rotary { head_dim, table } => prop_assert!(spec.rotary[table].dim <= head_dim),
                    Operation::Attention { layout, .. } => prop_assert!(layout.heads.is_multiple_of(layout.kv_heads)),
                    _ => (),
                }
            }
            for rotary in &spec.rotary {
                for length in [1, spec.max_positions] {
                    let (frequencies, scale) = rotary.frequencies(length);
                    prop_assert!(scale.is_finite() && frequencies.iter().all(|f| f.is_finite()), "{rotary:?}");
                }
            }
        }
    }
}
