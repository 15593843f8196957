//! Which tokens the statistics of experts count, and what the report says of them; experts that go.

use lopper::model::{Decoder, Omitted, Operation};
use lopper::plan::{ExpertTokens, Granularity, Inputs, Plan, RetrainingObjective, WindowTargets};
use lopper::progress::Silent;
use lopper::prune::redo_from;
use lopper::report::{MatrixFacts, Report};

use crate::tiny::Tiny;

/// A tensor for each matrix; an expert for every token and dense blocks; stacked tensors; those with biases, transposed; groups, and experts
/// that no token reaches.
const KINDS: [&str; 5] = ["mixtral", "qwen2_moe", "granitemoe", "gpt_oss", "deepseek_v3"];

fn plan(tiny: &Tiny, tokens: ExpertTokens, least: usize) -> Plan {
    let mut plan = tiny.plan();
    (plan.calibration.expert_tokens, plan.calibration.min_expert_tokens) = (tokens, least);
    plan
}

/// Of the matrices of a role in a block that tokens were counted of.
fn counted<'a>(matrices: &'a [MatrixFacts], block: usize, role: &'a str) -> impl Iterator<Item = usize> + 'a {
    matrices.iter().filter(move |facts| facts.block == block && facts.role == role).filter_map(|facts| facts.tokens)
}

#[test]
fn tokens_of_experts_add_up() {
    for family in KINDS {
        let tiny = Tiny::new(family);
        let ways = [(ExpertTokens::Routed, 0), (ExpertTokens::Routed, 256), (ExpertTokens::All, 256)];
        let reports =
            ways.map(|(tokens, least)| tiny.prune(&plan(&tiny, tokens, least), &format!("{tokens:?} {least}")));
        let warns = |place: usize| {
            let text = "fewer than 256 tokens (calibration.min_expert_tokens) reached";
            reports[place].warnings.iter().filter(|warning| warning.contains(text)).count()
        };
        assert_eq!([0, 1, 2].map(warns), [0, 1, 0], "{family}");
        let calibration = &reports[0].plan.calibration;
        let all = calibration.samples * calibration.seqlen.expect("resolved");
        for (block, spec) in tiny.spec.blocks.iter().enumerate() {
            let branches = spec.stages.iter().flat_map(|stage| &stage.branches);
            let mut operations = branches.flat_map(|branch| branch.program.instructions()).map(|one| &one.operation);
            let of_token = operations.find_map(|operation| match operation {
                Operation::Route { routing, .. } => Some(routing.top_k),
                _ => None,
            });
            for report in &reports {
                // every token is sent to as many experts, and counted in each of their matrices
                let sum: usize = counted(&report.matrices, block, "down").sum();
                assert_eq!(sum, of_token.unwrap_or(0) * all, "{family} block {block}");
                assert_eq!(counted(&report.matrices, block, "output").count(), 0, "{family} block {block}");
            }
        }
        let weights = ways.map(|(tokens, least)| tiny.weights(&format!("{tokens:?} {least}")));
        assert!(weights[0] != weights[1] && weights[1] != weights[2], "{family}: what is counted changes what is kept");
    }
}

/// Families with experts, how many of them are kept, and of how many: each by itself; stacked; in groups; without gates, in hybrids;
/// stacked with biases, transposed.
const SHRUNK: [(&str, [usize; 2]); 15] = [
    ("mixtral", [3, 5]),
    ("qwen2_moe", [4, 6]),
    ("granitemoeshared", [4, 6]),
    ("deepseek_v2", [4, 8]),
    ("granitemoehybrid", [2, 5]),
    ("nemotron_h", [4, 6]),
    ("jamba", [3, 5]),
    ("lfm2_moe", [4, 5]),
    ("minimax_m2", [4, 6]),
    ("exaone_moe", [4, 6]),
    ("qwen3_vl_moe", [4, 5]),
    ("qwen3_next", [3, 5]),
    ("qwen3_5_moe", [4, 5]),
    ("gpt_oss", [3, 5]),
    ("gemma4", [3, 5]),
];

