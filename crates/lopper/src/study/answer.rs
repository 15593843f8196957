//! What a study found, as a table and as JSON; `plot.rs` draws it.

use serde::Serialize;

use super::axis::Coordinate;
use super::definition::Study;
use super::directory::{Outcome, Record};
use super::measures::{MEASURES, Measure, significant, with_deviation};
use super::summary::{Row, Statistic, summarise};
use crate::error::{Error, Result};

/// What a study found.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// Version of this program.
    pub version: &'static str,
    /// What was asked.
    pub study: Study,
    /// What the axes that are not averaged over are called, in the order of [`Row::point`].
    pub axes: Vec<String>,
    /// A row for each of their points.
    pub rows: Vec<Row>,
    /// Where time is asked for along an axis of numbers x: of each series, the exponent p of `time ∝ xᵖ` over the upper half
    /// of x.
    pub exponents: Vec<(String, f64)>,
    /// Every run, in the order of the grid.
    pub runs: Vec<Record>,
    /// How many of them were made by an earlier call.
    pub taken: usize,
    /// The error of the first run that failed in this call.
    #[serde(skip)]
    pub failure: Option<Error>,
}

impl Answer {
    pub(super) fn new(study: &Study, points: &[Vec<Coordinate>], runs: Vec<Record>) -> Result<Self> {
        let titles = study.titles();
        let mut answer = Self {
            version: env!("CARGO_PKG_VERSION"),
            axes: study.kept_axes().into_iter().map(|place| titles[place].clone()).collect(),
            rows: summarise(study, points, &runs),
            exponents: Vec::new(),
            study: study.clone(),
            runs,
            taken: 0,
            failure: None,
        };
        answer.exponents = answer.fit(study.measure()?);
        Ok(answer)
    }

    /// How many runs failed.
    pub fn failed(&self) -> usize {
        self.rows.iter().map(|row| row.failed).sum()
    }

    /// Header and cells of the table: axes, the measures that differ between rows, the numbers of runs where several are
    /// averaged, and of those that failed if any did.
    pub fn table(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let measures: Vec<&Measure> = self.measures().filter(|measure| !self.is_constant(measure)).collect();
        let (averaged, failed) = (self.study.over.is_some(), self.failed() > 0);
        let counts = [averaged.then_some("runs"), failed.then_some("failed")].into_iter().flatten();
        let titles = measures.iter().map(|measure| measure.title).chain(counts).map(str::to_owned);
        let header = self.axes.iter().cloned().chain(titles).collect();
        let cells = |row: &Row| {
            let counts = [averaged.then_some(row.runs), failed.then_some(row.failed)].into_iter().flatten();
            let numbers =
                measures.iter().map(|measure| cell(measure, row)).chain(counts.map(|count| count.to_string()));
            row.point.iter().cloned().chain(numbers).collect()
        };
        (header, self.rows.iter().map(cells).collect())
    }

    /// Title and value of the measures that are the same in all rows.
    pub fn constants(&self) -> Vec<(&'static str, String)> {
        let constant = self.measures().filter(|measure| self.is_constant(measure));
        constant.map(|measure| (measure.title, cell(measure, &self.rows[0]))).collect()
    }

    /// The exponents as sentences.
    pub fn growth(&self) -> Vec<String> {
        let sentence = |(series, exponent): &(String, f64)| {
            let of = if series.is_empty() { String::new() } else { format!("{series}: ") };
            format!("{of}time grows as {}^{exponent:.2} over the upper half", self.x_title())
        };
        self.exponents.iter().map(sentence).collect()
    }

    /// The table as Markdown, with what is the same for all rows, and what failed.
    pub fn markdown(&self) -> String {
        let (header, rows) = self.table();
        let words = self.axes.len();
        let rule: Vec<&str> = (0..header.len()).map(|place| if place < words { "---" } else { "---:" }).collect();
        let mut text = format!("# {}\n\n{}\n\n", self.study.name, self.study.question);
        text += &format!(
            "{}| {} |\n{}",
            line(&header),
            rule.join(" | "),
            rows.iter().map(|row| line(row)).collect::<String>()
        );
        if let Some(over) = &self.study.over {
            text += &format!("\nMean ± sample standard deviation over `{over}`.\n");
        }
        let constants: Vec<String> = self.constants().iter().map(|(title, value)| format!("{title} {value}")).collect();
        if !constants.is_empty() {
            text += &format!("\nThe same in all rows: {}.\n", constants.join("; "));
        }
        let failures = self.runs.iter().filter_map(failure_of);
        text.extend(self.growth().into_iter().chain(failures).map(|sentence| format!("\n{sentence}.\n")));
        text += "\n![plot](plot.svg)\n";
        let costs = self.study.costs().unwrap_or_default();
        text.extend(costs.into_iter().map(|cost| format!("\n![plot against {}]({})\n", cost.title, plot_name(cost))));
        text
    }

    /// Those that any row has.
    fn measures(&self) -> impl Iterator<Item = &'static Measure> {
        MEASURES.iter().filter(|measure| self.rows.iter().any(|row| row.measures.contains_key(measure.name)))
    }

    /// Whether a measure, other than the one asked for, says nothing that one number would not.
    fn is_constant(&self, measure: &Measure) -> bool {
        let asked = self.study.measure().is_ok_and(|asked| asked.name == measure.name);
        let first = self.rows.first().and_then(|row| row.measures.get(measure.name));
        let same = |row: &Row| {
            row.runs == 0
                || row.measures.get(measure.name).zip(first).is_some_and(|(one, first)| {
                    one.deviation.is_none_or(|deviation| deviation <= 1e-12 * one.mean.abs())
                        && (one.mean - first.mean).abs() <= 1e-12 * first.mean.abs()
                })
        };
        !asked && self.rows.len() > 1 && first.is_some() && self.rows.iter().all(same)
    }
}

/// The file of the plot against a measure.
pub(super) fn plot_name(cost: &Measure) -> String {
    format!("plot_{}.svg", cost.name)
}

fn cell(measure: &Measure, row: &Row) -> String {
    match row.measures.get(measure.name) {
        None => "–".into(),
        Some(&Statistic { mean, deviation: Some(deviation) }) if deviation > 1e-12 * mean.abs() => {
            with_deviation(mean / measure.unit, deviation / measure.unit)
        }
        Some(Statistic { mean, .. }) => significant(mean / measure.unit, 4),
    }
}

fn line(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}

fn failure_of(record: &Record) -> Option<String> {
    let Outcome::Failed(message) = &record.outcome else { return None };
    let point: Vec<_> = record.point.iter().map(|(axis, label)| format!("{axis} {label}")).collect();
    Some(format!("Failed: {}: {message}", point.join(", ")))
}
