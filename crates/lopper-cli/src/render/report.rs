//! The report of a run as text for someone who has not read the manual.

use std::collections::BTreeSet;
use std::path::Path;

use lopper::evaluation::TaskScore;
use lopper::report::Report;

use super::table::{Align, Table};
use super::words::{python_string, shell_word};
use super::{patterns, shrunk, units};

/// Everything, ready to print.
pub fn text(report: &Report, out: &Path) -> String {
    let mut text = String::new();
    if report.evaluation.iter().any(|model| !model.scores.texts.is_empty()) {
        text = format!("Perplexity (lower is better)\n\n{}\n", scores(report));
    }
    if report.evaluation.iter().any(|model| !model.scores.tasks.is_empty()) {
        text = format!("{text}Tasks (± is one standard error)\n\n{}\n", answers(report));
    }
    for (name, value) in facts(report, out) {
        text = format!("{text}  {name:<9}{value}\n");
    }
    text + &next(report, out)
}

/// A row per model of the ladder, two columns per text.
fn scores(report: &Report) -> Table {
    let Some(dense) = report.evaluation.first() else { return Table::new([("model", Align::Left)]) };
    let names = short_names(dense.scores.texts.iter().map(|text| text.text.as_str()));
    let columns = names.into_iter().flat_map(|name| [(name, Align::Right), ("vs dense".into(), Align::Right)]);
    let mut table = Table::new([("model".to_owned(), Align::Left)].into_iter().chain(columns));
    for (place, model) in report.evaluation.iter().enumerate() {
        let cells = model.scores.texts.iter().zip(&dense.scores.texts).flat_map(|(text, dense)| {
            let (value, reference) = (text.score.perplexity, dense.score.perplexity);
            [units::perplexity(value), if place == 0 { String::new() } else { units::ratio(value, reference) }]
        });
        table.row([model.name.clone()].into_iter().chain(cells));
    }
    table
}

/// A row per model of the ladder, a column per task and metric.
fn answers(report: &Report) -> Table {
    let Some(dense) = report.evaluation.first() else { return Table::new([("model", Align::Left)]) };
    let measures = |score: &TaskScore| {
        score.metrics.iter().map(|measure| format!("{} {}", score.task, measure.metric.name())).collect::<Vec<_>>()
    };
    let columns = dense.scores.tasks.iter().flat_map(measures).map(|name| (name, Align::Right));
    let mut table = Table::new([("model".to_owned(), Align::Left)].into_iter().chain(columns));
    for model in &report.evaluation {
        let cells = model.scores.tasks.iter().flat_map(|score| score.metrics.iter().map(units::measure));
        table.row([model.name.clone()].into_iter().chain(cells));
    }
    table
}

/// File names without their directories, where that leaves them distinct.
fn short_names<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let names: Vec<&str> = names.collect();
    let short = |name: &&str| {
        Path::new(name).file_name().map_or((*name).to_owned(), |file| file.to_string_lossy().into_owned())
    };
    let shortened: Vec<String> = names.iter().map(short).collect();
    let distinct = shortened.iter().collect::<BTreeSet<_>>().len() == names.len();
    if distinct { shortened } else { names.into_iter().map(str::to_owned).collect() }
}

/// Name and value of what was done and what it took.
fn facts(report: &Report, out: &Path) -> Vec<(&'static str, String)> {
    let model = &report.model;
    let zeros = format!(
        "{}: {} of {} weights in the linear layers are zero ({} asked for)",
        units::percent(model.sparsity()),
        units::count(model.zeros),
        units::count(model.prunable),
        units::count(model.target)
    );
    let stages = report.timings.stages().into_iter().filter(|(_, seconds)| *seconds >= 0.05);
    let stages: Vec<_> = stages.map(|(name, seconds)| format!("{name} {}", units::seconds(seconds))).collect();
    let first = report
        .shrunk
        .as_ref()
        .map_or(("zeros", zeros), |shrunk| ("size", shrunk::size(shrunk, &report.plan.shrink.drop)));
    let mut facts = vec![first];
    facts.extend(report.shrunk.as_ref().map(|shrunk| ("serving", shrunk::serving(shrunk))));
    let prunes = patterns::prune_blocks(&report.plan);
    facts.extend(prunes.then(|| ("pattern", patterns::pruning(&report.plan))));
    if prunes && patterns::differ(&report.plan) {
        let matrices = report.matrices.iter().map(|facts| (facts.role.as_str(), facts.pattern));
        facts.extend(patterns::kinds(matrices).into_iter().map(|kind| ("", kind)));
    }
    facts.push(("dtype", format!("linear layers computed in {}", report.plan.compute.dtype.name())));
    let stages = if stages.is_empty() { String::new() } else { format!(" ({})", stages.join(", ")) };
    facts.push(("time", format!("{}{stages}", units::seconds(report.seconds))));
    facts.extend(report.peak_memory.map(|bytes| ("memory", format!("{} at most", units::bytes(bytes)))));
    facts.push(("written", format!("{} (with README.md, report.json and plan.toml)", out.display())));
    facts
}

/// What to do with the result.
fn next(report: &Report, out: &Path) -> String {
    let text = if report.plan.model == crate::demo::DEMO { crate::demo::DEMO } else { "FILE" };
    let (out, in_python) = (shell_word(out), python_string(out));
    let rows = [
        (format!("lopper eval {out} --text {text}"), "measure it on a text"),
        (format!("lopper inspect {out}"), "see what is zero where"),
        (
            format!("{}.from_pretrained({in_python})", report.model.loader()),
            "load it in transformers, as any checkpoint",
        ),
    ];
    let width = rows.iter().map(|(command, _)| command.chars().count()).max().unwrap_or(0);
    let lines = rows.iter().map(|(command, why)| format!("  {command:<width$}  {why}\n"));
    format!("\nNext\n\n{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::short_names;

    #[test]
    fn names_lose_directories_only_if_they_stay_distinct() {
        assert_eq!(short_names(["a/wiki.txt", "b/c4.txt"].into_iter()), ["wiki.txt", "c4.txt"]);
        assert_eq!(short_names(["a/x.txt", "b/x.txt"].into_iter()), ["a/x.txt", "b/x.txt"]);
    }
}
