//! The estimator against sums done by hand on a model small enough to do them on.

#![allow(clippy::float_cmp, reason = "counts of operations are whole numbers, exact in f64")]

use std::path::Path;

use super::{Estimate, Texts, scored_tokens};
use crate::autograd::optimizer::OptimizerKind;
use crate::model::{DecoderSpec, describe};
use crate::plan::{Granularity, Inputs, Plan, Ratios, RetrainingObjective};
use crate::schedule::Run;

/// Two blocks of 4·8² + 3·8·16 = 640 weights.
fn spec() -> DecoderSpec {
    let config = serde_json::json!({"model_type": "llama", "vocab_size": 32, "hidden_size": 8, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 16, "rms_norm_eps": 1e-5, "tie_word_embeddings": true,
        "max_position_embeddings": 64});
    describe(Path::new("config.json"), &config).expect("a llama")
}

fn plan() -> Plan {
    let mut plan = Plan::default();
    (plan.calibration.samples, plan.calibration.held_out, plan.calibration.seqlen) = (6, 2, Some(10));
    plan
}

fn estimate(plan: &Plan, texts: Texts, memory: Option<u64>) -> Estimate {
    Estimate::new(&Run::new(plan, &spec()).expect("valid"), texts, memory)
}

fn models(plan: &Plan) -> (usize, usize) {
    Run::new(plan, &spec()).expect("valid").models()
}

fn bytes(plan: &Plan, phase: &str, item: &str) -> Option<u64> {
    let estimate = estimate(plan, Texts::default(), None);
    let phase = estimate.phases.iter().find(|known| known.name.contains(phase))?.clone();
    phase.items.iter().find(|known| known.name.contains(item)).map(|item| item.bytes)
}

fn flops(plan: &Plan, stage: &str) -> f64 {
    let estimate = estimate(plan, Texts::default(), None);
    estimate.work.iter().find(|work| work.stage == stage).map_or(f64::NAN, |work| work.flops)
}

#[test]
fn memory_is_the_sum_of_what_is_alive() {
    // 8 windows of 10 tokens of width 8 in f32, dense and pruned
    assert_eq!(bytes(&plan(), "training", "hidden states"), Some(2 * 8 * 10 * 8 * 4));
    // f32 and a mask byte of what is pruned, f32 of the dense feed-forward layer: targets of the attention are made
    assert_eq!(bytes(&plan(), "choosing", "one block"), Some(640 * 5 + 384 * 4));
    assert_eq!(bytes(&plan(), "training", "one block"), Some(640 * 5));
    // of the feed-forward half an input of width 8 and one of 16, lower triangles in f64; with the block three of 8
    assert_eq!(bytes(&plan(), "training", "Gram"), Some(8 * (36 + 136)));
    assert_eq!(bytes(&plan(), "choosing", "Gram"), Some(2 * 8 * (36 + 136)), "and those of held-out inputs");
    let mut block = plan();
    block.reconstruction.granularity = Granularity::Block;
    assert_eq!(bytes(&block, "training", "Gram"), Some(8 * (3 * 36 + 136)));
    // the feed-forward half is the larger
    assert_eq!(bytes(&plan(), "training", "gradients"), Some(384 * 4));
    assert_eq!(bytes(&plan(), "training", "moments"), Some(384 * 8));
}

#[test]
fn what_does_not_happen_takes_no_memory() {
    let mut plan = plan();
    plan.calibration.inputs = Inputs::Pruned;
    plan.reconstruction.granularity = Granularity::None;
    assert_eq!(bytes(&plan, "choosing", "hidden states"), Some(8 * 10 * 8 * 4), "one stream");
    assert_eq!(bytes(&plan, "training", "gradients"), None);
    plan.pruning.criterion = Some("magnitude".into());
    plan.pruning.compensation = "none".into();
    assert_eq!(bytes(&plan, "choosing", "hidden states"), None);
    assert_eq!(bytes(&plan, "choosing", "Gram"), None);
    assert_eq!(bytes(&plan, "calibrating", "activations"), None);
    assert!(flops(&plan, "calibrate") == 0.0 && flops(&plan, "reconstruct") == 0.0 && flops(&plan, "advance") == 0.0);
}

