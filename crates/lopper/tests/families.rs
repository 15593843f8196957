//! Every family against the logits and hidden states that transformers computes from the same files.

use crate::golden;

use std::collections::BTreeSet;
use std::path::Path;

use golden::{Golden, assert_close, fixtures, tiny};
use lopper::autograd::Tape;
use lopper::checkpoint::Checkpoint;
use lopper::model::{Context, Decoder, DecoderSpec, FAMILIES, NoTap, Operation, RotaryScaling, Sequences, describe};
use lopper::tensor::Tensor;
use lopper_kernels::{Activation, Precision};
use serde_json::{Value, json};

/// What stands before the names of tensors that read images, or predict further ahead.
const OTHERS: [&str; 7] = [
    "vision_tower.",
    "multi_modal_projector.",
    "visual.",
    "model.visual.",
    "mtp.",
    "model.vision_tower.",
    "model.embed_vision.",
];

/// The folder of every family, and those of its variants.
fn folders() -> Vec<String> {
    let mut folders = Vec::new();
    for family in FAMILIES {
        folders.push(family.name.to_owned());
        let inside = std::fs::read_dir(fixtures().join(family.name)).expect("fixtures of every family").flatten();
        let variants = inside.filter(|entry| entry.path().is_dir());
        folders.extend(variants.map(|entry| format!("{}/{}", family.name, entry.file_name().to_string_lossy())));
    }
    folders
}

/// Output of every block for one sequence.
fn hidden_states(decoder: &Decoder, ids: &[u32]) -> Vec<Tensor> {
    let (sequences, rotary) = (Sequences::new([ids.len()]), decoder.rotary(ids.len()));
    let mut x = decoder.embed(ids, &sequences.positions()).expect("ids are in the vocabulary");
    let blocks = (0..decoder.spec().blocks.len()).map(|index| {
        let block = decoder.load_block(index).expect("block");
        let context = Context { sequences: &sequences, rotary: &rotary };
        let y = block.forward(&mut Tape::new(Precision::F32), &(&x).into(), context, &mut NoTap);
        x = y.expect("forward").tensor().clone();
        x.clone()
    });
    blocks.collect()
}

fn check(folder: &str) {
    let (_directory, decoder) = tiny(folder);
    let golden = Golden::open(&format!("{folder}/golden"));
    for sequence in 0..2 {
        let ids = golden.ids(&format!("input_ids.{sequence}"));
        let states = hidden_states(&decoder, &ids);
        for (index, state) in states.iter().enumerate().filter(|_| sequence == 0) {
            assert_close(state, golden.get(&format!("hidden.{index}")), 1e-5, &format!("{folder} block {index}"));
        }
        let (head, last) = (decoder.head().expect("head"), &states[states.len() - 1]);
        let want = golden.get(&format!("logits.{sequence}"));
        assert_close(&head.logits(last).expect("logits"), want, 1e-4, &format!("{folder} logits {sequence}"));
        let targets: Vec<u32> = ids.iter().rev().copied().collect();
        let nll = head.negative_log_likelihood(last, &targets, Precision::F32).expect("likelihood");
        for ((nll, logits), &target) in nll.iter().zip(want.host().chunks(decoder.spec().vocabulary)).zip(&targets) {
            let normaliser = logits.iter().map(|&logit| f64::from(logit).exp()).sum::<f64>().ln();
            assert!((nll - (normaliser - f64::from(logits[target as usize]))).abs() < 1e-4, "{folder} likelihood");
        }
    }
}

#[test]
fn every_family_gives_the_logits_of_transformers() {
    let folders = folders();
    assert!(folders.len() >= FAMILIES.len() + 15, "{folders:?}");
    for folder in folders {
        assert!(fixtures().join(&folder).join("golden.safetensors").exists(), "no golden for {folder}");
        check(&folder);
    }
}

#[test]
fn no_fixture_says_where_it_was_made() {
    for folder in folders() {
        let text = std::fs::read_to_string(fixtures().join(&folder).join("config.json")).expect("config");
        assert!(!text.contains("_name_or_path"), "{folder}");
    }
}

#[test]
fn a_description_names_exactly_the_tensors_of_the_files() {
    for folder in folders() {
        let (_directory, decoder) = tiny(&folder);
        let described = decoder.spec().tensors();
        let names: BTreeSet<&str> = described.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names.len(), described.len(), "{folder}: a name twice");
        // what is no part of the decoder is not described
        let is_other = |name: &&str| OTHERS.iter().any(|part| name.starts_with(part));
        assert_eq!(names, decoder.checkpoint().names().filter(|name| !is_other(name)).collect(), "{folder}");
    }
}

