//! Blocks that go: what is written is the model without them, for every family, and what comes before them is trained to stand in.

use lopper::autograd::Tape;
use lopper::model::{Context, Decoder, FAMILIES, LinearId, NoTap, Sequences, describe, shortened};
use lopper::plan::{Granularity, Inputs, Plan, RetrainingObjective, WindowTargets};
use lopper::progress::Silent;
use lopper::prune::redo_from;
use lopper::tensor::Tensor;
use lopper_kernels::Precision;
use serde_json::{Value, json};

use crate::tiny::Tiny;

/// Biases; norms after the sums; a fused gate; a transposed file; branches side by side; kinds of blocks by their places; a text part.
const KINDS: [&str; 9] = ["llama", "opt", "phi3", "gpt2", "gpt_neox", "gemma3", "cohere2", "smollm3", "gemma2"];

/// Blocks go, and nothing is repaired.
fn plan(tiny: &Tiny, drop: &[usize]) -> Plan {
    let mut plan = tiny.plan();
    plan.pruning.compensation = "none".into();
    plan.shrink.drop = drop.to_vec();
    plan
}

/// States after some blocks of a model.
fn states(decoder: &Decoder, blocks: &[usize]) -> Tensor {
    let ids: Vec<u32> = (0..17).map(|place| (place * 37 + 5) % decoder.spec().vocabulary as u32).collect();
    let (sequences, rotary) = (Sequences::new([ids.len()]), decoder.rotary(ids.len()));
    let mut x = decoder.embed(&ids, &sequences.positions()).expect("ids");
    for &index in blocks {
        let context = Context { sequences: &sequences, rotary: &rotary };
        let block = decoder.load_block(index).expect("block");
        let y = block.forward(&mut Tape::new(Precision::F32), &x.into(), context, &mut NoTap);
        x = y.expect("forward").tensor().clone();
    }
    x
}

fn logits(decoder: &Decoder, blocks: &[usize]) -> Tensor {
    decoder.head().expect("head").logits(&states(decoder, blocks)).expect("logits")
}

#[test]
fn what_is_written_is_the_model_without_those_blocks() {
    for folder in FAMILIES.iter().map(|family| family.name).chain(KINDS) {
        let tiny = Tiny::new(folder);
        let all = tiny.spec.blocks.len();
        for drop in [vec![1], vec![0], vec![all - 1, 1]] {
            let out = format!("out{drop:?}");
            let report = tiny.try_prune(&plan(&tiny, &drop), &out);
            let report = report.unwrap_or_else(|error| panic!("{folder} {drop:?}: {error}"));
            tiny.check_foreseen(&plan(&tiny, &drop), &report, &out);
            let stay: Vec<usize> = (0..all).filter(|block| !drop.contains(block)).collect();
            let (dense, small) = (tiny.open("model"), tiny.open(&out));
            assert_eq!(small.spec().blocks.len(), stay.len(), "{folder}");
            let every: Vec<usize> = (0..stay.len()).collect();
            assert!(logits(&small, &every).host() == logits(&dense, &stay).host(), "{folder} {drop:?}");
            let shrunk = report.shrunk.expect("it is smaller");
            assert_eq!((shrunk.depth, shrunk.width), (Some([all, stay.len()]), None), "{folder}");
            assert_eq!(shrunk.parameters[1], small.checkpoint().total_elements(), "{folder}");
            // every tensor is one of the input, under its new name
            for (name, shape) in small.spec().tensors() {
                assert_eq!(small.checkpoint().info(&name).expect("there").shape, shape, "{folder} {name}");
            }
            let names = dense.checkpoint().names().count();
            let gone: usize = drop.iter().map(|&block| tiny.spec.blocks[block].tensors.len()).sum();
            assert_eq!(small.checkpoint().names().count(), names - gone, "{folder}");
        }
    }
}

