//! Feed-forward layers and attention that become narrower: what is written is the model with those neurons or heads switched off, for
//! every family.

use lopper::autograd::Tape;
use lopper::method::Order;
use lopper::method::criterion::CRITERIA;
use lopper::model::{Block, Context, Decoder, FAMILIES, NoTap, Sequences, UnitKind, describe, narrowed};
use lopper::plan::{Granularity, Plan, Ratios, RetrainingObjective, ShrinkPlan};
use lopper::report::Report;
use lopper::sparsity::Extent;
use lopper::tensor::Tensor;
use lopper_kernels::Precision;

use crate::golden::assert_close;
use crate::tiny::Tiny;

/// Families whose feed-forward layers stay, and why: config.json has no key for their width, or they are experts.
const NEURONS_STAY: [(&[&str], &str); 3] = [
    (&["mamba", "mamba2", "falcon_mamba", "nemotron_h"], "0 feed-forward layers"),
    (&["bloom"], "so many neurons"),
    (
        &[
            "mixtral",
            "qwen2_moe",
            "qwen3_moe",
            "olmoe",
            "glm4_moe",
            "dots1",
            "granitemoe",
            "granitemoeshared",
            "deepseek_v2",
            "deepseek_v3",
            "glm4_moe_lite",
            "granitemoehybrid",
            "jamba",
            "lfm2_moe",
            "minimax_m2",
            "solar_open",
            "exaone_moe",
            "hunyuan_v1_moe",
            "qwen3_vl_moe",
            "qwen3_next",
            "qwen3_5_moe_text",
            "qwen3_5_moe",
            "gpt_oss",
            "gemma4",
        ],
        "has experts",
    ),
];

/// Families whose heads stay, and why: their readers know no other number, their tiny checkpoint has one head of keys and values, a norm
/// takes all heads together, heads have biases by their place, or blocks have unlike numbers of them.
const HEADS_STAY: [(&[&str], &str); 6] = [
    (
        &[
            "mamba",
            "mamba2",
            "falcon_mamba",
            "nemotron_h",
            "granitemoehybrid",
            "bamba",
            "jamba",
            "lfm2",
            "lfm2_moe",
            "qwen3_next",
            "qwen3_5_text",
            "qwen3_5",
            "qwen3_5_moe_text",
            "qwen3_5_moe",
        ],
        "0 attention layers",
    ),
    (
        &["opt", "gpt_neox", "gpt2", "gptj", "stablelm", "helium", "qwen2_vl", "qwen2_5_vl", "falcon/grouped"],
        "so many key/value heads",
    ),
    (&["phi3", "ernie4_5", "falcon", "gpt_bigcode"], "has 1 key/value heads"),
    (
        &["olmo2", "olmo3", "olmoe", "deepseek_v2", "deepseek_v3", "glm4_moe_lite", "minimax_m2"],
        "whose key/value heads can be told apart",
    ),
    (&["bloom"], "whose key/value heads can be told apart"),
    (&["gemma4_text"], "differ in width"),
];

/// Biases; norms after the sums; a fused gate; a transposed file; branches side by side; layers of a text part.
const KINDS: [&str; 7] = ["llama", "opt", "phi3", "gpt2", "gpt_neox", "gemma3", "qwen3/biased"];

/// Of the neurons three in five are kept, and nothing else is done.
fn plan(tiny: &Tiny) -> Plan {
    let mut plan = tiny.plan();
    (plan.shrink.width, plan.shrink.multiple) = (Some(0.6), Some(1));
    plan.pruning.compensation = "none".into();
    plan
}

fn logits(decoder: &Decoder, change: impl Fn(usize, &mut Block)) -> Tensor {
    let ids: Vec<u32> = (0..17).map(|place| (place * 37 + 5) % decoder.spec().vocabulary as u32).collect();
    let (sequences, rotary) = (Sequences::new([ids.len()]), decoder.rotary(ids.len()));
    let mut x = decoder.embed(&ids, &sequences.positions()).expect("ids");
    for index in 0..decoder.spec().blocks.len() {
        let mut block = decoder.load_block(index).expect("block");
        change(index, &mut block);
        let context = Context { sequences: &sequences, rotary: &rotary };
        let y = block.forward(&mut Tape::new(Precision::F32), &x.into(), context, &mut NoTap);
        x = y.expect("forward").tensor().clone();
    }
    decoder.head().expect("head").logits(&x).expect("logits")
}

/// Columns of a matrix.
fn columns(weight: &Tensor) -> Vec<Vec<f32>> {
    let width = weight.width();
    (0..width).map(|column| weight.host().iter().skip(column).step_by(width).copied().collect()).collect()
}