#[test]
fn a_ragged_batch_is_its_sequences() {
    for family in FAMILIES {
        let (_directory, decoder) = tiny(family.name);
        let ids: Vec<u32> = (0..30).map(|i| (i * 7) % 90).collect();
        let (first, second) = ids.split_at(19);
        let rotary = decoder.rotary(30);
        let block = decoder.load_block(0).expect("block");
        let run = |ids: &[u32], lengths: &[usize]| {
            let sequences = Sequences::new(lengths.iter().copied());
            let x = decoder.embed(ids, &sequences.positions()).expect("ids");
            let context = Context { sequences: &sequences, rotary: &rotary };
            let y = block.forward(&mut Tape::new(Precision::F32), &x.into(), context, &mut NoTap);
            y.expect("forward").tensor().clone()
        };
        let apart = Tensor::stack(&[run(first, &[19]), run(second, &[11])]).expect("rows");
        assert_close(&run(&ids, &[19, 11]), &apart, 1e-6, family.name);
    }
}

#[test]
fn sequences_that_begin_alike_share_rows() {
    let texts: [&[u32]; 3] = [&[5, 9, 2, 40, 7, 7, 8, 1, 3, 30, 11], &[5, 9, 2, 40, 7, 7, 8, 1, 3, 12], &[5, 9, 61]];
    for folder in folders() {
        let (_directory, decoder) = tiny(&folder);
        let (sequences, ids) = Sequences::shared(&texts);
        assert!(ids.len() < 24);
        let (rotary, head) = (decoder.rotary(11), decoder.head().expect("head"));
        let mut x = decoder.embed(&ids, &sequences.positions()).expect("ids");
        for index in 0..decoder.spec().blocks.len() {
            let context = Context { sequences: &sequences, rotary: &rotary };
            let block = decoder.load_block(index).expect("block");
            let y = block.forward(&mut Tape::new(Precision::F32), &x.into(), context, &mut NoTap);
            x = y.expect("forward").tensor().clone();
        }
        let logits = head.logits(&x).expect("logits");
        for (place, text) in texts.iter().enumerate() {
            let states = hidden_states(&decoder, text);
            let want = head.logits(&states[states.len() - 1]).expect("logits");
            for position in 0..text.len() {
                let row = sequences.row(place, position);
                let (got, want) = (logits.rows(row..row + 1), want.rows(position..position + 1));
                assert_close(&got.expect("row"), &want.expect("row"), 1e-5, &format!("{folder} {place} {position}"));
            }
        }
    }
}

#[test]
fn unknown_families_and_missing_tensors_are_named() {
    let (directory, _) = tiny("llama");
    let config = directory.path().join("config.json");
    let text = std::fs::read_to_string(&config).expect("config");
    let refused = |text: String| {
        std::fs::write(&config, text).expect("written");
        let checkpoint = Checkpoint::open(directory.path()).expect("opens");
        Decoder::open(checkpoint).err().expect("refused")
    };
    let error = refused(text.replace("\"llama\"", "\"rwkv\"").replace("LlamaForCausalLM", "RwkvForCausalLM"));
    assert!(error.to_string().contains("rwkv") && error.hint().is_some_and(|hint| hint.contains("qwen2")));
    let error = refused(text.replace("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4"));
    assert!(error.to_string().contains("model.layers.3."), "{error}");
    let error = refused(text.replace("\"vocab_size\": 96", "\"vocab_size\": 97"));
    assert!(error.to_string().contains("[96, 32]") && error.to_string().contains("[97, 32]"), "{error}");
}

#[test]
fn stacked_experts_are_as_many_as_config_json_says() {
    let (directory, decoder) = tiny("granitemoe");
    let part = "model.layers.1.block_sparse_moe.output_linear.weight[5]";
    assert_eq!(decoder.checkpoint().info(part).expect("a part").shape, [40, 20]);
    let config = directory.path().join("config.json");
    let text = std::fs::read_to_string(&config).expect("config");
    let fewer = text.replace("\"num_local_experts\": 6", "\"num_local_experts\": 5");
    assert_ne!(text, fewer);
    std::fs::write(&config, fewer).expect("written");
    let error = Decoder::open(Checkpoint::open(directory.path()).expect("opens")).err().expect("refused").to_string();
    assert!(error.contains("shape [6, 40, 40]") && error.contains("5 experts"), "{error}");
}

