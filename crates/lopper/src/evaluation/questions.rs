//! The questions of a task, read from its files, with examples before them if asked for.

use std::path::PathBuf;

use super::data::{files, rows};
use super::draw::Dice;
use super::row::Row;
use super::tasks::{DataSet, Examples, Kind, Question, Task};
use crate::error::{Error, Result};
use crate::hub::{HubSettings, Split, announce, split_files};
use crate::progress::Observer;

/// The seed with which lm-evaluation-harness draws examples.
pub const SEED: u64 = 1234;

/// Where the data sets of tasks are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In a directory: files named as docs/evaluation.md says.
    Directory(PathBuf),
    /// On the Hub, or in its cache.
    Hub(HubSettings),
}

impl Source {
    /// The Hub by the settings of the environment.
    pub fn hub() -> Self {
        Self::Hub(HubSettings::from_environment())
    }

    /// The files of a split.
    fn files(&self, data: &DataSet, split: &str, observer: &mut dyn Observer) -> Result<Vec<PathBuf>> {
        match self {
            Self::Directory(directory) => files(directory, data, split),
            Self::Hub(settings) => {
                let split = Split { data_set: data.id, configuration: data.configuration, name: split };
                split_files(&split, settings, &mut announce(observer))
            }
        }
    }
}

/// Which questions are asked and what stands before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asking {
    /// Where the data sets are.
    pub data: Source,
    /// At most so many questions of each task, from the beginning; all if absent.
    pub limit: Option<usize>,
    /// Examples before each question.
    pub examples: usize,
    /// The split that examples come from; the task's own if absent.
    pub split: Option<String>,
    /// Of the draw of examples.
    pub seed: u64,
}

impl Default for Asking {
    fn default() -> Self {
        Self { data: Source::hub(), limit: None, examples: 0, split: None, seed: SEED }
    }
}

/// A task with its questions.
#[derive(Clone, Debug)]
pub struct QuestionSet {
    /// What is asked.
    pub task: Task,
    /// The questions that count, their contexts with preamble and examples.
    pub questions: Vec<Question>,
    /// How many the files hold.
    pub available: usize,
    /// Examples before each.
    pub examples: usize,
}

impl QuestionSet {
    /// Reads the questions of a task; `observer` is told of what has to be fetched.
    ///
    /// # Errors
    /// If a file is missing, or a row is not what the task expects.
    pub fn read(task: Task, asking: &Asking, observer: &mut dyn Observer) -> Result<Self> {
        let all = rows(&question_files(&task, asking, observer)?)?;
        let available = all.len();
        let mut asked = Vec::new();
        let pool = Pool::read(&task, asking, observer)?;
        let mut dice = Dice::new(asking.seed);
        for (place, row) in all.iter().enumerate().take(asking.limit.unwrap_or(usize::MAX)) {
            let mut question = ask(&task, row, place)?;
            let before = pool.before(&task, row, &mut dice)?;
            for prompt in &mut question.prompts {
                prompt.context = format!("{}{before}{}", question.preamble, prompt.context);
            }
            asked.push(question);
        }
        Ok(Self { task, questions: asked, available, examples: asking.examples })
    }
}

/// The question of a row; an error names task and row.
fn ask(task: &Task, row: &Row, place: usize) -> Result<Question> {
    task.ask(row).map_err(|problem| Error::Text {
        problem: format!("{}: row {place} (from 0) of its data: {problem}", task.name),
        hint: Some(hint(&task.kind).into()),
    })
}

/// What a row of the data of a task has to be.
fn hint(kind: &Kind) -> &'static str {
    match kind {
        Kind::BuiltIn(_) => "the columns are those of the data set on the Hub; docs/evaluation.md lists them",
        Kind::Described { .. } => {
            "in the texts of a task {field} is a column of its data, {{ and }} are braces; `gold` is the number of a choice from 0, the choice itself, or one of `labels`, as labels = [\"A\", \"B\"] or [\"1\", \"2\"]"
        }
    }
}

