//! Runs that differ only on the axis averaged over, as one row: mean, sample standard deviation
//! `√(Σ (x − x̄)² / (n − 1))`, number of runs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::axis::Coordinate;
use super::definition::Study;
use super::directory::Record;
use crate::linalg::mean_and_variance;

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Labels on the axes that are not averaged over, in their order.
    pub point: Vec<String>,
    /// Their numbers, where they are numbers.
    #[serde(skip)]
    pub numbers: Vec<Option<f64>>,
    /// Runs that found something.
    pub runs: usize,
    /// Runs that failed.
    pub failed: usize,
    /// By name of the measure.
    pub measures: BTreeMap<String, Statistic>,
}

/// What several runs say of a measure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Statistic {
    /// Over the runs that have it.
    pub mean: f64,
    /// Sample standard deviation; of a single run there is none.
    pub deviation: Option<f64>,
}

impl Statistic {
    /// Of at least one value.
    fn of(values: &[f64]) -> Self {
        let (mean, variance) = mean_and_variance(values);
        Self { mean, deviation: variance.map(f64::sqrt) }
    }
}

/// A row for each point of the kept axes, in the order of the grid.
pub(super) fn summarise(study: &Study, points: &[Vec<Coordinate>], records: &[Record]) -> Vec<Row> {
    let kept = study.kept_axes();
    let mut groups: Vec<(Vec<&Coordinate>, Vec<&Record>)> = Vec::new();
    for (point, record) in points.iter().zip(records) {
        let point: Vec<&Coordinate> = kept.iter().map(|&place| &point[place]).collect();
        match groups.iter_mut().find(|(known, _)| *known == point) {
            Some((_, records)) => records.push(record),
            None => groups.push((point, vec![record])),
        }
    }
    groups.into_iter().map(|(point, records)| row(&point, &records)).collect()
}

fn row(point: &[&Coordinate], records: &[&Record]) -> Row {
    let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let found: Vec<_> = records.iter().filter_map(|record| record.finding()).collect();
    for (name, value) in found.iter().flat_map(|finding| &finding.measures) {
        values.entry(name.clone()).or_default().push(*value);
    }
    Row {
        point: point.iter().map(|coordinate| coordinate.label.clone()).collect(),
        numbers: point.iter().map(|coordinate| coordinate.number).collect(),
        runs: found.len(),
        failed: records.len() - found.len(),
        measures: values.into_iter().map(|(name, values)| (name, Statistic::of(&values))).collect(),
    }
}

/// The exponent p of `y = c·xᵖ` by least squares on the logarithms of the upper half of the values, where lower orders no
/// longer count; none of fewer than three values, or values that are not positive.
pub(super) fn exponent(dots: &[(f64, f64)]) -> Option<f64> {
    let upper = &dots[dots.len().saturating_sub((dots.len() / 2 + 1).max(3))..];
    if upper.len() < 3 || upper.iter().any(|&(x, y)| x <= 0.0 || y <= 0.0) {
        return None;
    }
    let logs: Vec<(f64, f64)> = upper.iter().map(|&(x, y)| (x.ln(), y.ln())).collect();
    let count = logs.len() as f64;
    let (mean_x, mean_y) = logs.iter().fold((0.0, 0.0), |(a, b), (x, y)| (a + x / count, b + y / count));
    let covariance: f64 = logs.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let variance: f64 = logs.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    (variance > 0.0).then(|| covariance / variance)
}

#[cfg(test)]
mod tests {
    use super::super::directory::{Finding, Outcome};
    use super::{Record, Statistic, exponent, summarise};
    use crate::study::Study;
    use crate::study::grid::product;

    #[test]
    fn a_statistic_is_mean_and_sample_deviation() {
        assert_eq!(Statistic::of(&[2.0, 4.0, 6.0]), Statistic { mean: 4.0, deviation: Some(2.0) });
        assert_eq!(Statistic::of(&[3.0]), Statistic { mean: 3.0, deviation: None });
    }

    #[test]
    fn the_exponent_is_that_of_the_upper_half() {
        let cubic: Vec<_> =
            [1.0_f64, 2.0, 4.0, 8.0, 16.0].map(|x| (x, 5.0 * x.powi(3) + if x < 3.0 { 1e3 } else { 0.0 })).into();
        assert!((exponent(&cubic).expect("a fit") - 3.0).abs() < 1e-9);
        assert_eq!(exponent(&cubic[..2]), None);
        assert_eq!(exponent(&[(1.0, 1.0), (2.0, 0.0), (3.0, 1.0)]), None);
    }

    #[test]
    fn runs_are_grouped_by_all_axes_but_the_one_averaged_over_and_failures_are_counted() {
        let text = "name = 'n'\nquestion = 'q?'\nx = 'd'\nover = 's'\n[[axes]]\nkey = 's'\nvalues = [0, 1, 2]\n[[axes]]\nkey = 'd'\nvalues = [0.5, 1]\n";
        let study = Study::parse(text, "s").expect("valid");
        let points = product(&study.axes);
        let record = |number: usize| Record {
            version: String::new(),
            fingerprint: number.to_string(),
            point: [].into(),
            settings: serde_json::Value::Null,
            outcome: if number == 5 {
                Outcome::Failed("no".into())
            } else {
                Outcome::Done(Finding { measures: [("seconds".into(), number as f64)].into(), ..Finding::default() })
            },
        };
        let records: Vec<_> = (0..6).map(record).collect();
        let rows = summarise(&study, &points, &records);
        let shown: Vec<_> =
            rows.iter().map(|row| (row.point[0].as_str(), row.numbers[0], row.runs, row.failed)).collect();
        assert_eq!(shown, [("0.5", Some(0.5), 3, 0), ("1", Some(1.0), 2, 1)]);
        assert_eq!(rows[0].measures["seconds"], Statistic { mean: 2.0, deviation: Some(2.0) });
        assert_eq!(rows[1].measures["seconds"], Statistic { mean: 2.0, deviation: Some(2.0_f64.sqrt()) });
    }
}
