//! A study as data: a question, what every run shares, and the axes whose product is the grid. Read from TOML.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use toml::Table;

use super::axis::Axis;
use super::measures::Measure;
use super::wrong;
use crate::error::{Error, Result};
use crate::text::from_toml;

/// More runs than this are a mistake.
pub(super) const MOST_RUNS: usize = 1000;

/// What is asked, and by which runs it is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Study {
    /// A word.
    pub name: String,
    /// One sentence; the title of table and plot.
    pub question: String,
    /// What a run is.
    #[serde(default)]
    pub runner: Runner,
    /// What the plot shows: a name of [`super::MEASURES`]; the runner's own choice if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<String>,
    /// Measures against which that is shown too, each in a plot of its own: what a result costs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub against: Vec<String>,
    /// The axis that lies horizontally in the plot.
    pub x: String,
    /// The axes told apart by colour; all that are left if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub series: Vec<String>,
    /// The axis whose runs become mean ± standard deviation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<String>,
    /// Settings of every run, as they stand in a plan (or in [`super::SolverTiming`]).
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub base: Table,
    /// What varies.
    pub axes: Vec<Axis>,
}

/// What a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runner {
    /// A model is pruned as a plan says; settings are the keys of the plan.
    #[default]
    Prune,
    /// A compensation is timed on a random layer; settings are those of [`super::SolverTiming`].
    Solver,
}

impl Study {
    /// Reads a study from a file.
    ///
    /// # Errors
    /// If it cannot be read, or is no study.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        Self::parse(&text, &path.display().to_string())
    }

    /// From TOML; `origin` is what it is called in errors.
    ///
    /// # Errors
    /// If it has unknown keys, or contradicts itself.
    pub fn parse(text: &str, origin: &str) -> Result<Self> {
        let study: Self = from_toml(text).map_err(|error| wrong(&format!("{origin}: {error}"), SHAPE_HINT))?;
        let named = |error: Error| wrong(&format!("{origin}: {error}"), error.hint().unwrap_or_default());
        study.check().map_err(named)?;
        Ok(study)
    }

    /// As TOML.
    ///
    /// # Errors
    /// If a setting has no such form.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|error| wrong(&format!("the study cannot be written: {error}"), ""))
    }

    /// Replaces the axis of this name, or adds it.
    ///
    /// # Errors
    /// If the study contradicts itself afterwards.
    pub fn set_axis(&mut self, axis: Axis) -> Result<()> {
        match self.axes.iter_mut().find(|known| known.name() == axis.name()) {
            Some(known) => *known = axis,
            None => self.axes.push(axis),
        }
        self.check()
    }

    /// What the plot shows.
    ///
    /// # Errors
    /// If there is no measure of that name.
    pub fn measure(&self) -> Result<&'static Measure> {
        let own = match self.runner {
            Runner::Prune => "perplexity",
            Runner::Solver => "seconds",
        };
        Measure::by_name(self.measure.as_deref().unwrap_or(own))
    }

    /// What that is shown against.
    ///
    /// # Errors
    /// If there is no measure of a name.
    pub fn costs(&self) -> Result<Vec<&'static Measure>> {
        self.against.iter().map(|name| Measure::by_name(name)).collect()
    }

    /// How many runs the grid has.
    pub fn runs(&self) -> usize {
        self.axes.iter().map(Axis::len).product()
    }

    /// The place of an axis.
    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.axes.iter().position(|axis| axis.name() == name)
    }

    /// The places of the axes that runs are not averaged over.
    pub(super) fn kept_axes(&self) -> Vec<usize> {
        let over = self.over.as_deref();
        (0..self.axes.len()).filter(|&place| Some(self.axes[place].name()) != over).collect()
    }

    /// The places of the axes told apart by colour.
    pub(super) fn series_axes(&self) -> Vec<usize> {
        if self.series.is_empty() {
            return self.kept_axes().into_iter().filter(|&place| self.axes[place].name() != self.x).collect();
        }
        self.series.iter().filter_map(|name| self.place(name)).collect()
    }

    /// What axes are called in tables and plots: the last part of a key where that is distinct.
    pub(super) fn titles(&self) -> Vec<String> {
        let last = |axis: &Axis| axis.name().rsplit('.').next().unwrap_or_default().to_owned();
        let distinct = self.axes.iter().map(last).collect::<BTreeSet<_>>().len() == self.axes.len();
        self.axes.iter().map(|axis| if distinct { last(axis) } else { axis.name().to_owned() }).collect()
    }

    /// Whatever can be known to be wrong without knowing the settings.
    fn check(&self) -> Result<()> {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.name.is_empty() || !self.name.chars().all(word) {
            return Err(wrong(&format!("the study's name {:?} is not a word", self.name), "use letters, digits and -"));
        }
        self.measure()?;
        self.costs()?;
        self.check_axes()?;
        self.check_roles()
    }

    fn check_axes(&self) -> Result<()> {
        let mut names = BTreeSet::new();
        for axis in &self.axes {
            axis.check()?;
            if !names.insert(axis.name()) {
                return Err(wrong(&format!("the axis {} is there twice", axis.name()), "give all its values in one"));
            }
        }
        let runs = self.axes.iter().try_fold(1_usize, |runs, axis| runs.checked_mul(axis.len()));
        match runs {
            Some(runs) if runs <= MOST_RUNS => Ok(()),
            _ => Err(wrong(
                &format!(
                    "the grid has {} runs, more than {MOST_RUNS}",
                    runs.map_or_else(|| "too many".into(), |runs| runs.to_string())
                ),
                "give the axes fewer values, or split the study",
            )),
        }
    }

    /// Every axis must be seen in the plot, or averaged over, and only once.
    fn check_roles(&self) -> Result<()> {
        let roles = [Some(&self.x), self.over.as_ref()].into_iter().flatten().chain(&self.series);
        let mut taken = BTreeSet::new();
        for name in roles {
            if self.place(name).is_none() {
                let known: Vec<_> = self.axes.iter().map(Axis::name).collect();
                return Err(wrong(&format!("there is no axis {name}"), &format!("the axes are {}", known.join(", "))));
            }
            if !taken.insert(name.as_str()) {
                return Err(wrong(&format!("the axis {name} is used twice"), "x, series and over exclude each other"));
            }
        }
        let unseen = self.axes.iter().find(|axis| !self.series.is_empty() && !taken.contains(axis.name()));
        match unseen {
            Some(axis) => Err(wrong(
                &format!("the axis {} is neither x, nor in series, nor over", axis.name()),
                "add it to series, or leave series out: it then holds every axis that is left",
            )),
            None => Ok(()),
        }
    }
}

