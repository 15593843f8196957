//! An evaluation as tables for people.

use lopper::evaluation::{TaskDifference, TaskScore, TextDifference, TextScore};

use super::{Against, Evaluation};
use crate::render::table::{Align, Table};
use crate::render::units;

/// Below this probability a difference is called more than chance.
const SIGNIFICANT: f64 = 0.05;

/// Everything, ready to print.
pub fn text(evaluation: &Evaluation) -> String {
    let Evaluation { model, dtype, scores, against } = evaluation;
    let mut sections = Vec::new();
    if !scores.texts.is_empty() {
        sections.push(format!("Perplexity of {model} (lower is better)\n\n{}", texts(&scores.texts)));
    }
    if !scores.tasks.is_empty() {
        sections.push(format!("Tasks, answered by {model} (± is one standard error)\n\n{}", tasks(&scores.tasks)));
    }
    if let Some(against) = against {
        sections.extend(differences(evaluation, against));
    }
    sections.push(format!("Linear layers were computed in {}.\n", dtype.name()));
    sections.join("\n")
}

fn texts(texts: &[TextScore]) -> Table {
    let header =
        [("text", Align::Left), ("perplexity", Align::Right), ("windows", Align::Right), ("tokens each", Align::Right)];
    let mut table = Table::new(header);
    for TextScore { text, score } in texts {
        let counts = [score.windows, score.seqlen].map(units::count);
        table.row([text.clone(), units::perplexity(score.perplexity)].into_iter().chain(counts));
    }
    table
}

fn tasks(scores: &[TaskScore]) -> Table {
    let header = [
        ("task", Align::Left),
        ("version", Align::Right),
        ("examples", Align::Right),
        ("questions", Align::Right),
        ("metric", Align::Left),
        ("value", Align::Right),
    ];
    let mut table = Table::new(header);
    for score in scores {
        let facts = [score.version.clone(), units::count(score.examples), units::count(score.questions)];
        let mut named: Vec<String> = [score.task.clone()].into_iter().chain(facts).collect();
        for measure in &score.metrics {
            table.row(named.into_iter().chain([measure.metric.name().into(), units::measure(measure)]));
            named = vec![String::new(); 4];
        }
    }
    table
}

/// How the model differs from the one it is compared with.
fn differences(evaluation: &Evaluation, against: &Against) -> Vec<String> {
    let mut sections = Vec::new();
    let title = format!("{} against {}", evaluation.model, against.model);
    if !against.text_differences.is_empty() {
        let table = text_differences(evaluation, against);
        let what = "KL divergence of the next-token distributions in nats; agreement on the most likely token";
        sections.push(format!("{title}: texts\n({what})\n\n{table}"));
    }
    if !against.task_differences.is_empty() {
        let table = task_differences(&against.task_differences);
        sections.push(format!("{title}: answers\n(points gained; questions whose answer changed)\n\n{table}"));
    }
    sections
}

fn text_differences(evaluation: &Evaluation, against: &Against) -> Table {
    let header = [
        ("text", Align::Left),
        ("perplexity", Align::Right),
        ("before", Align::Right),
        ("KL", Align::Right),
        ("agreement", Align::Right),
        ("p", Align::Right),
        ("", Align::Left),
    ];
    let mut table = Table::new(header);
    let scores = evaluation.scores.texts.iter().zip(&against.scores.texts);
    for ((after, before), difference) in scores.zip(&against.text_differences) {
        let TextDifference { text, kl_divergence, top1_agreement, p_value, .. } = difference;
        let perplexities = [after, before].map(|score| units::perplexity(score.score.perplexity));
        let apart = [format!("{kl_divergence:.4}"), units::percent(*top1_agreement)];
        let cells = [text.clone()].into_iter().chain(perplexities).chain(apart);
        table.row(cells.chain([p_value.map_or_else(String::new, units::probability), verdict(*p_value)]));
    }
    table
}

fn task_differences(differences: &[TaskDifference]) -> Table {
    let header = [
        ("task", Align::Left),
        ("metric", Align::Left),
        ("change", Align::Right),
        ("right → wrong", Align::Right),
        ("wrong → right", Align::Right),
        ("flips", Align::Right),
        ("p", Align::Right),
        ("", Align::Left),
    ];
    let mut table = Table::new(header);
    for one in differences {
        let flips =
            format!("{} ({})", units::count(one.flips), units::percent(one.flips as f64 / one.questions as f64));
        table.row([
            one.task.clone(),
            one.metric.name().into(),
            format!("{:+.2}", 100.0 * one.difference),
            units::count(one.lost),
            units::count(one.won),
            flips,
            units::probability(one.p_value),
            verdict(Some(one.p_value)),
        ]);
    }
    table
}

/// What a probability says.
fn verdict(p: Option<f64>) -> String {
    match p {
        None => String::new(),
        Some(p) if p < SIGNIFICANT => "differ".into(),
        Some(_) => "may be chance".into(),
    }
}