#[test]
fn positions_of_gpt_oss_are_scaled_where_nothing_is_said_of_them() {
    let published = RotaryScaling::Yarn {
        factor: 32.0,
        beta_fast: 32.0,
        beta_slow: 1.0,
        attention_factor: 0.1 * 32f64.ln() + 1.0,
        truncate: false,
        original_positions: 4096,
    };
    for (changes, theta, scaling) in [
        (json!({ "rope_parameters": null }), 150_000.0, &published),
        (json!({ "rope_parameters": null, "rope_theta": 5e4, "rope_scaling": {} }), 5e4, &published),
        (json!({ "rope_parameters": {} }), 150_000.0, &RotaryScaling::Default),
    ] {
        let rotary = changed("gpt_oss", &changes).expect("supported").rotary;
        assert_eq!((rotary[0].theta, &rotary[0].scaling), (theta, scaling), "{changes}");
    }
}

#[test]
fn a_refusal_says_what_differs_and_what_may_do() {
    let error = |config: Value| describe(Path::new("config.json"), &config).expect_err("unknown");
    let cases = [
        (json!({ "model_type": "minimax", "num_local_experts": 8 }), "mixtures of experts", "supported: llama"),
        (json!({ "model_type": "deepseek", "kv_lora_rank": 512 }), "(MLA)", "supported"),
        (json!({ "model_type": "zamba2", "mamba_d_state": 16 }), "recurrent", "supported"),
        (json!({ "model_type": "t5", "is_encoder_decoder": true }), "only decoders", "supported"),
        (
            json!({ "model_type": "bert", "architectures": ["BertForMaskedLM"] }),
            "BertForMaskedLM is no decoder",
            "supported",
        ),
        (
            json!({ "model_type": "llava", "text_config": { "model_type": "qwen2" } }),
            "its text part is of type \"qwen2\"",
            "qwen2 is supported: save the text part",
        ),
        (
            json!({ "model_type": "my_llama", "architectures": ["LlamaForCausalLM"] }),
            "\"my_llama\" are not supported",
            "\"model_type\": \"llama\"",
        ),
        (
            json!({ "model_type": "x", "architectures": ["GPTNeoXForCausalLM"] }),
            "\"x\"",
            "\"model_type\": \"gpt_neox\"",
        ),
    ];
    for (config, problem, hint) in cases {
        let error = error(config);
        assert!(error.to_string().contains(problem), "{error}");
        assert!(error.hint().is_some_and(|text| text.contains(hint)), "{:?}", error.hint());
    }
}

#[test]
fn a_head_of_its_own_counts_whatever_config_json_says() {
    // transformers 5 does not tie what the files have twice with other numbers
    for family in ["llama", "gpt_neox", "mistral3"] {
        let (directory, untied) = tiny(family);
        let path = directory.path().join("config.json");
        let text = std::fs::read_to_string(&path).expect("config");
        let tied = text.replace("\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true");
        assert_ne!(text, tied, "{family}");
        std::fs::write(&path, tied).expect("written");
        let decoder = Decoder::open(Checkpoint::open(directory.path()).expect("opens")).expect("supported");
        assert!(!decoder.spec().head.tied && decoder.spec().tensors() == untied.spec().tensors(), "{family}");
    }
}

/// What the config.json of a family says after changes; `null` removes a key.
fn changed(family: &str, changes: &Value) -> lopper::Result<DecoderSpec> {
    let text = std::fs::read_to_string(fixtures().join(family).join("config.json")).expect("fixture");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    let keys = config.as_object_mut().expect("object");
    for (key, value) in changes.as_object().expect("changes") {
        if value.is_null() {
            keys.shift_remove(key);
        } else {
            keys.insert(key.clone(), value.clone());
        }
    }
    describe(Path::new("config.json"), &config)
}

fn refused(family: &str, changes: &Value) -> String {
    changed(family, changes).expect_err("refused").to_string()
}

/// Windows of the attention of each block.
fn windows(spec: &DecoderSpec) -> Vec<Option<usize>> {
    let of_block = spec.blocks.iter().map(|block| {
        let branches = block.stages.iter().flat_map(|stage| &stage.branches);
        branches.flat_map(|branch| branch.program.instructions()).find_map(|one| match &one.operation {
            Operation::Attention { layout, .. } => Some(layout.window),
            _ => None,
        })
    });
    of_block.map(|window| window.expect("attention")).collect()
}