#[test]
fn work_is_two_operations_per_weight_and_token() {
    // per token and block: 2·640 for the matrices, 2·8·10 for attention over windows of 10; two blocks
    let forward = 2.0 * (2.0 * 640.0 + 160.0);
    // 2 epochs of 6 windows forward and backward, 2 held-out windows before, after each, and twice on the way
    assert_eq!(flops(&plan(), "reconstruct"), (3.0 * 2.0 * 60.0 + 5.0 * 20.0) * forward);
    // both streams, all 8 windows
    assert_eq!(flops(&plan(), "advance"), 2.0 * 80.0 * forward);
    // all windows forward as far as the inputs of the last matrices, and their triangles
    let seen = 2.0 * (2.0 * 3.0 * 64.0 + 160.0 + 2.0 * 2.0 * 128.0);
    let squares = 2.0 * f64::from(3 * 8 * 8 + 16 * 16);
    assert_eq!(flops(&plan(), "calibrate"), 80.0 * (seen + squares));
    let mut fixed = plan();
    fixed.pruning.damping = Some(0.01);
    assert_eq!(flops(&fixed, "calibrate"), 60.0 * (seen + squares), "nothing is judged by the held-out ones");
    // iterations and one product to begin with; errors before, after and at the end of training; squares of all inputs
    let products = 2.0 * 2.0 * f64::from(4 * 8 * 64 + 2 * 16 * 64 + 8 * 256);
    assert_eq!(flops(&fixed, "solve"), (21.0 + 6.0) * products);
    // five shares of five iterations, the product that each begins with and is judged by, and one for the mask
    assert_eq!(flops(&plan(), "solve"), (36.0 + 6.0) * products);
}

#[test]
fn a_larger_window_takes_more_and_an_adapter_less() {
    let mut plan = plan();
    plan.reconstruction.granularity = Granularity::Blocks(2);
    assert_eq!(bytes(&plan, "training a window", "gradients"), Some(2 * 640 * 4));
    assert_eq!(bytes(&plan, "training a window", "moments"), Some(2 * 640 * 8));
    assert_eq!(bytes(&plan, "training a window", "hidden states"), Some(3 * 8 * 10 * 8 * 4), "and where it began");
    plan.reconstruction.optimizer = OptimizerKind::Sgd;
    assert_eq!(bytes(&plan, "training a window", "momentum"), Some(2 * 640 * 4));
    (plan.reconstruction.parameters, plan.reconstruction.rank) = ("masklora+norm".parse().expect("known"), 3);
    // inputs and outputs: 16 four times, 24 three times
    assert_eq!(bytes(&plan, "training a window", "gradients"), Some(2 * 3 * 136 * 4));
    plan.reconstruction.granularity = Granularity::Matrix;
    assert_eq!(bytes(&plan, "training a window", "gradients"), Some(3 * 24 * 4));
    // of down: 16 wide in either model, 8 out
    assert_eq!(bytes(&plan, "training a window", "inputs and targets"), Some(8 * 10 * (2 * 16 + 8) * 4));
    // two streams; two inputs of each branch in two models, and the targets of each matrix
    let (forward, seen) = (2.0 * (2.0 * 640.0 + 160.0), 2.0 * (2.0 * 3.0 * 64.0 + 160.0 + 2.0 * 2.0 * 128.0));
    assert_eq!(flops(&plan, "advance"), 80.0 * (2.0 * forward + 2.0 * seen + 2.0 * 2.0 * 640.0));
}

#[test]
fn retraining_has_the_whole_model_in_memory() {
    let mut plan = plan();
    plan.reconstruction.granularity = Granularity::None;
    assert_eq!(flops(&plan, "retrain"), 0.0);
    plan.retraining.objective = RetrainingObjective::Ce;
    let (blocks, head) = (2.0 * (2.0 * 640.0 + 160.0), 512.0);
    assert_eq!(flops(&plan, "retrain"), 2.0 * 60.0 * (4.0 * blocks + 2.0 * head) + 5.0 * 20.0 * (blocks + head));
    assert_eq!(bytes(&plan, "whole model", "whole model"), Some(2 * 640 * 5 + 32 * 8 * 4));
    assert_eq!(bytes(&plan, "whole model", "moments"), Some(2 * 640 * 8));
    assert_eq!(bytes(&plan, "whole model", "hidden states"), Some(8 * 10 * 8 * 4));
    plan.retraining.objective = RetrainingObjective::Kl;
    assert_eq!(bytes(&plan, "whole model", "hidden states"), Some(2 * 8 * 10 * 8 * 4), "and the teacher's");
    plan.evaluation.ladder = true;
    assert_eq!(models(&plan), (2, 4), "the compensated model is the one that retraining begins with");
}