fn fewer(tiny: &Tiny, keep: usize) -> Plan {
    let mut plan = tiny.plan();
    (plan.pruning.sparsity, plan.shrink.experts) = (None, Some(keep));
    plan
}

fn made(tiny: &Tiny, plan: &Plan, out: &str) -> Report {
    tiny.try_prune(plan, out).unwrap_or_else(|error| panic!("{} {out}: {error}", plan.model))
}

/// Of every expert of a block the numbers of its tensors, in order, and those of every other tensor.
fn tensors(model: &Decoder, block: usize) -> [Vec<Vec<f32>>; 2] {
    let loaded = model.load_block(block).expect("a block");
    let spec = &loaded.spec;
    let of_experts = spec.linears.iter().filter(|one| one.of_expert).flat_map(|one| [Some(one.weight), one.bias]);
    let of_experts: Vec<usize> = of_experts.flatten().collect();
    let numbers = |place: usize| loaded.tensors[place].host().to_vec();
    let experts = spec.routing().map_or(1, |routing| routing.experts);
    let own: Vec<Vec<f32>> = of_experts.iter().map(|&place| numbers(place)).collect();
    let own = own.chunks((own.len() / experts).max(1)).map(<[_]>::concat).collect();
    [own, (0..loaded.tensors.len()).filter(|place| !of_experts.contains(place)).map(numbers).collect()]
}

#[test]
fn what_is_written_is_the_model_without_the_experts_that_go() {
    for (family, [keep, of]) in SHRUNK {
        let tiny = Tiny::new(family);
        let mut plan = fewer(&tiny, keep);
        plan.pruning.compensation = "none".into();
        let report = made(&tiny, &plan, "fewer");
        let shrunk = report.shrunk.as_ref().expect("experts went");
        assert_eq!(shrunk.experts, Some([of, keep]), "{family}");
        tiny.check_foreseen(&plan, &report, "fewer");
        let (whole, small) = (tiny.open("model"), tiny.open("fewer"));
        for block in 0..whole.spec().blocks.len() {
            let ([all, others], [own, rest]) = (tensors(&whole, block), tensors(&small, block));
            let Some(kept) = shrunk.experts_kept.get(&block) else {
                assert_eq!([all, others], [own, rest], "{family} block {block}");
                continue;
            };
            assert_eq!((kept.len(), own.len()), (keep, keep), "{family}");
            for (expert, from) in own.iter().zip(kept) {
                assert_eq!(expert, &all[*from], "{family} block {block} expert {from}");
            }
            for (other, from) in rest.iter().zip(&others) {
                let width = from.len() / of;
                let cut = || kept.iter().flat_map(|&row| &from[row * width..(row + 1) * width]).copied().collect();
                let expected = if other.len() == from.len() { from.clone() } else { cut() };
                assert_eq!(*other, expected, "{family} block {block}");
            }
        }
        // the same model as in the course of the run
        let omitted = Omitted { blocks: Vec::new(), experts: shrunk.experts_kept.clone() };
        let within = tiny.open("model").without(&omitted).expect("a config");
        for block in 0..whole.spec().blocks.len() {
            let [a, b] = [&within, &small].map(|model| model.load_block(block).expect("a block"));
            assert!(a.tensors == b.tensors && a.spec.linears == b.spec.linears && a.spec.stages == b.spec.stages);
        }
    }
}

