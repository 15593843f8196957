//! The plots of an answer: one measure along one axis, a colour for each point of the other axes; and the same measure against
//! others, a colour for each row.

use super::answer::Answer;
use super::measures::{Measure, significant};
use super::summary::{Row, exponent};
use crate::chart::{Chart, Dot, Horizontal, Series};
use crate::error::Result;

impl Answer {
    /// As SVG.
    ///
    /// # Errors
    /// If there is no measure of the name that the study gives.
    pub fn plot(&self) -> Result<String> {
        let measure = self.study.measure()?;
        let series = self.series(measure).into_iter().map(|series| self.with_exponent(series)).collect();
        Ok(self.chart(measure, self.x_title(), self.horizontal(), series).to_svg())
    }

    /// As SVG: what was asked for against what it costs; towards the lower left is better.
    ///
    /// # Errors
    /// As [`Answer::plot`].
    pub fn plot_against(&self, cost: &Measure) -> Result<String> {
        let measure = self.study.measure()?;
        let of = |row: &Row| {
            let (x, y) = row.measures.get(cost.name).zip(row.measures.get(measure.name))?;
            let deviation = y.deviation.map(|deviation| deviation / measure.unit);
            let dot = Dot { x: x.mean / cost.unit, y: y.mean / measure.unit, deviation };
            Some(Series { name: self.name(row, &self.study.kept_axes()), dots: vec![dot] })
        };
        let series: Vec<Series> = self.rows.iter().filter_map(of).collect();
        let x = Horizontal::Measured(series.iter().flat_map(|series| &series.dots).map(|dot| dot.x).collect());
        Ok(self.chart(measure, cost.title.into(), x, series).to_svg())
    }

    fn chart(&self, measure: &Measure, x_title: String, x: Horizontal, series: Vec<Series>) -> Chart {
        let averaged = if self.study.over.is_some() { ", mean ± standard deviation" } else { "" };
        Chart {
            title: self.study.question.clone(),
            x_title,
            y_title: format!("{}{averaged}", measure.title),
            x,
            series,
            reference: self.dense().filter(|_| measure.name == "perplexity"),
        }
    }

    /// What the horizontal axis is called.
    pub(super) fn x_title(&self) -> String {
        self.axes[self.x_place()].clone()
    }

    /// Power laws of time, where x is a number.
    pub(super) fn fit(&self, measure: &Measure) -> Vec<(String, f64)> {
        if !measure.name.starts_with("seconds") || matches!(self.horizontal(), Horizontal::Categories(_)) {
            return Vec::new();
        }
        let fit = |series: Series| {
            let dots: Vec<(f64, f64)> = series.dots.iter().map(|dot| (dot.x, dot.y)).collect();
            Some((series.name, exponent(&dots)?))
        };
        self.series(measure).into_iter().filter_map(fit).collect()
    }

    /// Numbers if all rows have one, else the words in their order.
    fn horizontal(&self) -> Horizontal {
        let place = self.x_place();
        if let Some(numbers) = self.rows.iter().map(|row| row.numbers[place]).collect() {
            return Horizontal::Numbers(numbers);
        }
        let mut words: Vec<String> = Vec::new();
        for row in &self.rows {
            if !words.contains(&row.point[place]) {
                words.push(row.point[place].clone());
            }
        }
        Horizontal::Categories(words)
    }

    /// Dots by the labels on the axes told apart by colour, from left to right.
    fn series(&self, measure: &Measure) -> Vec<Series> {
        let (horizontal, place) = (self.horizontal(), self.x_place());
        let x_of = |row: &Row| match &horizontal {
            Horizontal::Numbers(_) | Horizontal::Measured(_) => row.numbers[place],
            Horizontal::Categories(words) => {
                words.iter().position(|word| *word == row.point[place]).map(|word| word as f64)
            }
        };
        let mut all: Vec<Series> = Vec::new();
        for row in &self.rows {
            let name = self.name(row, &self.study.series_axes());
            let dot = row.measures.get(measure.name).zip(x_of(row)).map(|(statistic, x)| Dot {
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
        }
        all
    }

    /// What a row is called by its places on some axes: labels; numbers with the name of their axis.
    fn name(&self, row: &Row, axes: &[usize]) -> String {
        let kept = self.study.kept_axes();
        let of = |axis: usize| {
            let place = kept.iter().position(|&one| one == axis)?;
            let label = row.point[place].clone();
            Some(if row.numbers[place].is_some() { format!("{} {label}", self.axes[place]) } else { label })
        };
        axes.iter().filter_map(|&axis| of(axis)).collect::<Vec<_>>().join(", ")
    }

    fn with_exponent(&self, mut series: Series) -> Series {
        if let Some((_, exponent)) = self.exponents.iter().find(|(name, _)| *name == series.name) {
            series.name += &format!(" (∝ {}^{exponent:.2})", self.x_title());
        }
        series
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
        let same = known.all(|other| (other - first).abs() <= 1e-9 * first);
        same.then(|| (format!("dense {}", significant(first, 4)), first))
    }
}