#[test]
fn a_survey_is_one_pass_of_the_dense_model_whatever_the_ladder() {
    let mut plan = plan();
    plan.pruning.ratios = Ratios::Owl;
    let forward = 2.0 * (2.0 * 640.0 + 160.0);
    assert_eq!(flops(&plan, "calibrate") - flops(&self::plan(), "calibrate"), 60.0 * forward);
    assert_eq!(bytes(&plan, "surveying", "hidden states"), Some(6 * 10 * 8 * 4));
    assert_eq!(bytes(&plan, "surveying", "scores"), Some(640 * 4));
    assert_eq!(bytes(&self::plan(), "surveying", "scores"), None);
    plan.evaluation.ladder = true;
    let mut uniform = plan.clone();
    uniform.pruning.ratios = Ratios::Uniform;
    assert_eq!(flops(&plan, "calibrate") - flops(&uniform, "calibrate"), 60.0 * forward);
}

#[test]
fn a_ladder_adds_the_models_below() {
    let mut plan = plan();
    assert_eq!(models(&plan), (1, 2));
    let once = flops(&plan, "calibrate");
    plan.evaluation.ladder = true;
    assert_eq!(models(&plan), (3, 4));
    // the second again with Gram matrices, the third with norms only
    assert!(flops(&plan, "calibrate") > 2.0 * once && flops(&plan, "calibrate") < 3.0 * once);
    assert_eq!(flops(&plan, "reconstruct"), flops(&self::plan(), "reconstruct"));
    plan.reconstruction.granularity = Granularity::None;
    plan.pruning.compensation = "none".into();
    assert_eq!(models(&plan), (1, 2));
}

#[test]
fn texts_are_scored_in_whole_windows() {
    let mut plan = plan();
    assert_eq!(scored_tokens(&plan, &spec(), &[]), 20, "the held-out windows");
    plan.evaluation.seqlen = Some(10);
    assert_eq!(scored_tokens(&plan, &spec(), &[99, 10]), 100);
    plan.evaluation.windows = Some(2);
    assert_eq!(scored_tokens(&plan, &spec(), &[99, 10]), 30);
    let estimate = estimate(&plan, Texts { scored_tokens: 30, kept_bytes: 5000, tokenised_bytes: 1000 }, None);
    let evaluate = estimate.work.iter().find(|work| work.stage == "evaluate").expect("scored");
    // dense and final: two blocks and the head of 32 × 8
    let items = |phase: &str| estimate.phases.iter().find(|known| known.name == phase).expect("phase").items.clone();
    let of = |phase, item: &str| items(phase).iter().find(|known| known.name.contains(item)).map(|item| item.bytes);
    assert_eq!(of("scoring: the head", "group of windows"), Some(30 * 8 * 4), "no more than is scored");
    assert_eq!(of("reading the texts", "take windows from"), Some(5000));
    assert_eq!(of("reading the texts", "tokenizer makes"), Some(112_000));
    assert_eq!(evaluate.flops, 2.0 * 30.0 * (2.0 * (2.0 * 640.0 + 160.0) + 2.0 * 256.0));
}

#[test]
fn states_go_to_the_disk_where_they_do_not_fit() {
    let plan = plan();
    let estimate = |memory| estimate(&plan, Texts::default(), memory);
    let peak = estimate(None).peak();
    assert_eq!((estimate(Some(peak)).scratch, estimate(Some(peak)).peak()), (0, peak));
    // two streams of 8 windows of 10 tokens, one of them twice; what the 384 numbers of the larger half were, and the best of them
    let less = estimate(Some(peak - 1));
    assert_eq!(less.scratch, 3 * 8 * 10 * 8 * 4 + 2 * 384 * 4);
    assert!(less.peak() < peak);
    let training = less.phases.iter().find(|phase| phase.name == "training a window").expect("trains");
    let names: Vec<_> = training.items.iter().map(|item| item.name).collect();
    assert!(names.contains(&"hidden states on their way from the disk"), "{names:?}");
    assert!(!names.contains(&"a copy to fall back on"), "{names:?}");
}

/// The steps of a window of several blocks are those of the window: streams and previews are counted, and only one block's statistics.
#[test]
fn windows_of_several_blocks_are_counted_by_their_own_steps() {
    let mut several = plan();
    several.reconstruction.granularity = Granularity::Blocks(2);
    let forward = 2.0 * (2.0 * 640.0 + 160.0);
    // targets and inputs through all stages, and the states ahead through all but the last
    let last = 2.0 * 384.0;
    assert_eq!(flops(&several, "advance"), 80.0 * (3.0 * forward - last));
    // the states that are ahead, what the window reads, and the targets
    assert_eq!(bytes(&several, "choosing", "hidden states"), Some(3 * 8 * 10 * 8 * 4));
    assert_eq!(
        bytes(&several, "calibrating", "Gram"),
        Some(8 * (3 * 36 + 136 + 36 + 136)),
        "and of held-out inputs those at hand"
    );
    // of the first block only what is pruned is left
    assert_eq!(bytes(&several, "choosing", "blocks of a window"), Some(640 * 5 + 640 * 9));
}

