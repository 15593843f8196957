//! What a study found, as a table, as JSON and as a plot.

use serde::Serialize;

use super::axis::Coordinate;
use super::definition::Study;
use super::directory::{Outcome, Record};
use super::measures::{MEASURES, Measure, significant, with_deviation};
use super::summary::{Row, Statistic, exponent, summarise};
use crate::chart::{Chart, Dot, Horizontal, Series};
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
    /// Exponents p of `measure ∝ xᵖ`, by series, where both axes are numbers and nothing else was asked.
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
    pub(super) fn new(study: &Study, points: &[Vec<Coordinate>], runs: Vec<Record>) -> Self {
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
        answer.exponents = answer.fit();
        answer
    }

    /// How many runs failed.
    pub fn failed(&self) -> usize {
        self.rows.iter().map(|row| row.failed).sum()
    }

    /// Header and cells of the table: axes, the measures that any run has, and the number of runs where several are averaged.
    pub fn table(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let measures: Vec<&Measure> = MEASURES
            .iter()
            .filter(|measure| self.rows.iter().any(|row| row.measures.contains_key(measure.name)))
            .collect();
        let (counted, failed) = (self.study.over.is_some(), self.failed() > 0);
        let mut header: Vec<String> = self.axes.clone();
        header.extend(measures.iter().map(|measure| measure.title.to_owned()));
        header.extend(counted.then(|| "runs".into()).into_iter().chain(failed.then(|| "failed".into())));
        let cells = |row: &Row| {
            let mut cells = row.point.clone();
            cells.extend(measures.iter().map(|measure| cell(measure, row.measures.get(measure.name))));
            cells.extend(
                counted.then(|| row.runs.to_string()).into_iter().chain(failed.then(|| row.failed.to_string())),
            );
            cells
        };
        (header, self.rows.iter().map(cells).collect())
    }

    /// The table as Markdown, with what failed and how it was run.
    pub fn markdown(&self) -> String {
        let (header, rows) = self.table();
        let line = |cells: &[String]| {
            format!("| {} |\n", cells.iter().map(|cell| cell.replace('|', "\\|")).collect::<Vec<_>>().join(" | "))
        };
        let words = self.axes.len();
        let rule: Vec<String> =
            (0..header.len()).map(|place| if place < words { "---" } else { "---:" }.into()).collect();
        let mut text = format!("# {}\n\n{}\n\n{}{}", self.study.name, self.study.question, line(&header), line(&rule));
        text.extend(rows.iter().map(|cells| line(cells)));
        if let Some(over) = &self.study.over {
            text += &format!("\nMean ± sample standard deviation over `{over}`.\n");
        }
        for (series, exponent) in &self.exponents {
            let of = if series.is_empty() { String::new() } else { format!("{series}: ") };
            text += &format!("\n{of}grows as {}^{exponent:.2} in the upper half.\n", self.x_title());
        }
        for record in &self.runs {
            if let Outcome::Failed(message) = &record.outcome {
                let point: Vec<_> = record.point.iter().map(|(axis, label)| format!("{axis} {label}")).collect();
                text += &format!("\nFailed: {}: {message}\n", point.join(", "));
            }
        }
        text + "\n![plot](plot.svg)\n"
    }

    /// The plot as SVG.
    ///
    /// # Errors
    /// If the study has no measure.
    pub fn plot(&self) -> Result<String> {
        let measure = self.study.measure()?;
        let x_place = self.x_place();
        let numbers: Option<Vec<f64>> = self.rows.iter().map(|row| row.numbers[x_place]).collect();
        let mut words: Vec<String> = Vec::new();
        for row in self.rows.iter().filter(|_| numbers.is_none()) {
            if !words.contains(&row.point[x_place]) {
                words.push(row.point[x_place].clone());
            }
        }
        let horizontal = |row: &Row| {
            let word = || words.iter().position(|word| *word == row.point[x_place]).map(|place| place as f64);
            row.numbers[x_place].filter(|_| numbers.is_some()).or_else(word)
        };
        let series = self.series(measure, &horizontal);
        let mut y_title = measure.title.to_owned();
        if self.study.over.is_some() {
            y_title += ", mean ± standard deviation";
        }
        let chart = Chart {
            title: self.study.question.clone(),
            x_title: self.x_title(),
            y_title,
            x: numbers.clone().map_or(Horizontal::Categories(words.clone()), Horizontal::Numbers),
            series,
            reference: self.dense().filter(|_| measure.name == "perplexity"),
        };
        Ok(chart.to_svg())
    }

    /// Dots by the labels on the axes told apart by colour.
    fn series(&self, measure: &Measure, horizontal: &dyn Fn(&Row) -> Option<f64>) -> Vec<Series> {
        let mut all: Vec<Series> = Vec::new();
        for row in &self.rows {
            let name = self.series_name(row);
            let statistic = row.measures.get(measure.name);
            let dot = statistic.zip(horizontal(row)).map(|(statistic, x)| Dot {
                x,
                y: statistic.mean / measure.unit,
                deviation: statistic.deviation.map(|deviation| deviation / measure.unit),
            });
            match all.iter_mut().find(|series| series.name == name) {
                Some(series) => series.dots.extend(dot),
                None => all.push(Series { name, dots: dot.into_iter().collect() }),
            }
        }
        for series in &mut all {
            series.dots.sort_by(|a, b| a.x.total_cmp(&b.x));
            if let Some((_, exponent)) = self.exponents.iter().find(|(name, _)| *name == series.name) {
                series.name += &format!(" (∝ {}^{exponent:.2})", self.x_title());
            }
        }
        all
    }

    /// What a series is called: labels; numbers with the name of their axis.
    fn series_name(&self, row: &Row) -> String {
        let kept = self.study.kept_axes();
        let of = |place: usize| {
            let place = kept.iter().position(|&one| one == place)?;
            let label = row.point[place].clone();
            Some(if row.numbers[place].is_some() { format!("{} {label}", self.axes[place]) } else { label })
        };
        self.study.series_axes().into_iter().filter_map(of).collect::<Vec<_>>().join(", ")
    }

    /// Power laws, of studies that ask how time grows.
    fn fit(&self) -> Vec<(String, f64)> {
        let Ok(measure) = self.study.measure() else { return Vec::new() };
        if !measure.name.starts_with("seconds") {
            return Vec::new();
        }
        let x_place = self.x_place();
        let fit = |series: Series| {
            let dots: Vec<(f64, f64)> = series.dots.iter().map(|dot| (dot.x, dot.y)).collect();
            Some((series.name, exponent(&dots)?))
        };
        self.series(measure, &|row| row.numbers[x_place]).into_iter().filter_map(fit).collect()
    }

    fn x_title(&self) -> String {
        self.axes[self.x_place()].clone()
    }

    /// The place of x among the axes that are kept.
    fn x_place(&self) -> usize {
        let kept = self.study.kept_axes();
        kept.iter().position(|&place| self.study.axes[place].name() == self.study.x).unwrap_or(0)
    }

    /// The perplexity of the dense model, if it is the same for all rows.
    fn dense(&self) -> Option<(String, f64)> {
        let mut known = self.rows.iter().filter_map(|row| Some(row.measures.get("dense")?.mean));
        let first = known.next()?;
        known
            .all(|other| (other - first).abs() <= 1e-9 * first)
            .then(|| (format!("dense {}", significant(first, 4)), first))
    }
}

fn cell(measure: &Measure, statistic: Option<&Statistic>) -> String {
    match statistic {
        None => "–".into(),
        Some(Statistic { mean, deviation: None }) => significant(mean / measure.unit, 4),
        Some(Statistic { mean, deviation: Some(deviation) }) => {
            with_deviation(mean / measure.unit, deviation / measure.unit)
        }
    }
}