#[test]
fn what_comes_before_is_repaired_and_retrained_and_goes_on_where_it_was_interrupted() {
    for (place, folder) in KINDS.into_iter().enumerate() {
        let tiny = Tiny::new(folder);
        let mut plan = plan(&tiny, &[1]);
        // with zeros, with neurons, and by itself
        match place % 3 {
            0 => plan.pruning.sparsity = Some(0.5),
            1 => (plan.shrink.width, plan.shrink.multiple) = (Some(0.6), Some(1)),
            _ => {}
        }
        plan.pruning.compensation = "joint".into();
        plan.reconstruction.granularity = Granularity::Submodule;
        plan.retraining.objective = RetrainingObjective::Kl;
        plan.evaluation.ladder = true;
        let whole = tiny.try_prune(&plan, "whole").unwrap_or_else(|error| panic!("{folder}: {error}"));
        assert_eq!(whole.plan.shrink.drop, [1], "{folder}");
        let trained: Vec<&str> = whole.windows.iter().map(|facts| facts.window.as_str()).collect();
        assert!(trained.iter().any(|name| name.starts_with("block 0")), "{folder}: {trained:?}");
        assert!(!trained.iter().any(|name| name.starts_with("block 1")), "{folder}: {trained:?}");
        let stands_in = whole.matrices.iter().filter(|facts| facts.missed.is_some_and(|share| share <= 1.0)).count();
        let adds = tiny.spec.blocks[0].branch_ids(0).last().and_then(|branch| tiny.spec.blocks[0].adds(branch));
        assert_eq!(stands_in, usize::from(adds.is_some()), "{folder}");
        for facts in &whole.windows {
            let [before, after] = [facts.outcome.held_out_before, facts.outcome.held_out_after];
            assert!(after <= before, "{folder}: {facts:?}");
        }
        // the model is retrained as a whole, blocks of which nothing goes too
        let query = |model: &str, block| tiny.open(model).load_weight(LinearId { block, index: 0 }).expect("weight");
        let moved = whole.windows.last().is_some_and(|facts| facts.window == "model" && facts.outcome.share > 0.0);
        assert!(!moved || query("whole", 1).host() != query("model", 2).host(), "{folder}");
        let stops = tiny.prune_interrupted(&plan, "out");
        assert!(stops >= 3, "{folder}: {stops}");
        assert!(tiny.weights("whole") == tiny.weights("out"), "{folder}: other bytes after {stops} stops");
    }
}

/// What is before a gap trains to give the state after it, what is behind it to give what the dense model gives on its own states.
#[test]
fn every_window_and_every_kind_of_inputs_and_targets_runs() {
    let granularities = [
        Granularity::None,
        Granularity::Matrix,
        Granularity::Submodule,
        Granularity::Block,
        Granularity::Blocks(2),
        Granularity::Model,
    ];
    for folder in ["llama", "gpt_neox"] {
        let tiny = Tiny::new(folder);
        for granularity in granularities {
            for (inputs, targets) in [
                (Inputs::Pruned, WindowTargets::Dense),
                (Inputs::Pruned, WindowTargets::Local),
                (Inputs::Dense, WindowTargets::Dense),
            ] {
                for drop in [[0].as_slice(), &[1], &[2], &[1, 2]] {
                    let mut plan = plan(&tiny, drop);
                    plan.reconstruction.granularity = granularity;
                    (plan.calibration.inputs, plan.reconstruction.targets) = (inputs, targets);
                    plan.pruning.compensation = "joint".into();
                    let what = format!("{folder} {granularity} {inputs:?} {targets:?} {drop:?}");
                    let report = tiny.try_prune(&plan, &what).unwrap_or_else(|error| panic!("{what}: {error}"));
                    // matrices that train one by one give their own outputs, not those of blocks that are gone
                    let before = granularity != Granularity::Matrix && drop != [0];
                    let behind = (inputs, targets) == (Inputs::Pruned, WindowTargets::Dense) && !drop.contains(&2);
                    let trains = granularity != Granularity::None && (before || behind);
                    assert_eq!(!report.windows.is_empty(), trains, "{what}");
                }
            }
        }
    }
}

#[test]
fn a_matrix_that_a_rule_leaves_dense_does_not_stand_in() {
    let tiny = Tiny::new("llama");
    let mut plan = plan(&tiny, &[1]);
    (plan.pruning.compensation, plan.reconstruction.granularity) = ("joint".into(), Granularity::Submodule);
    (plan.pruning.sparsity, plan.pruning.rules) = (Some(0.5), vec!["down_proj=dense".parse().expect("a rule")]);
    let report = tiny.try_prune(&plan, "out").expect("a run");
    assert!(report.matrices.iter().all(|facts| facts.missed.is_none()));
    let down = |model: &str| {
        let decoder = tiny.open(model);
        let name = decoder.spec().linear_ids().map(|id| decoder.spec().weight_name(id));
        let name = name.into_iter().find(|name| name.ends_with("0.mlp.down_proj.weight")).expect("a name");
        decoder.checkpoint().tensor_f32(&name).expect("a weight")
    };
    assert!(down("out").host() == down("model").host());
}