fn question_files(task: &Task, asking: &Asking, observer: &mut dyn Observer) -> Result<Vec<PathBuf>> {
    match &task.kind {
        Kind::BuiltIn(built_in) => asking.data.files(&built_in.data, built_in.data.split, observer),
        Kind::Described { questions, .. } => Ok(vec![questions.clone()]),
    }
}

/// Where examples are taken from.
struct Pool {
    rows: Vec<Row>,
    count: usize,
    /// Drawn beyond `count`, as the harness does for tasks without a test split.
    spare: usize,
    /// The field in which examples are like the question; drawn from all where there is none.
    alike: Option<&'static str>,
}

impl Pool {
    fn read(task: &Task, asking: &Asking, observer: &mut dyn Observer) -> Result<Self> {
        let none = Self { rows: Vec::new(), count: 0, spare: 0, alike: None };
        if asking.examples == 0 {
            return Ok(none);
        }
        let (files, spare, alike) = match &task.kind {
            Kind::BuiltIn(built_in) => {
                let split = asking.split.as_deref().unwrap_or(built_in.examples.split());
                let alike = match built_in.examples {
                    Examples::First { alike, .. } => Some(alike),
                    Examples::Drawn(_) => None,
                };
                let spare = usize::from(built_in.data.split == "validation");
                (asking.data.files(&built_in.data, split, observer)?, spare, alike)
            }
            Kind::Described { examples, .. } => {
                let file = examples.clone().ok_or_else(|| Error::Plan {
                    problem: format!("the task {} names no file of examples", task.name),
                    hint: Some("add `examples = \"FILE\"` to its description".into()),
                })?;
                (vec![file], 0, None)
            }
        };
        let pool = Self { rows: rows(&files)?, count: asking.examples, spare, alike };
        pool.check(task)?;
        Ok(pool)
    }

    fn check(&self, task: &Task) -> Result<()> {
        if self.rows.len() >= self.count.saturating_add(self.spare) {
            return Ok(());
        }
        Err(self.short(task, self.rows.len()))
    }

    fn short(&self, task: &Task, there: usize) -> Error {
        Error::Plan {
            problem: format!("{} examples are asked for, the data of {} has {there}", self.count, task.name),
            hint: Some("lower --num-fewshot".into()),
        }
    }

    /// The examples before the question of `row`, each followed by an empty line.
    fn before(&self, task: &Task, row: &Row, dice: &mut Dice) -> Result<String> {
        if self.count == 0 {
            return Ok(String::new());
        }
        let rows = match self.alike {
            Some(field) => self.first(row, field),
            None => self.draw(row, dice),
        };
        if rows.len() < self.count {
            return Err(self.short(task, rows.len()));
        }
        let examples = rows.into_iter().map(|(place, row)| Ok(format!("{}\n\n", ask(task, row, place)?.example())));
        examples.collect()
    }

    fn first(&self, row: &Row, field: &str) -> Vec<(usize, &Row)> {
        let alike = |(_, other): &(usize, &Row)| other.value(field).ok() == row.value(field).ok() && *other != row;
        self.rows.iter().enumerate().filter(alike).take(self.count).collect()
    }

    /// Draws, and draws again where the question itself came.
    fn draw(&self, row: &Row, dice: &mut Dice) -> Vec<(usize, &Row)> {
        let mut drawn = dice.sample(self.rows.len(), self.count + self.spare);
        drawn.retain(|&place| self.rows[place] != *row);
        drawn.truncate(self.count);
        // copies of the question might be all that is left
        for _ in 0..self.rows.len() {
            if drawn.len() == self.count {
                break;
            }
            let place = dice.sample(self.rows.len(), 1)[0];
            if !drawn.contains(&place) && self.rows[place] != *row {
                drawn.push(place);
            }
        }
        drawn.into_iter().map(|place| (place, &self.rows[place])).collect()
    }
}