/// Whether each block has rotary positions.
fn turned(spec: &DecoderSpec) -> Vec<bool> {
    let of_block = spec.blocks.iter().map(|block| {
        let branches = block.stages.iter().flat_map(|stage| &stage.branches);
        branches
            .flat_map(|branch| branch.program.instructions())
            .any(|one| matches!(one.operation, Operation::Rotary { .. }))
    });
    of_block.collect()
}

#[test]
fn kinds_of_attention_that_are_unknown_are_refused() {
    let kinds = json!({ "layer_types": ["full_attention", "chunked_attention", "full_attention"] });
    for family in ["mistral", "gemma3_text", "smollm3", "olmo3", "exaone4", "cohere2"] {
        let error = refused(family, &kinds);
        assert!(error.contains("chunked_attention") && error.contains("block 1"), "{family}: {error}");
    }
}

#[test]
fn rope_scaling_wins_over_rope_parameters() {
    // as transformers reads them: what stands in `rope_parameters` is lost, its base too
    let parameters = json!({ "rope_type": "default", "rope_theta": 7.0 });
    let linear = json!({ "rope_type": "linear", "factor": 2.0 });
    let changes = json!({ "rope_parameters": parameters, "rope_scaling": linear, "rope_theta": null });
    let rotary = changed("llama", &changes).expect("supported").rotary[0].clone();
    assert_eq!((rotary.theta, rotary.scaling), (10_000.0, RotaryScaling::Linear { factor: 2.0 }));
    let changes = json!({ "rope_parameters": parameters, "rope_scaling": {} });
    let rotary = changed("llama", &changes).expect("supported").rotary[0].clone();
    assert_eq!((rotary.theta, rotary.scaling), (7.0, RotaryScaling::Default));
    // where each kind of attention has its own, it is added to that of full attention
    let both = json!({ "full_attention": parameters, "sliding_attention": { "rope_theta": 9.0 } });
    let changes = json!({ "rope_parameters": both, "rope_scaling": linear });
    for family in ["gemma3_text", "olmo3"] {
        let spec = changed(family, &changes).expect("supported");
        let read: Vec<_> = spec.rotary.iter().map(|rotary| (rotary.theta, rotary.scaling.clone())).collect();
        let full = (7.0, RotaryScaling::Linear { factor: 2.0 });
        assert_eq!(read, [full, (9.0, RotaryScaling::Default)], "{family}");
    }
}

#[test]
fn what_longrope_was_trained_on_stands_in_either_place() {
    let factors =
        json!({ "rope_type": "longrope", "short_factor": [1, 1, 1, 1, 1, 1], "long_factor": [2, 2, 2, 2, 2, 2] });
    let read = |changes: Value| match &changed("phi3", &changes).expect("supported").rotary[0].scaling {
        RotaryScaling::LongRope { attention_factor, original_positions, .. } => {
            (*attention_factor, *original_positions)
        }
        other => panic!("{other:?}"),
    };
    let mut changes = json!({ "rope_scaling": factors, "partial_rotary_factor": 0.75, "rope_parameters": null });
    changes["original_max_position_embeddings"] = 16.into();
    let (factor, original) = read(changes.clone());
    assert!(original == 16 && (factor - 1.5f64.sqrt()).abs() < 1e-12, "{factor}");
    changes["rope_scaling"]["original_max_position_embeddings"] = 32.into();
    assert_eq!(read(changes.clone()).1, 16, "the one beside it wins");
    changes["original_max_position_embeddings"] = Value::Null;
    assert_eq!(read(changes.clone()).1, 4096, "that of Phi-3 does not stand with its scaling");
    changes["rope_scaling"]["long_factor"] = json!([2, 2]);
    assert!(refused("phi3", &changes).contains("\"long_factor\" is no list of 6 numbers"));
    changes["rope_scaling"] = json!({ "rope_type": "linear", "factor": 2 });
    assert!(refused("phi3", &changes).contains("longrope"));
}