#[test]
fn the_blocks_that_turn_states_least_are_chosen() {
    let tiny = Tiny::new("llama");
    let dense = tiny.open("model");
    let mut plan = plan(&tiny, &[]);
    plan.shrink.depth = Some(2);
    let report = tiny.try_prune(&plan, "out").expect("a run");
    // of another text than the run has seen, but of the same kind
    let influence = |block: usize| {
        let before: Vec<usize> = (0..block).collect();
        let [x, y] = [states(&dense, &before), states(&dense, &[&before[..], &[block]].concat())];
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
        let cosines = x.host().chunks(x.width()).zip(y.host().chunks(x.width()));
        1.0 - cosines.map(|(x, y)| dot(x, y) / (dot(x, x) * dot(y, y)).sqrt()).sum::<f64>() / 17.0
    };
    let expected = if influence(1) < influence(2) { 1 } else { 2 };
    assert_eq!(report.plan.shrink.drop, [expected], "{} {}", influence(1), influence(2));
    assert_eq!(report.plan.shrink.depth, None, "the plan of the report names what went");
    let again = tiny.try_prune(&report.plan, "again").expect("a run");
    assert_eq!((again.plan.shrink.drop, tiny.weights("again")), (vec![expected], tiny.weights("out")));
}

/// Each block of this one scales its attention by its own number: only the last can go.
#[test]
fn only_blocks_are_chosen_without_which_a_config_describes_the_others() {
    let tiny = Tiny::new("gpt2/by_depth");
    let mut plan = plan(&tiny, &[]);
    plan.shrink.depth = Some(2);
    plan.validate(&tiny.spec).expect("valid for the whole model");
    assert_eq!(tiny.try_prune(&plan, "out").expect("a run").plan.shrink.drop, [2]);
    let error = tiny.try_prune(&self::plan(&tiny, &[1]), "other").expect_err("block 2 would be block 1").to_string();
    assert!(error.contains("follows from its place") && !tiny.path("other").exists(), "{error}");
}

#[test]
fn a_config_says_what_each_block_is_where_that_followed_from_its_place() {
    let path = "config.json".as_ref();
    let base = json!({"vocab_size": 64, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "num_hidden_layers": 6,
        "num_key_value_heads": 2, "head_dim": 8});
    let with = |keys: Value| {
        let mut config = base.clone();
        config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        config
    };
    let (full, sliding) = ("full_attention", "sliding_attention");
    let cases = [
        (with(json!({"model_type": "llama"})), vec![2, 3], json!({})),
        (with(json!({"model_type": "smollm3"})), vec![1], json!({"no_rope_layers": [1, 1, 0, 1, 1]})),
        (
            with(json!({"model_type": "smollm3", "no_rope_layers": [1, 0, 0, 1, 1, 0]})),
            vec![1, 3],
            json!({"no_rope_layers": [1, 0, 1, 0]}),
        ),
        (
            with(json!({"model_type": "gemma2", "sliding_window": 8})),
            vec![1],
            json!({"layer_types": [sliding, sliding, full, sliding, full]}),
        ),
        (
            with(
                json!({"model_type": "qwen2", "use_sliding_window": true, "sliding_window": 8, "max_window_layers": 2}),
            ),
            vec![0, 5],
            json!({"layer_types": [full, sliding, sliding, sliding]}),
        ),
        (
            with(json!({"model_type": "qwen3_moe", "mlp_only_layers": [0, 4]})),
            vec![1, 4],
            json!({"mlp_only_layers": [0]}),
        ),
        // blocks 1, 3 and 5 have experts
        (
            with(json!({"model_type": "qwen2_moe", "decoder_sparse_step": 2})),
            vec![0],
            json!({"decoder_sparse_step": 1, "mlp_only_layers": [1, 3]}),
        ),
        (
            with(json!({"model_type": "qwen2_moe", "decoder_sparse_step": 2})),
            vec![1, 3, 5],
            json!({"decoder_sparse_step": 1, "mlp_only_layers": [0, 1, 2]}),
        ),
        (
            with(json!({"model_type": "glm4_moe", "first_k_dense_replace": 2, "n_routed_experts": 4,
                "num_experts_per_tok": 2, "moe_intermediate_size": 8})),
            vec![0, 3],
            json!({"first_k_dense_replace": 1}),
        ),
        (
            with(json!({"model_type": "exaone_moe", "n_routed_experts": 4, "num_experts_per_tok": 2,
                "moe_intermediate_size": 8, "first_k_dense_replace": 1, "layer_types": [full, full, full, full, full, full],
                "is_moe_layer": [false, true, true, true, true, true]})),
            vec![0, 3],
            json!({"first_k_dense_replace": 0, "layer_types": [full, full, full, full],
                "is_moe_layer": [true, true, true, true]}),
        ),
        (
            with(json!({"model_type": "gemma4_text", "hidden_size_per_layer_input": 0,
                "layer_types": [sliding, full, sliding, sliding, full, full],
                "per_layer_config": {"01": {"head_dim": 12}, "04": {"head_dim": 12}, "05": {"head_dim": 12}}})),
            vec![2, 4],
            json!({"layer_types": [sliding, full, sliding, full],
                "per_layer_config": {"1": {"head_dim": 12}, "3": {"head_dim": 12}}}),
        ),
    ];
    for (config, gone, expected) in cases {
        let shorter = shortened(path, &config, &gone).unwrap();
        assert_eq!(shorter["num_hidden_layers"], 6 - gone.len());
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&shorter[key], value, "{config}");
        }
        let others: Vec<&String> = shorter.as_object().unwrap().keys().collect();
        let known = |key: &&&String| config.get(key.as_str()).is_some() || expected.get(key.as_str()).is_some();
        assert_eq!(others.iter().filter(known).count(), others.len(), "no other key: {shorter}");
        let [whole, small] = [&config, &shorter].map(|config| describe(path, config).unwrap());
        assert_eq!(small.blocks, whole.without(&gone).blocks, "{shorter}");
    }
    // each block scales its attention by its own number
    let gpt2 = json!({"model_type": "gpt2", "vocab_size": 64, "n_embd": 16, "n_head": 2, "n_layer": 3, "n_positions": 32,
        "scale_attn_by_inverse_layer_idx": true});
    let error = shortened(path, &gpt2, &[1]).unwrap_err().to_string();
    assert!(error.contains("[1]") && error.contains("gpt2") && error.contains("follows from its place"), "{error}");
    assert_eq!(shortened(path, &gpt2, &[2]).unwrap()["n_layer"], 2);
}