/// Compares a model with fewer units with the one in which those are switched off.
fn check_written(tiny: &Tiny, plan: &Plan, report: &Report, (kind, keep): (UnitKind, usize)) {
    let folder = tiny.spec.family;
    let (dense, small) = (tiny.open("model"), tiny.open("out"));
    tiny.check_foreseen(plan, report, "out");
    let [before, after] = [&dense, &small].map(|model| model.spec().units(kind).expect("units"));
    let of = before[0].1.count;
    assert_eq!(after[0].1.count, keep, "{folder}");
    let switched = logits(&dense, |index, block| {
        let reader = block.spec.linears[before[index].1.reader].weight;
        let left = columns(&small.load_block(index).expect("block").tensors[reader]);
        let mut left = left.iter().peekable();
        let weight = &block.tensors[reader];
        let gone: Vec<bool> =
            columns(weight).iter().map(|column| left.next_if(|kept| *kept == column).is_none()).collect();
        assert_eq!(gone.iter().filter(|&&gone| gone).count(), weight.width() / of * (of - keep), "{folder} {index}");
        block.tensors[reader].host_mut().chunks_exact_mut(gone.len()).for_each(|row| {
            row.iter_mut().zip(&gone).filter(|(_, gone)| **gone).for_each(|(w, _)| *w = 0.0);
        });
    });
    assert_close(&logits(&small, |_, _| ()), &switched, 1e-5, folder);
}

#[test]
fn what_is_written_is_the_model_with_neurons_switched_off() {
    for folder in FAMILIES.iter().map(|family| family.name).chain(KINDS) {
        let tiny = Tiny::new(folder);
        let report = tiny.try_prune(&plan(&tiny), "out");
        if let Some((_, why)) = NEURONS_STAY.iter().find(|(families, _)| families.contains(&folder)) {
            let error = report.expect_err(why).to_string();
            assert!(error.contains(why), "{folder}: {error} instead of {why}");
            continue;
        }
        let report = report.unwrap_or_else(|error| panic!("{folder}: {error}"));
        let of = tiny.spec.units(UnitKind::Neuron).expect("neurons")[0].1.count;
        let keep = (of as f64 * 0.6).round() as usize;
        assert_eq!(report.shrunk.as_ref().expect("it is smaller").width, Some([of, keep]), "{folder}");
        check_written(&tiny, &plan(&tiny), &report, (UnitKind::Neuron, keep));
    }
}

#[test]
fn layers_that_predict_further_ahead_stay_where_blocks_keep_their_width() {
    let tiny = Tiny::new("qwen3_5");
    let mut zeros = tiny.plan();
    zeros.shrink.depth = Some(2);
    zeros.pruning.sparsity = None;
    for (plan, stays) in [(tiny.plan(), true), (zeros, true), (plan(&tiny), false)] {
        let out = format!("{:?}", plan.shrink);
        let report = tiny.try_prune(&plan, &out).unwrap_or_else(|error| panic!("{out}: {error}"));
        let small = tiny.open(&out);
        assert_eq!(small.checkpoint().names().any(|name| name.starts_with("mtp.")), stays, "{out}");
        let config = small.checkpoint().config_json().expect("config.json");
        assert_eq!(config["text_config"]["mtp_num_hidden_layers"], usize::from(stays), "{out}");
        let warned = report.warnings.iter().any(|warning| warning.contains("further ahead (mtp."));
        assert_eq!(warned, !stays, "{out}: {:?}", report.warnings);
    }
}

#[test]
fn what_is_written_is_the_model_with_heads_switched_off() {
    for folder in FAMILIES.iter().map(|family| family.name).chain(KINDS).chain(["falcon/grouped"]) {
        let tiny = Tiny::new(folder);
        let of = tiny.spec.units(UnitKind::KvHead).map_or(9, |units| units[0].1.count);
        let mut plan = plan(&tiny);
        plan.shrink = ShrinkPlan { kv_heads: Some(of - 1), ..ShrinkPlan::default() };
        let report = tiny.try_prune(&plan, "out");
        if let Some((_, why)) = HEADS_STAY.iter().find(|(families, _)| families.contains(&folder)) {
            let error = report.expect_err(why).to_string();
            assert!(error.contains(why), "{folder}: {error} instead of {why}");
            continue;
        }
        let report = report.unwrap_or_else(|error| panic!("{folder}: {error}"));
        assert_eq!(report.shrunk.as_ref().expect("it is smaller").kv_heads, Some([of, of - 1]), "{folder}");
        check_written(&tiny, &plan, &report, (UnitKind::KvHead, of - 1));
    }
}