#[test]
fn what_a_family_does_not_read_changes_nothing_or_is_refused() {
    let spec = |family: &str, changes: Value| changed(family, &changes).expect("supported");
    // `layer_types` of families that slide in every block
    let kinds = json!({ "sliding_window": 8, "layer_types": ["full_attention", "full_attention", "full_attention"] });
    for family in ["starcoder2", "phi3", "ministral3"] {
        assert_eq!(windows(&spec(family, kinds.clone())), [Some(8); 3], "{family}");
    }
    assert_eq!(windows(&spec("mistral", kinds.clone())), [None; 3]);
    let listed = json!({ "use_sliding_window": false, "sliding_window": 8,
        "layer_types": ["full_attention", "sliding_attention", "full_attention"] });
    assert_eq!(windows(&spec("smollm3", listed)), [None, Some(8), None]);
    // a share of each head in families that rotate whole ones
    for family in ["llama", "qwen3", "cohere", "falcon", "gemma3_text"] {
        let error = refused(family, &json!({ "partial_rotary_factor": 0.5 }));
        assert!(error.contains("rotates whole heads"), "{family}: {error}");
        spec(family, json!({ "partial_rotary_factor": 1.0 }));
    }
    assert!(refused("llama", &json!({ "per_layer_config": { "0": {} } })).contains("per_layer_config"));
    let by_kind = json!({ "rope_scaling": null, "rope_parameters": { "full_attention": { "rope_theta": 9.0 } } });
    assert!(refused("exaone4", &by_kind).contains("by kind of attention"));
    let error = refused("gpt2", &json!({ "n_head": 3, "num_attention_heads": 2 }));
    assert!(error.contains("\"n_head\" is 3") && error.contains("num_attention_heads"), "{error}");
    // bounds of Gemma 3 that transformers leaves out
    let capped = json!({ "attn_logit_softcapping": 1.0, "final_logit_softcapping": 2.0 });
    let capped = spec("gemma3_text", capped);
    assert_eq!(capped.head.soft_cap, Some(2.0));
    assert_eq!(capped.blocks, spec("gemma3_text", json!({})).blocks);
}