#[test]
fn those_that_stay_are_trained_to_give_what_all_gave() {
    for (family, keep) in [("mixtral", 3), ("granitemoeshared", 4), ("nemotron_h", 4), ("gpt_oss", 3)] {
        let tiny = Tiny::new(family);
        let mut plan = fewer(&tiny, keep);
        plan.reconstruction.granularity = Granularity::Submodule;
        let trained = made(&tiny, &plan, "trained");
        tiny.check_foreseen(&plan, &trained, "trained");
        let of_experts = trained.windows.iter().filter(|window| window.window.contains("experts"));
        let errors: Vec<(f64, f64)> =
            of_experts.filter_map(|one| one.outcome.held_out_before.zip(one.outcome.held_out_after)).collect();
        let lacks = errors.iter().all(|(before, _)| *before > 0.0);
        assert!(lacks && !errors.is_empty(), "{family}: {errors:?}");
        assert!(errors.iter().any(|(before, after)| after < before), "{family}: {errors:?}");
        // zeros, routers that train, larger windows, and all of it once more
        plan.pruning.pattern = Some("2:4".into());
        plan.reconstruction.parameters = "full+router".parse().expect("known");
        let sparse = made(&tiny, &plan, "sparse");
        assert!(sparse.model.zeros > 0, "{family}");
        plan.reconstruction.granularity = Granularity::Block;
        plan.retraining.objective = RetrainingObjective::Kl;
        made(&tiny, &plan, "blocks");
        let stops = tiny.prune_interrupted(&plan, "again");
        assert!(stops >= 3, "{family}: {stops}");
        assert!(tiny.weights("blocks") == tiny.weights("again"), "{family}: other bytes after {stops} stops");
    }
}

/// Blocks go too; what is not trained, or trains otherwise.
#[test]
fn experts_go_with_blocks_and_with_every_window() {
    let tiny = Tiny::new("qwen2_moe");
    let mut plan = fewer(&tiny, 4);
    plan.shrink.drop = vec![1];
    for (granularity, targets) in [
        (Granularity::None, WindowTargets::Dense),
        (Granularity::Matrix, WindowTargets::Dense),
        (Granularity::Submodule, WindowTargets::Local),
        (Granularity::Model, WindowTargets::Dense),
    ] {
        (plan.reconstruction.granularity, plan.reconstruction.targets) = (granularity, targets);
        let out = format!("{granularity:?} {targets:?}");
        let report = made(&tiny, &plan, &out);
        tiny.check_foreseen(&plan, &report, &out);
        let kept = &report.shrunk.as_ref().expect("something went").experts_kept;
        assert_eq!(kept.keys().copied().collect::<Vec<_>>(), [2], "block 0 has none, block 1 is gone");
        assert_eq!(tiny.open(&out).spec().blocks.len(), tiny.spec.blocks.len() - 1);
    }
}

#[test]
fn experts_are_not_done_again_without_others() {
    let tiny = Tiny::new("mixtral");
    let (model, out) = (tiny.open("model"), tiny.path("out"));
    let mut plan = fewer(&tiny, 3);
    tiny.prune_one_block(&plan, "out");
    plan.shrink.experts = Some(4);
    let error = redo_from(1, &plan, &model, &out, &mut Silent).expect_err("another run").to_string();
    assert!(error.contains("another run"), "{error}");
    plan.shrink.experts = Some(3);
    redo_from(1, &plan, &model, &out, &mut Silent).expect("the same experts");
}

#[test]
fn experts_that_cannot_go_are_refused() {
    let refused = |tiny: &Tiny, plan: &Plan, expected: &str| {
        let error = tiny.try_prune(plan, "refused").expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    };
    for (family, keep, expected) in [
        ("llama", 2, "the model has none"),
        ("mixtral", 5, "the model has 5 in a layer"),
        ("mixtral", 1, "every token goes to 2"),
        ("glm4_moe", 4, "they are in 4 groups"),
        ("deepseek_v2", 6, "they are in 4 groups"),
    ] {
        let tiny = Tiny::new(family);
        refused(&tiny, &fewer(&tiny, keep), expected);
    }
    let tiny = Tiny::new("mixtral");
    let mut plan = fewer(&tiny, 3);
    plan.calibration.inputs = Inputs::Dense;
    refused(&tiny, &plan, "calibration.inputs");
}
