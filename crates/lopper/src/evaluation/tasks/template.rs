//! Tasks of the user's own: multiple choice, described by a TOML file.
//!
//! ```toml
//! name = "tickets"
//! version = "1"
//! questions = "tickets.jsonl"              # beside this file; JSONL or Parquet
//! examples = "solved.jsonl"                # for --num-fewshot; may be absent
//! context = "Ticket: {subject}\n{body}\nTeam:"
//! choices = ["{teams.0}", "billing"]       # texts with fields in braces, or the name of a field that is a list
//! gold = "team"                            # field: a number from 0, or what a choice or label says
//! labels = "letters"                       # what gold says of each choice, where that is not the choice; may be absent
//! metrics = ["acc", "acc_norm"]
//! ```

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::{Kind, Metric, Question, Task};
use crate::error::{Error, Result};
use crate::evaluation::row::Row;
use crate::text::from_toml;

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    name: String,
    version: String,
    questions: PathBuf,
    examples: Option<PathBuf>,
    context: String,
    choices: Texts,
    gold: String,
    labels: Option<Texts>,
    #[serde(default = "both")]
    metrics: Vec<Metric>,
}

/// How a row becomes a question.
#[derive(Clone, Debug)]
pub(in crate::evaluation) struct Template {
    context: String,
    choices: Texts,
    gold: String,
    labels: Option<Texts>,
}

/// Texts written down, or a field that holds them.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Texts {
    Field(String),
    Written(Vec<String>),
}

fn both() -> Vec<Metric> {
    vec![Metric::Acc, Metric::AccNorm]
}

/// Reads the description of a task.
///
/// # Errors
/// If it cannot be read, or describes none.
pub fn read_task(path: &Path) -> Result<Task> {
    parse_task(&std::fs::read_to_string(path).map_err(Error::io("read", path))?, path)
}

/// A task from its description in TOML; its files are beside `path`.
///
/// # Errors
/// If it describes none.
pub fn parse_task(text: &str, path: &Path) -> Result<Task> {
    let fault = |problem: String| Error::Plan {
        problem: format!("{}: {problem}", path.display()),
        hint: Some("a task has name, version, questions, context, choices and gold; see docs/evaluation.md".into()),
    };
    let task: Description = from_toml(text).map_err(fault)?;
    if task.metrics.is_empty() || task.metrics.contains(&Metric::Perplexity) {
        return Err(fault("metrics are acc, acc_norm or both".into()));
    }
    let beside = |file: &PathBuf| path.parent().unwrap_or(Path::new("")).join(file);
    let (questions, examples) = (beside(&task.questions), task.examples.as_ref().map(beside));
    let Description { name, version, metrics, context, choices, gold, labels, .. } = task;
    let template = Template { context, choices, gold, labels };
    Ok(Task { name, version, metrics, kind: Kind::Described { questions, examples, template } })
}

impl Template {
    pub fn ask(&self, row: &Row) -> Result<Question, String> {
        let choices = self.choices.of(row)?;
        Question::choices(&filled(&self.context, row)?, &choices, self.gold(row, &choices)?)
    }

    /// Which choice is right.
    fn gold(&self, row: &Row, choices: &[String]) -> Result<usize, String> {
        let said = row.value(&self.gold)?;
        let own = self.labels.as_ref().map(|labels| labels.of(row)).transpose()?;
        let labels = own.as_deref().unwrap_or(choices);
        // a number is a label where there are labels
        let number = row.index(&self.gold).ok().filter(|_| own.is_some()).map(|number| number.to_string());
        let text = said.as_str().or(number.as_deref());
        let place = text.and_then(|said| labels.iter().position(|label| label == said));
        place
            .map_or_else(|| row.index(&self.gold), Ok)
            .map_err(|_| format!("`{}` is {said}, neither the number of a choice nor one of {labels:?}", self.gold))
    }
}

impl Texts {
    fn of(&self, row: &Row) -> Result<Vec<String>, String> {
        match self {
            Self::Field(path) => Ok(row.texts(path)?.into_iter().map(str::to_owned).collect()),
            Self::Written(texts) => texts.iter().map(|text| filled(text, row)).collect(),
        }
    }
}

/// A text with its `{fields}` put in; `{{` and `}}` are braces.
fn filled(template: &str, row: &Row) -> Result<String, String> {
    let (mut text, mut rest) = (String::new(), template);
    while let Some(at) = rest.find(['{', '}']) {
        text.push_str(&rest[..at]);
        let (brace, after) = rest[at..].split_at(1);
        if let Some(escaped) = after.strip_prefix(brace) {
            text.push_str(brace);
            rest = escaped;
            continue;
        }
        let (path, after) = after.split_once('}').filter(|_| brace == "{").ok_or("a brace without its other half")?;
        match row.value(path)? {
            Value::String(value) => text.push_str(value),
            other => text.push_str(&other.to_string()),
        }
        rest = after;
    }
    Ok(text + rest)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Template, Texts, filled};
    use crate::evaluation::row::Row;

    fn row() -> Row {
        Row(json!({ "q": "Why?", "n": 3, "options": ["rain", "snow"], "letters": ["A", "B"], "answer": "B" }))
    }

    #[test]
    fn fields_are_put_in() {
        assert_eq!(filled("{{{q}}} {n}: {options.1}", &row()).expect("fields"), "{Why?} 3: snow");
        for wrong in ["{q", "q}", "{p}", "{options.2}"] {
            assert!(filled(wrong, &row()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_right_answer_is_a_number_a_choice_or_a_label() {
        let ask = |gold: &str, labels: Option<&str>, choices| {
            let labels = labels.map(|field| Texts::Field(field.into()));
            Template { context: "{q}".into(), choices, gold: gold.into(), labels }.ask(&row())
        };
        let field = || Texts::Field("options".into());
        let question = ask("answer", Some("letters"), field()).expect("a question");
        assert_eq!((question.gold, question.prompts[1].continuation.as_str()), (1, " snow"));
        assert_eq!(ask("options.1", None, field()).expect("a choice").gold, 1);
        assert!(ask("answer", None, field()).expect_err("no such choice").contains("neither"));
        assert!(ask("n", None, Texts::Written(vec!["{q}".into(), "b".into()])).is_err(), "there is no choice 3");
        let numbered = |labels: [&str; 2]| {
            let labels = Some(Texts::Written(labels.map(String::from).to_vec()));
            Template { context: "{q}".into(), choices: field(), gold: "n".into(), labels }.ask(&row())
        };
        assert_eq!(numbered(["2", "3"]).expect("a label").gold, 1);
        assert!(numbered(["1", "2"]).is_err(), "there is no label 3");
    }
}
