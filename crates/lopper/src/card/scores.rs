//! The scores of a report as tables: a column for each model on the way from dense to final.

use super::markdown::{cell, last_name, word};
use crate::evaluation::{Measure, Metric, TASKS, TaskScore, TextScore};
use crate::report::ScoredModel;
use crate::words::units::{count, measure, perplexity};

/// A cell of a model that was not scored.
const NONE: &str = "–";

/// The section.
pub(super) fn section(models: &[ScoredModel]) -> String {
    let final_scores = models.last().map(|model| &model.scores);
    let (texts, tasks) = final_scores.map_or((&[][..], &[][..]), |scores| (&scores.texts[..], &scores.tasks[..]));
    if texts.is_empty() && tasks.is_empty() {
        return "Nothing was scored.\n".into();
    }
    let mut parts = Vec::new();
    if !texts.is_empty() {
        let rows = texts.iter().zip(names(texts)).map(|(text, name)| text_row(models, text, &name));
        let convention = "Windows do not overlap, and what is left after the last is not scored: the convention of GPTQ, SparseGPT and Wanda.";
        parts.push(format!("Perplexity, lower is better. {convention}\n\n{}", table("text", models, rows)));
    }
    if !tasks.is_empty() {
        let rows = tasks.iter().flat_map(|task| (0..task.metrics.len()).map(|place| task_row(models, task, place)));
        let known =
            tasks.iter().all(|task| TASKS.iter().any(|one| one.name == task.task && one.version == task.version));
        let prompts = if known {
            " Prompts and scoring are those of the tasks of the same name in lm-evaluation-harness 0.4."
        } else {
            ""
        };
        let mut metrics = tasks.iter().flat_map(|task| &task.metrics);
        let numbers = if metrics.any(|measure| measure.metric == Metric::Perplexity) {
            "Accuracies in percent, perplexities (lower is better) as they are"
        } else {
            "Accuracies in percent"
        };
        parts.push(format!("{numbers}, ± one standard error.{prompts}\n\n{}", table("task", models, rows)));
    }
    parts.join("\n")
}

fn table(what: &str, models: &[ScoredModel], rows: impl Iterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head: Vec<String> = [what.into()].into_iter().chain(models.iter().map(|model| word(&model.name))).collect();
    let rule = format!("|---{}|\n", "|--:".repeat(models.len()));
    line(&head) + &rule + &rows.map(|row| line(&row)).collect::<String>()
}

/// What texts are called: their files without directories, numbered where that makes different ones the same.
pub(super) fn names(texts: &[TextScore]) -> Vec<String> {
    let name = |text: &TextScore| {
        let (name, mut alike) = (last_name(&text.text), Vec::new());
        for other in texts.iter().filter(|other| last_name(&other.text) == name) {
            if !alike.contains(&&other.text) {
                alike.push(&other.text);
            }
        }
        let place = alike.iter().position(|other| **other == text.text).unwrap_or_default();
        if place == 0 { name.into() } else { format!("{name} ({})", place + 1) }
    };
    texts.iter().map(name).collect()
}

/// Whether both are scores of the same part of the same text, in the same windows.
pub(super) fn is_same_text(one: &TextScore, other: &TextScore) -> bool {
    let key = |text: &TextScore| (text.score.windows, text.score.seqlen);
    one.text == other.text && key(one) == key(other)
}

/// Whether both are scores of the same questions, asked alike.
pub(super) fn is_same_task(one: &TaskScore, other: &TaskScore) -> bool {
    one.task == other.task && (one.questions, one.examples) == (other.questions, other.examples)
}

fn text_row(models: &[ScoredModel], text: &TextScore, name: &str) -> Vec<String> {
    let windows = if text.score.windows == 1 { "window" } else { "windows" };
    let what =
        format!("{} ({} {windows} of {} tokens)", cell(name), count(text.score.windows), count(text.score.seqlen));
    let of = |model: &ScoredModel| {
        let score = model.scores.texts.iter().find(|one| is_same_text(one, text));
        score.map_or_else(|| NONE.into(), |score| perplexity(score.score.perplexity))
    };
    [what].into_iter().chain(models.iter().map(of)).collect()
}

fn task_row(models: &[ScoredModel], task: &TaskScore, place: usize) -> Vec<String> {
    let metric = task.metrics[place].metric;
    let of_all = if task.questions < task.available { format!(" of {}", count(task.available)) } else { String::new() };
    let what = format!(
        "{} {} ({}{of_all} questions, {}-shot)",
        cell(&task.task),
        metric.name(),
        count(task.questions),
        task.examples
    );
    let of = |model: &ScoredModel| {
        let score = model.scores.tasks.iter().find(|one| is_same_task(one, task));
        let found = score.and_then(|score| score.metrics.iter().find(|one: &&Measure| one.metric == metric));
        found.map_or_else(|| NONE.into(), measure)
    };
    [what].into_iter().chain(models.iter().map(of)).collect()
}
