//! Which tokens the statistics of experts count, and what the report says of them.

use lopper::model::Operation;
use lopper::plan::{ExpertTokens, Plan};
use lopper::report::MatrixFacts;

use crate::tiny::Tiny;

/// A tensor for each matrix; an expert for every token and dense blocks; stacked tensors; groups, and experts that no token reaches.
const KINDS: [&str; 4] = ["mixtral", "qwen2_moe", "granitemoe", "deepseek_v3"];

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