#[test]
fn blocks_that_go_are_chosen_passed_and_scored_with_the_dense_model() {
    let of_blocks = |count: usize| {
        let config = serde_json::json!({"model_type": "llama", "vocab_size": 32, "hidden_size": 8, "num_hidden_layers": count,
            "num_attention_heads": 2, "intermediate_size": 16, "tie_word_embeddings": true, "max_position_embeddings": 64});
        describe(Path::new("config.json"), &config).expect("a llama")
    };
    let texts = Texts { scored_tokens: 10, ..Texts::default() };
    let estimate = |plan: &Plan, spec: &DecoderSpec| Estimate::new(&Run::new(plan, spec).expect("valid"), texts, None);
    let mut plan = plan();
    let two = estimate(&plan, &of_blocks(2));
    plan.shrink.depth = Some(2);
    let shorter = estimate(&plan, &plan.shortened(&of_blocks(3)).expect("a block goes"));
    let of = |estimate: &Estimate, stage: &str| {
        estimate.work.iter().find(|work| work.stage == stage).map_or(f64::NAN, |work| work.flops)
    };
    // two operations per weight, and for each of 8 numbers and each token of a sequence
    let block = |length: f64| 2.0 * 640.0 + 2.0 * 8.0 * length;
    assert_eq!(of(&shorter, "evaluate") - of(&two, "evaluate"), 10.0 * block(64.0));
    // nothing of the others is pruned; the feed-forward half before runs once more for its statistics, of 8 sequences, and a matrix is
    // solved for: 8 dampings, of each 20 iterations, a start and an error; and the targets of 8 sequences pass
    let statistics = 80.0 * (2.0 * 384.0 + 16.0 * 16.0 + 2.0 * 8.0 * 16.0);
    let solver = 8.0 * 22.0 * 2.0 * 8.0 * 16.0 * 16.0;
    assert_eq!(of(&shorter, "calibrate"), 60.0 * 3.0 * block(10.0) + statistics + solver);
    assert_eq!(of(&shorter, "advance") - of(&two, "advance"), 80.0 * block(10.0));
    let choosing = shorter.phases.iter().find(|phase| phase.name == "choosing the blocks that go").expect("a phase");
    assert_eq!(choosing.items[0].bytes, 2 * 60 * 8 * 4, "states before the block that goes, and after it");
}

#[test]
fn experts_that_go_are_there_where_all_of_them_give_the_targets() {
    let of_experts = |count: usize| {
        let config = serde_json::json!({"model_type": "mixtral", "vocab_size": 32, "hidden_size": 8, "num_hidden_layers": 2,
            "num_attention_heads": 2, "intermediate_size": 16, "num_local_experts": count, "num_experts_per_tok": 2,
            "max_position_embeddings": 64});
        describe(Path::new("config.json"), &config).expect("a mixtral")
    };
    let mut plan = plan();
    plan.shrink.experts = Some(3);
    let kept = [0, 1].map(|block| (block, vec![0, 1, 2])).into();
    let spec = of_experts(4).with_experts(&of_experts(3), &kept).expect("the same model");
    let texts = Texts { scored_tokens: 10, ..Texts::default() };
    let estimate = Estimate::new(&Run::new(&plan, &spec).expect("valid"), texts, None);
    let bytes = |phase: &str, item: &str| {
        let phase = estimate.phases.iter().find(|known| known.name.contains(phase)).expect("a phase");
        phase.items.iter().find(|known| known.name.contains(item)).expect("an item").bytes
    };
    // 4·8² of the attention, 3·8·16 of each expert
    let weights = |experts: u64| 256 + 384 * experts;
    assert_eq!(bytes("scoring: the blocks", "one block"), weights(4) * 4, "of the dense model");
    assert_eq!(bytes("experts that stay", "one block"), weights(4) * 4);
    // 60 tokens, of each what four experts give, and their products
    assert_eq!(bytes("experts that stay", "outputs"), 60 * 4 * 8 * 4);
    assert_eq!(bytes("experts that stay", "products"), 60 * 4 * 4 * 4);
}