#[test]
fn a_narrower_model_is_repaired_and_retrained_and_goes_on_where_it_was_interrupted() {
    for folder in KINDS {
        let tiny = Tiny::new(folder);
        let mut plan = plan(&tiny);
        plan.pruning.compensation = "joint".into();
        plan.reconstruction.granularity = Granularity::Submodule;
        plan.reconstruction.parameters = "full".parse().expect("known");
        plan.retraining.objective = RetrainingObjective::Kl;
        let whole = tiny.try_prune(&plan, "whole").unwrap_or_else(|error| panic!("{folder}: {error}"));
        let pruned = whole.matrices.iter().filter(|facts| facts.sparsity > 0.0).count();
        assert!(pruned >= 2 * tiny.spec.blocks.len() && pruned < whole.matrices.len(), "{folder}");
        for facts in &whole.matrices {
            let [masked, repaired] = [facts.solution.error_pruned, facts.solution.error_compensated];
            assert!(repaired.is_none() || repaired <= masked, "{folder}: {facts:?}");
        }
        // attention is left as it is: one window a block, and the model
        assert_eq!(whole.windows.len(), tiny.spec.blocks.len() + 1, "{folder}");
        let stops = tiny.prune_interrupted(&plan, "out");
        assert_eq!(stops, 4, "{folder}");
        assert!(tiny.weights("whole") == tiny.weights("out"), "{folder}: other bytes after {stops} stops");
    }
}

/// Heads by themselves, and neurons with them.
#[test]
fn attention_is_repaired_and_retrained_and_goes_on_where_it_was_interrupted() {
    for (folder, width) in [("llama", None), ("gemma3", Some(0.6)), ("qwen3/biased", Some(0.6)), ("cohere", None)] {
        let tiny = Tiny::new(folder);
        let mut plan = tiny.plan();
        plan.shrink = ShrinkPlan { width, kv_heads: Some(1), ..ShrinkPlan::default() };
        plan.reconstruction.granularity = Granularity::Submodule;
        plan.retraining.objective = RetrainingObjective::Kl;
        let whole = tiny.try_prune(&plan, "whole").unwrap_or_else(|error| panic!("{folder}: {error}"));
        for facts in &whole.matrices {
            let (attends, made) =
                (["query", "key", "value", "output"].contains(&facts.role.as_str()), facts.sparsity > 0.0);
            assert_eq!(made, attends || width.is_some(), "{folder}: {facts:?}");
            let [masked, repaired] = [facts.solution.error_pruned, facts.solution.error_compensated];
            assert!(repaired.is_none() || repaired <= masked, "{folder}: {facts:?}");
            assert_eq!(
                repaired.is_some(),
                facts.role == "output" || width.is_some() && facts.role == "down",
                "{folder}: {facts:?}"
            );
        }
        let windows = tiny.spec.blocks.len() * if width.is_some() { 2 } else { 1 };
        assert_eq!(whole.windows.len(), windows + 1, "{folder}");
        assert_eq!(tiny.prune_interrupted(&plan, "out"), 4, "{folder}");
        assert!(tiny.weights("whole") == tiny.weights("out"), "{folder}: other bytes");
    }
}

