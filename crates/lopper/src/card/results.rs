//! The scores of the final model as the head of a card has them (`model-index`), where the Hub finds them.

use super::markdown::last_name;
use super::yaml::Node;
use crate::evaluation::{Measure, Metric, TASKS, TaskScore, TextScore};
use crate::plan::Plan;
use crate::report::ScoredModel;

/// Digits of a number that say something.
const DIGITS: usize = 5;
/// What has no data set of its own on the Hub.
const CUSTOM: &str = "custom";

/// The results of a model called `name`; none without scores.
pub(super) fn model_index(name: &str, model: &ScoredModel, plan: &Plan) -> Option<Node> {
    let texts = model.scores.texts.iter().map(|score| of_text(score, plan));
    let results: Vec<Node> = texts.chain(model.scores.tasks.iter().map(of_task)).flatten().collect();
    let index = Node::Map(vec![("name", Node::text(name)), ("results", Node::List(results.clone()))]);
    (!results.is_empty()).then(|| Node::List(vec![index]))
}

fn of_text(score: &TextScore, plan: &Plan) -> Option<Node> {
    let is_wikitext = plan.evaluation.wikitext.iter().any(|path| std::path::Path::new(&score.text).starts_with(path));
    let kind = if is_wikitext { "wikitext" } else { CUSTOM };
    let windows = [("seqlen", score.score.seqlen), ("windows", score.score.windows)];
    let args = Node::Map(windows.map(|(key, count)| (key, Node::Number(count as f64))).into());
    let dataset = vec![("name", Node::text(last_name(&score.text))), ("type", Node::text(kind)), ("args", args)];
    result(dataset, [(Metric::Perplexity, score.score.perplexity)])
}

fn of_task(score: &TaskScore) -> Option<Node> {
    let built_in = TASKS.iter().find(|task| task.name == score.task && task.version == score.version);
    let mut dataset = vec![("name", Node::text(&score.task))];
    dataset.push(("type", Node::text(built_in.map_or(CUSTOM, |task| task.data.id))));
    if let Some(data) = built_in.map(|task| task.data) {
        dataset.extend((!data.configuration.is_empty()).then(|| ("config", Node::text(data.configuration))));
        dataset.push(("split", Node::text(data.split)));
    }
    dataset.push(("args", Node::Map(vec![("num_few_shot", Node::Number(score.examples as f64))])));
    result(dataset, score.metrics.iter().map(|&Measure { metric, value, .. }| (metric, value)))
}

/// A result, where a number of it is one.
fn result(dataset: Vec<(&'static str, Node)>, values: impl IntoIterator<Item = (Metric, f64)>) -> Option<Node> {
    let metric = |(metric, value): (Metric, f64)| {
        let (kind, name) = match metric {
            Metric::Perplexity => ("perplexity", "perplexity"),
            Metric::Acc => ("acc", "accuracy"),
            Metric::AccNorm => ("acc_norm", "normalized accuracy"),
        };
        let value = ("value", Node::Number(rounded(value)?));
        Some(Node::Map(vec![("type", Node::text(kind)), value, ("name", Node::text(name))]))
    };
    let metrics: Vec<Node> = values.into_iter().filter_map(metric).collect();
    let task = Node::Map(vec![("type", Node::text("text-generation")), ("name", Node::text("Text Generation"))]);
    let parts = vec![("task", task), ("dataset", Node::Map(dataset)), ("metrics", Node::List(metrics.clone()))];
    (!metrics.is_empty()).then_some(Node::Map(parts))
}

/// With as many digits as say something; none of what is no number.
fn rounded(value: f64) -> Option<f64> {
    format!("{value:.*e}", DIGITS - 1).parse().ok().filter(|value: &f64| value.is_finite())
}