/// A change of a plan, and what is wrong with it.
type Refusal<'a> = (&'a dyn Fn(&mut Plan), &'a str);

#[test]
fn what_cannot_be_is_refused() {
    let tiny = Tiny::new("llama");
    let cases: [Refusal; 8] = [
        (&|plan| plan.shrink.drop = vec![3], "there is no block 3 to go: the model has 3 blocks, 0 to 2"),
        (&|plan| plan.shrink.drop = vec![0, 1, 2, 2], "no block would stay"),
        (
            &|plan| plan.shrink.depth = Some(3),
            "shrink.depth is 3, and the model has 3 blocks, 0 to 2: nothing would go",
        ),
        (&|plan| plan.shrink.depth = Some(4), "shrink.depth is 4: the model has 3 blocks"),
        (&|plan| plan.shrink.depth = Some(1), "shrink.depth is below 2"),
        (&|plan| (plan.shrink.depth, plan.shrink.drop) = (Some(2), vec![1]), "a depth and a list of blocks"),
        (
            &|plan| {
                (plan.shrink.drop, plan.shrink.width, plan.pruning.sparsity) = (vec![1], Some(0.5), Some(0.5));
            },
            "a width and a sparsity",
        ),
        (&|plan| (plan.shrink.drop, plan.pruning.rules) = (vec![1], vec!["layers.1=0.5".parse().unwrap()]), "layers.1"),
    ];
    for (change, problem) in cases {
        let mut plan = plan(&tiny, &[]);
        change(&mut plan);
        let error = tiny.try_prune(&plan, "out").expect_err(problem);
        assert!(error.to_string().contains(problem), "{error}");
        assert!(!tiny.path("out").exists());
    }
}

/// What is done again with other blocks gone is another run.
#[test]
fn blocks_are_not_done_again_without_others() {
    let tiny = Tiny::new("llama");
    let (model, out) = (tiny.open("model"), tiny.path("out"));
    let mut plan = plan(&tiny, &[2]);
    plan.pruning.sparsity = Some(0.5);
    tiny.prune_one_block(&plan, "out");
    plan.shrink.drop = vec![1];
    let error = redo_from(1, &plan, &model, &out, &mut Silent).expect_err("another run").to_string();
    assert!(error.contains("another run"), "{error}");
    plan.shrink.drop = vec![2];
    redo_from(1, &plan, &model, &out, &mut Silent).expect("the same blocks");
}