#[test]
fn heads_of_a_fused_matrix_go_with_their_rows() {
    let config = serde_json::json!({"model_type": "phi3", "vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 32});
    let spec = describe("config.json".as_ref(), &config).expect("a model");
    let (_, units) = &spec.units(UnitKind::KvHead).expect("heads")[0];
    let rows = units.outputs_kept(0, 32, &[false, true]).expect("they are made there");
    let stay: Vec<usize> = (0..32).filter(|&row| rows[row]).collect();
    let [queries, keys, values] = [8..16, 20..24, 28..32];
    assert_eq!(stay, queries.chain(keys).chain(values).collect::<Vec<_>>());
}

#[test]
fn heads_that_transformers_would_not_load_are_refused() {
    let config = |family: &str| {
        serde_json::json!({"model_type": family, "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 4, "intermediate_size": 32})
    };
    let narrow = |family: &str, keep| narrowed("config.json".as_ref(), &config(family), UnitKind::KvHead, keep);
    let error = narrow("llama", 3).expect_err("six heads do not divide 32");
    assert!(error.to_string().contains("6 query heads do not divide the hidden size 32"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.ends_with("keep one of these numbers: 1, 2")), "{error:?}");
    assert_eq!(narrow("llama", 2).expect("four heads")["num_attention_heads"], 4);
    assert_eq!(narrow("qwen3", 3).expect("six heads")["num_attention_heads"], 6);
    assert_eq!(narrow("mistral", 3).expect("six heads")["num_key_value_heads"], 3);
}

#[test]
fn every_criterion_that_has_scores_chooses_units() {
    let tiny = Tiny::new("llama");
    for criterion in CRITERIA {
        let mut plan = plan(&tiny);
        plan.shrink.kv_heads = Some(1);
        plan.pruning.criterion = Some(criterion.name.into());
        let report = tiny.try_prune(&plan, criterion.name);
        if ["sparsegpt", "mrp"].contains(&criterion.name) {
            assert!(report.expect_err("it chooses weights").to_string().contains("not whole neurons"));
        } else {
            assert!(report.expect("a run").shrunk.is_some(), "{}", criterion.name);
        }
    }
}

#[test]
fn a_ratio_is_of_the_weights_of_the_blocks() {
    let tiny = Tiny::new("llama");
    let mut plan = plan(&tiny);
    (plan.shrink.width, plan.shrink.ratio) = (None, Some(0.3));
    tiny.try_prune(&plan, "out").expect("a run");
    let weights = |name: &str| tiny.open(name).spec().blocks.iter().map(|block| block.weights()).sum::<usize>() as f64;
    let left = weights("out") / weights("model");
    assert!((left - 0.7).abs() < 0.01, "{left}");
}

#[test]
fn the_width_kept_is_a_multiple_near_to_what_is_asked_for() {
    let json = |width: usize| {
        serde_json::json!({"model_type": "llama", "vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2,
            "num_attention_heads": 2, "intermediate_size": width})
    };
    let keeps = |of: usize, share: f64, multiple: Option<usize>| {
        let spec = describe("config.json".as_ref(), &json(of)).expect("a model");
        let mut plan = Plan::default();
        (plan.shrink.width, plan.shrink.multiple) = (Some(share), multiple);
        let keep = plan.narrowings(&spec).expect("a width")[0].keep;
        // the plan that is written with the result asks for the same
        let again = plan.resolved(&spec).expect("resolved");
        assert_eq!(again.narrowings(&spec).expect("a width")[0].keep, keep, "{again:?}");
        keep
    };
    assert_eq!(keeps(1536, 0.75, None), 1152, "a multiple of 128: of 256 it would be 1280");
    assert_eq!(keeps(14336, 0.75, None), 10752, "a multiple of 256");
    assert_eq!(keeps(4864, 0.5, None), 2432, "a multiple of 128");
    assert_eq!(keeps(1536, 0.75, Some(256)), 1280);
    assert_eq!(keeps(352, 0.75, None), 256, "32 is all that divides it");
    assert_eq!(keeps(37, 0.5, None), 19, "nothing divides it");
}

#[test]
fn what_cannot_be_is_refused() {
    let tiny = Tiny::new("llama");
    let refused = |change: &dyn Fn(&mut Plan), why: &str| {
        let mut plan = plan(&tiny);
        change(&mut plan);
        let error = tiny.try_prune(&plan, "out").expect_err(why).to_string();
        assert!(error.contains(why), "{error} instead of {why}");
    };
    for width in [0.0, 1.0, -0.5, f64::NAN] {
        refused(&|plan| plan.shrink.width = Some(width), "outside (0, 1)");
    }
    refused(&|plan| plan.shrink.width = Some(0.999), "nothing would go");
    refused(&|plan| plan.shrink.ratio = Some(0.1), "both say");
    refused(&|plan| (plan.shrink.width, plan.shrink.ratio) = (None, Some(0.0)), "outside (0, 1)");
    refused(&|plan| (plan.shrink.width, plan.shrink.ratio) = (None, Some(0.9)), "cannot go");
    refused(&|plan| plan.shrink.multiple = Some(0), "shrink.multiple is 0");
    refused(&|plan| plan.shrink.multiple = Some(1 << 20), "shrink.multiple is 1048576");
    refused(&|plan| plan.shrink.width = None, "shrink.multiple is about a width");
    for heads in [0, 2, 3] {
        refused(&|plan| plan.shrink.kv_heads = Some(heads), "and the model has 2 key/value heads");
    }
    refused(&|plan| plan.pruning.sparsity = Some(0.5), "a width and a sparsity");
    refused(&|plan| plan.pruning.pattern = Some("2:4".into()), "a width and a sparsity");
    refused(&|plan| plan.pruning.rules = vec!["down_proj=0.5".parse().expect("a rule")], "a width and a sparsity");
    refused(&|plan| plan.pruning.criterion = Some("none".into()), "there is no criterion");
    refused(&|plan| plan.pruning.swaps = 1, "about single weights");
    refused(&|plan| plan.pruning.scope = Some(Extent::Model), "about single weights");
    refused(&|plan| plan.pruning.ratios = Ratios::Owl, "about single weights");
    let order =
        |plan: &mut Plan| (plan.pruning.criterion, plan.pruning.order) = (Some("obs".into()), Some(Order::Blocks));
    refused(&order, "about single weights");
}
