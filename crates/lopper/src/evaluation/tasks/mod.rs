//! Tasks: how the rows of a data set become questions. One short file each; `TASKS` is the table that `lopper list`, the
//! documentation and the tests walk over.
//!
//! Prompts and scoring are those of the tasks of the same name and version in lm-evaluation-harness 0.4, so that scores can be
//! compared: a choice's score is the log-likelihood of " " and the choice after the context.

mod arc;
mod boolq;
mod copa;
mod hellaswag;
mod lambada;
mod mmlu;
mod openbookqa;
mod piqa;
mod rte;
mod sciq;
mod template;
mod winogrande;

use std::path::PathBuf;

use super::row::Row;
use crate::error::{Error, Result};

pub use template::{parse_task, read_task};

/// Every built-in task.
pub const TASKS: &[BuiltIn] = &[
    lambada::OPENAI,
    hellaswag::HELLASWAG,
    piqa::PIQA,
    arc::EASY,
    arc::CHALLENGE,
    winogrande::WINOGRANDE,
    boolq::BOOLQ,
    rte::RTE,
    openbookqa::OPENBOOKQA,
    sciq::SCIQ,
    copa::COPA,
    mmlu::MMLU,
];

/// A row to a question, or what is wrong with the row.
pub type Ask = fn(&Row) -> Result<Question, String>;

/// A task as a constant.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn {
    /// Its name, as in lm-evaluation-harness.
    pub name: &'static str,
    /// Of its prompts; results of different versions are not to be compared.
    pub version: &'static str,
    /// What it asks.
    pub summary: &'static str,
    /// Its questions.
    pub data: DataSet,
    /// Where examples come from.
    pub examples: Examples,
    /// What is measured.
    pub metrics: &'static [Metric],
    /// Row to question.
    pub ask: Ask,
}

/// A split of a published data set.
#[derive(Clone, Copy, Debug)]
pub struct DataSet {
    /// How files of it are called.
    pub name: &'static str,
    /// Id on the Hub.
    pub id: &'static str,
    /// Which of the data set's configurations; empty where there is one only.
    pub configuration: &'static str,
    /// The split that is evaluated.
    pub split: &'static str,
}

/// Where the examples of a few-shot context come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Examples {
    /// Drawn anew for each question, by a seed, from this split.
    Drawn(&'static str),
    /// The first of this split that agree with the question in a field.
    First {
        /// The split.
        split: &'static str,
        /// The field.
        alike: &'static str,
    },
}

impl Examples {
    /// The split they come from.
    pub fn split(self) -> &'static str {
        match self {
            Self::Drawn(split) | Self::First { split, .. } => split,
        }
    }
}

/// What is measured of the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Share of questions whose best choice is right; of those without choices, where greedy decoding gives the answer.
    Acc,
    /// The same, the log-likelihood of a choice divided by its length in characters.
    AccNorm,
    /// `exp(−mean log-likelihood)` of the answers.
    Perplexity,
}

impl Metric {
    /// As in lm-evaluation-harness.
    pub fn name(self) -> &'static str {
        match self {
            Self::Acc => "acc",
            Self::AccNorm => "acc_norm",
            Self::Perplexity => "perplexity",
        }
    }
}

/// A context and what may follow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// What the model has read.
    pub context: String,
    /// Whose log-likelihood is asked for.
    pub continuation: String,
}

/// A document as the model sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What stands before everything else, examples included.
    pub preamble: String,
    /// One for each choice; of a question without choices the only one.
    pub prompts: Vec<Prompt>,
    /// Characters of each choice.
    pub lengths: Vec<usize>,
    /// Which prompt is right.
    pub gold: usize,
    /// What stands between context and continuation where the question is an example.
    pub between: &'static str,
}

impl Question {
    /// One context, and choices after a space.
    ///
    /// # Errors
    /// If there is no choice `gold`.
    pub fn choices(context: &str, choices: &[impl AsRef<str>], gold: usize) -> Result<Self, String> {
        let prompt = |choice: &&str| Prompt { context: context.to_owned(), continuation: format!(" {choice}") };
        let choices: Vec<&str> = choices.iter().map(AsRef::as_ref).collect();
        Self::new(choices.iter().map(prompt).collect(), choices.iter().map(|choice| choice.chars().count()), gold)
    }

    /// Several contexts with the same continuation after a space.
    ///
    /// # Errors
    /// If there is no context `gold`.
    pub fn contexts(contexts: &[String], continuation: &str, gold: usize) -> Result<Self, String> {
        let prompt = |context: &String| Prompt { context: context.clone(), continuation: format!(" {continuation}") };
        Self::new(contexts.iter().map(prompt).collect(), contexts.iter().map(|context| context.chars().count()), gold)
    }

    /// A continuation that is right where greedy decoding gives it.
    pub fn completion(context: String, continuation: String) -> Self {
        let lengths = vec![continuation.chars().count()];
        let prompts = vec![Prompt { context, continuation }];
        Self { preamble: String::new(), prompts, lengths, gold: 0, between: "" }
    }

    fn new(prompts: Vec<Prompt>, lengths: impl Iterator<Item = usize>, gold: usize) -> Result<Self, String> {
        if gold >= prompts.len() {
            return Err(format!("the right answer is number {gold} (from 0) of {} choices", prompts.len()));
        }
        Ok(Self { preamble: String::new(), prompts, lengths: lengths.collect(), gold, between: "" })
    }

    /// The question with its right answer, as one of the examples before another question.
    pub fn example(&self) -> String {
        let Prompt { context, continuation } = &self.prompts[self.gold];
        format!("{context}{}{continuation}", self.between)
    }
}

/// A task that can be run: a built-in one, or one of the user's.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its name in tables and files.
    pub name: String,
    /// Of its prompts.
    pub version: String,
    /// What is measured.
    pub metrics: Vec<Metric>,
    pub(super) kind: Kind,
}

/// Where a task's questions come from.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    BuiltIn(&'static BuiltIn),
    /// Files and how their rows are read.
    Described {
        questions: PathBuf,
        examples: Option<PathBuf>,
        template: template::Template,
    },
}

impl Task {
    /// The task called `name`: a built-in one, or that of a TOML file.
    ///
    /// # Errors
    /// If there is no such task, or the file describes none.
    pub fn open(name: &str) -> Result<Self> {
        if let Some(task) = TASKS.iter().find(|task| task.name == name) {
            return Ok(Self::built_in(task));
        }
        let path = PathBuf::from(name);
        if path.extension().is_some_and(|extension| extension == "toml") {
            return read_task(&path);
        }
        let names: Vec<&str> = TASKS.iter().map(|task| task.name).collect();
        Err(Error::Plan {
            problem: format!("there is no task {name:?}"),
            hint: Some(format!("one of {}, or a TOML file that describes one", names.join(", "))),
        })
    }

    fn built_in(task: &'static BuiltIn) -> Self {
        let &BuiltIn { name, version, metrics, .. } = task;
        Self { name: name.into(), version: version.into(), metrics: metrics.to_vec(), kind: Kind::BuiltIn(task) }
    }

    /// The question of a row.
    ///
    /// # Errors
    /// What is wrong with the row.
    pub fn ask(&self, row: &Row) -> Result<Question, String> {
        match &self.kind {
            Kind::BuiltIn(task) => (task.ask)(row),
            Kind::Described { template, .. } => template.ask(row),
        }
    }
}