const SHAPE_HINT: &str = "docs/studies.md shows what a study looks like; `lopper study --list` names those built in";

#[cfg(test)]
mod tests {
    use super::Study;

    const GOOD: &str =
        "name = 'n'\nquestion = 'q?'\nx = 'pruning.damping'\n[[axes]]\nkey = 'pruning.damping'\nvalues = [0.1, 1]\n";

    fn refused(text: &str) -> String {
        Study::parse(text, "s.toml").expect_err("refused").to_string()
    }

    #[test]
    fn reads_what_it_writes() {
        let text = format!(
            "{GOOD}[[axes]]\nname = 'method'\n[[axes.values]]\nlabel = 'w'\npruning.criterion = 'wanda'\n[base.pruning]\nsparsity = 0.5\n"
        );
        let study = Study::parse(&text, "s.toml").expect("valid");
        assert_eq!(Study::parse(&study.to_toml().expect("TOML"), "again").expect("valid"), study);
        assert_eq!(study.titles(), ["damping", "method"]);
        assert_eq!((study.kept_axes(), study.series_axes()), (vec![0, 1], vec![1]));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let axis = "[[axes]]\nkey = 'pruning.damping'\nvalues = [1]\n";
        let seed = "[[axes]]\nkey = 'calibration.seed'\nvalues = [1]\n";
        let cases = [
            (GOOD.replace("name", "title"), "title"),
            (GOOD.replace("'n'", "'a/b'"), "not a word"),
            (format!("measure = 'speed'\n{GOOD}"), "speed"),
            (GOOD.replace("[0.1, 1]", "[]"), "no values"),
            (GOOD.replace("[0.1, 1]", "[1, 1]"), "twice"),
            (GOOD.replace("[0.1, 1]", "0.1"), "values"),
            (GOOD.replace("key =", "name ="), "not a table"),
            (format!("{GOOD}{axis}"), "pruning.damping is there twice"),
            (GOOD.replace("x = 'pruning", "x = 'prune"), "no axis prune.damping"),
            (format!("over = 'pruning.damping'\n{GOOD}"), "used twice"),
            (format!("over = 'other'\n{GOOD}"), "no axis other"),
            (
                format!("series = ['calibration.seed']\n{GOOD}{seed}{}", seed.replace("seed", "samples")),
                "samples is neither",
            ),
            (GOOD.replace("[0.1, 1]", &format!("{:?}", (0..1001).collect::<Vec<_>>())), "1001 runs"),
        ];
        for (text, expected) in cases {
            let message = refused(&text);
            assert!(message.contains(expected), "{message} should name {expected}");
        }
    }
}