#[test]
fn what_a_key_means_without_it_or_as_null() {
    let spec = |family: &str, changes: Value| changed(family, &changes).expect("supported");
    for (family, positions) in [
        ("llama", 2048),
        ("mistral", 131_072),
        ("qwen2", 32_768),
        ("qwen3", 32_768),
        ("smollm3", 32_768),
        ("seed_oss", 524_288),
        ("arcee", 4096),
    ] {
        assert_eq!(spec(family, json!({ "max_position_embeddings": null })).max_positions, positions, "{family}");
    }
    // a `head_dim` of `null` shares the width out; here `null` removes the key
    let mut config: Value =
        serde_json::from_str(&std::fs::read_to_string(fixtures().join("seed_oss/config.json")).expect("fixture"))
            .expect("JSON");
    config["head_dim"] = Value::Null;
    let shared = describe(Path::new("config.json"), &config).expect("supported");
    assert_eq!((shared.rotary[0].dim, spec("seed_oss", json!({ "head_dim": null })).rotary[0].dim), (12, 128));
    // the first Gemma says "gelu" and means the approximation; by its other name it is exact
    let activation = |name: &str| {
        let spec = spec("gemma", json!({ "hidden_act": name }));
        let branches = spec.blocks[0].stages.iter().flat_map(|stage| &stage.branches);
        let gate = branches.flat_map(|branch| branch.program.instructions()).find_map(|one| match one.operation {
            Operation::Gated(kind) => Some(kind),
            _ => None,
        });
        gate.expect("a gate")
    };
    assert_eq!([activation("gelu"), activation("gelu_python")], [Activation::GeluTanh, Activation::Gelu]);
    // of one kind of attention, the ends of YaRN's ramp are rounded and the length beside it is not read
    let yarn = json!({ "rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "truncate": false });
    let changes = json!({ "rope_parameters": { "full_attention": yarn }, "original_max_position_embeddings": 16 });
    let read = &spec("olmo3", changes).rotary[0].scaling;
    assert!(matches!(read, RotaryScaling::Yarn { truncate: true, original_positions: 64, .. }), "{read:?}");
}

#[test]
fn text_parts_are_read_as_the_classes_around_them_read_them() {
    let text = json!({ "model_type": "mistral", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 97,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": null });
    let mut config = json!({ "model_type": "mistral3", "text_config": text });
    let read = |config: &Value| describe(Path::new("config.json"), config).expect("supported");
    assert_eq!(windows(&read(&config)), [None; 2], "null is no window");
    config["text_config"]["sliding_window"] = 8.into();
    config["text_config"]["layer_types"] = json!(["full_attention", "full_attention"]);
    assert_eq!(windows(&read(&config)), [Some(8); 2]);
    let spec = changed(
        "gemma3",
        &json!({ "text_config": {
        "hidden_size": 48, "head_dim": 12, "final_logit_softcapping": 3.0, "num_hidden_layers": 2, "rope_scaling": { "type": "linear" },
    } }),
    );
    let spec = spec.expect("supported");
    assert_eq!((spec.vocabulary, spec.head.soft_cap, spec.blocks.len()), (262_208, None, 2));
    // only `rope_type` changes what is there without `rope_parameters`
    assert_eq!(spec.rotary[0].scaling, RotaryScaling::Default);
    let window = json!({ "use_sliding_window": true, "sliding_window": 8, "max_window_layers": null });
    assert_eq!(windows(&changed("qwen2_vl", &window).expect("supported")), [None; 3], "80 by default");
    let inner = json!({ "text_config": { "hidden_size": 48, "intermediate_size": 76, "num_hidden_layers": 2, "vocab_size": 97,
        "num_attention_heads": 4, "use_sliding_window": true, "max_window_layers": 1 } });
    assert_eq!(windows(&changed("qwen3_vl", &inner).expect("supported")), [None; 2]);
}

#[test]
fn ministral_3_is_as_long_as_its_queries_keep_their_factor() {
    assert_eq!(changed("ministral3", &json!({})).expect("supported").max_positions, 32);
    assert!(refused("ministral3", &json!({ "rope_parameters": null })).contains("yarn"));
}

#[test]
fn forms_that_no_golden_has_are_refused_by_name() {
    for (family, changes, expected) in [
        ("falcon", json!({ "alibi": true }), "alibi"),
        ("falcon", json!({ "new_decoder_architecture": true, "parallel_attn": false }), "new_decoder_architecture"),
        ("stablelm", json!({ "qk_layernorm": true }), "qk_layernorm"),
        ("cohere", json!({ "use_qk_norm": true }), "use_qk_norm"),
        ("gpt_bigcode", json!({ "add_cross_attention": true }), "add_cross_attention"),
    ] {
        let error = refused(family, &changes);
        assert!(error.contains(expected), "{family}: {error}");
    }
}

#[test]
fn heads_of_qwen3_are_128_wide_unless_it_says_otherwise() {
    let spec = changed("qwen3", &json!({ "head_dim": null })).expect("supported");
    let [query, key] = [0, 1].map(|linear| spec.blocks[0].linears[linear].shape);
    assert_eq!((query, key, spec.rotary[0].dim), ([4 * 128, 40], [2 * 128, 40], 128));
    let spec = changed("qwen3", &json!({})).expect("supported");
    assert_eq!((spec.blocks[0].linears[0].shape, spec.rotary[0].dim), ([4 * 12, 40], 12));
    // a llama shares the width out
    let spec = changed("llama", &json!({ "head_dim": null })).expect("supported");
    assert_eq!(spec.blocks[0].linears[0].shape, [32, 32]);
}

#[test]
fn late_blocks_of_qwen3_slide_where_they_are_asked_to() {
    let window = json!({ "use_sliding_window": true, "sliding_window": 8, "max_window_layers": 1 });
    assert_eq!(windows(&changed("qwen3", &window).expect("supported")), [None, Some(8), Some(8)]);
    let window = json!({ "use_sliding_window": false, "sliding_window": 8, "max_window_layers": 1 });
    assert_eq!(windows(&changed("qwen3", &window).expect("supported")), [None; 3]);
    // without `max_window_layers` from the 28th on
    let window = json!({ "use_sliding_window": true, "sliding_window": 8, "max_window_layers": null });
    assert_eq!(windows(&changed("qwen3", &window).expect("supported")), [None; 3]);
    // kinds that are named decide, whatever `max_window_layers` says
    let kinds = ["sliding_attention", "full_attention", "sliding_attention"];
    let window = json!({ "use_sliding_window": true, "sliding_window": 8, "layer_types": kinds });
    assert_eq!(windows(&changed("qwen3", &window).expect("supported")), [Some(8), None, Some(8)]);
    let window = json!({ "use_sliding_window": true, "sliding_window": 8, "layer_types": kinds[..2] });
    assert!(refused("qwen3", &window).contains("block 2"));
}

#[test]
fn gpt_neox_reads_its_own_base_and_share() {
    let rotary = |changes: Value| changed("gpt_neox", &changes).expect("supported").rotary[0].clone();
    let plain = rotary(json!({}));
    assert_eq!((plain.theta, plain.dim), (500.0, 4));
    // transformers passes `rope_theta` by here, and `partial_rotary_factor`
    assert_eq!(rotary(json!({ "rope_theta": 7.0, "partial_rotary_factor": 1.0 })), plain);
    let missing = rotary(json!({ "rotary_emb_base": null, "rotary_pct": null, "rope_theta": 7.0 }));
    assert_eq!((missing.theta, missing.dim), (10_000.0, 4));
    let nested = rotary(json!({ "rope_parameters": { "rope_theta": 9.0, "partial_rotary_factor": 0.5 } }));
    assert_eq!((nested.theta, nested.dim), (9.0, 8));
}

#[test]
fn heads_divide_the_width_of_opt_and_gpt_neox() {
    for (family, width) in [("opt", "36"), ("gpt_neox", "48")] {
        let error = refused(family, &json!({ "num_attention_heads": 5 }));
        assert!(error.contains("5 attention heads") && error.contains(width), "{error}");
    }
}

#[test]
fn unknown_activations_are_refused_by_name() {
    for (family, key, known) in [
        ("llama", "hidden_act", "silu"),
        ("mistral", "hidden_act", "silu"),
        ("qwen2", "hidden_act", "silu"),
        ("qwen3", "hidden_act", "silu"),
        ("opt", "activation_function", "relu"),
        ("gpt_neox", "hidden_act", "gelu_new"),
    ] {
        let error = refused(family, &json!({ key: "mish" }));
        assert!(error.contains(key) && error.contains("mish") && error.contains(known), "{error}");
    }
}

#[test]
fn encoders_of_gemma_are_refused() {
    for (family, all) in
        [("gemma", json!(true)), ("gemma2", json!(true)), ("gemma3_text", json!(true)), ("gemma4_text", json!("all"))]
    {
        let error = refused(family, &json!({ "use_bidirectional_attention": all }));
        assert!(error.contains("use_bidirectional_attention"), "{family}: {error}");
    }
}

#[test]
fn blocks_slide_and_turn_where_their_families_say() {
    let no_list = json!({ "layer_types": null, "sliding_window": 8 });
    assert_eq!(windows(&changed("gemma2", &no_list).expect("supported")), [Some(8), None, Some(8)]);
    assert_eq!(windows(&changed("gemma3_text", &no_list).expect("supported")), [Some(8); 3]);
    // a missing window is the default, `null` is none
    assert_eq!(
        windows(&changed("gemma2", &json!({ "layer_types": null, "sliding_window": null })).expect("supported")),
        [Some(4096), None, Some(4096)]
    );
    let every = |pattern: usize| json!({ "layer_types": null, "sliding_window": 8, "sliding_window_pattern": pattern });
    for family in ["exaone4", "cohere2"] {
        let spec = changed(family, &every(2)).expect("supported");
        assert_eq!(windows(&spec), [Some(8), None, Some(8)], "{family}");
        assert_eq!(turned(&spec), [true, false, true], "{family}");
    }
    assert_eq!(windows(&changed("olmo3", &no_list).expect("supported")), [Some(8); 3]);
    assert_eq!(windows(&changed("ministral", &no_list).expect("supported")), [Some(8); 3]);
    let window = json!({ "use_sliding_window": true, "sliding_window": 8, "no_rope_layers": [1, 0, 1] });
    assert_eq!(windows(&changed("smollm3", &window).expect("supported")), [None, Some(8), None]);
    let window = json!({ "use_sliding_window": false, "sliding_window": 8, "no_rope_layers": [1, 0, 1] });
    assert_eq!(windows(&changed("smollm3", &window).expect("supported")), [None; 3]);
}

#[test]
fn roles_are_what_people_call_them() {
    let roles = |family: &str| -> Vec<&str> {
        let spec = changed(family, &json!({})).expect("supported");
        spec.blocks[0].linears.iter().map(|linear| linear.role).collect()
    };
    for family in ["llama", "mistral", "qwen2", "qwen3"] {
        assert_eq!(roles(family), ["query", "key", "value", "output", "gate", "up", "down"], "{family}");
    }
    assert_eq!(roles("opt"), ["query", "key", "value", "output", "up", "down"]);
    assert_eq!(roles("gpt_neox"), ["query_key_value", "output", "up", "down"]);
}

#[test]
fn rotary_tables_are_those_of_transformers() {
    let text = std::fs::read_to_string(fixtures().join("rotary.json")).expect("fixture");
    let golden: Value = serde_json::from_str(&text).expect("JSON");
    let positions: Vec<usize> = serde_json::from_value(golden["positions"].clone()).expect("positions");
    for (name, case) in golden.as_object().expect("cases").iter().filter(|(name, _)| *name != "positions") {
        let mut config = json!({"model_type": "llama", "vocab_size": 8, "hidden_size": 64, "num_hidden_layers": 1,
            "num_attention_heads": 1, "intermediate_size": 64});
        config.as_object_mut().expect("object").extend(case["config"].as_object().expect("config").clone());
        let spec = describe(Path::new("config.json"), &config).expect("supported");
        // the longest sequence decides the frequencies of dynamic scaling
        let length = case["sequence_length"].as_u64().map_or(32768, |length| length as usize);
        let table = spec.rotary[0].table(length);
        let values = |key: &str| serde_json::from_value::<Vec<Vec<f32>>>(case[key].clone()).expect("numbers");
        for (key, got) in [("cos", table.cos), ("sin", table.sin)] {
            let got: Vec<&[f32]> = got.host().chunks(got.width()).collect();
            for (&position, want) in positions.iter().zip(values(key)).filter(|(position, _)| **position < length) {
                // an angle of p radians is known to about p·6e-8
                let tolerance = 2e-6 + position as f32 * 1.5e-7;
                assert_eq!(got[position].len(), want.len(), "{name}");
                let worst = got[position].iter().zip(&want).map(|(g, w)| (g - w).abs()).fold(0.0, f32::max);
                assert!(worst < tolerance, "{name} {key} at {position}: off by {worst:.1e}");
            }
        }
    }
}

/// Goldens of transformers: `rope_scaling`, `rope_parameters` and keys beside them, in families that name them otherwise too.
#[test]
fn of_keys_that_say_the_same_thing_that_counts_which_counts_in_transformers() {
    let text = std::fs::read_to_string(fixtures().join("config_keys.json")).expect("fixture");
    let golden: Value = serde_json::from_str(&text).expect("JSON");
    for row in golden.as_object().expect("rows").values() {
        let family = row["family"].as_str().expect("a family");
        let mut config = json!({"model_type": family, "vocab_size": 16, "hidden_size": 32, "intermediate_size": 16,
            "num_hidden_layers": 1, "num_attention_heads": 4, "max_position_embeddings": 64, "pad_token_id": 0});
        config.as_object_mut().expect("object").extend(row["keys"].as_object().expect("keys").clone());
        let what = format!("{family} {}", row["keys"]);
        let spec = describe(Path::new("config.json"), &config).unwrap_or_else(|error| panic!("{what}: {error}"));
        let by_kind = row["frequencies"].as_object();
        let kinds: Vec<[&Value; 2]> = match by_kind {
            Some(kinds) => kinds.keys().map(|kind| ["frequencies", "scaling"].map(|key| &row[key][kind])).collect(),
            None => vec![["frequencies", "scaling"].map(|key| &row[key])],
        };
        let own: Vec<(Vec<f32>, f32)> = spec.rotary.iter().map(|rotary| rotary.frequencies(8)).collect();
        let alike = |(frequencies, scaling): &(Vec<f32>, f32), [expected, factor]: &[&Value; 2]| {
            let expected: Vec<f32> = serde_json::from_value((*expected).clone()).expect("numbers");
            let near = |one: f32, other: f32| (one - other).abs() <= 2e-6 * other.abs();
            expected.len() == frequencies.len()
                && frequencies.iter().zip(&expected).all(|(one, other)| near(*one, *other))
                && near(*scaling, factor.as_f64().expect("a factor") as f32)
        };
        assert!(own.iter().all(|own| kinds.iter().any(|kind| alike(own, kind))), "{what}: {own:?} {kinds:?}");
        assert!(kinds.iter().all(|kind| own.iter().any(|own| alike(own, kind))), "{what}: {own:?} {kinds:?}");
        let rows = |role: &str| {
            spec.linear_ids().map(|id| spec.linear(id)).find(|linear| linear.role == role).map(|linear| linear.shape[0])
        };
        let [head_dim, kv_heads] = ["head_dim", "kv_heads"].map(|key| row[key].as_u64().expect("a size") as usize);
        match rows("query_key_value") {
            Some(fused) => assert_eq!(fused, (4 + 2 * kv_heads) * head_dim, "{what}"),
            None => assert_eq!([rows("query"), rows("key")], [Some(4 * head_dim), Some(kv_heads * head_dim)], "{what}"),
        }
        assert_eq!(spec.head.tied, row["tied"].as_bool().expect("a flag"), "{what}");
    }
}
