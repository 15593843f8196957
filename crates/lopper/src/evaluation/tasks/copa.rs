//! COPA: which of two sentences is the cause or the effect of a third (Roemmele et al. 2011; SuperGLUE: arXiv 1905.00537).

use super::{BuiltIn, DataSet, Examples, Metric, Question};
use crate::evaluation::row::Row;

pub const COPA: BuiltIn = BuiltIn {
    name: "copa",
    version: "1.0",
    summary: "which sentence is the cause or the effect of another",
    data: DataSet { name: "copa", id: "aps/super_glue", configuration: "copa", split: "validation" },
    examples: Examples::Drawn("train"),
    metrics: &[Metric::Acc],
    ask,
};

fn ask(row: &Row) -> Result<Question, String> {
    let connector = match row.text("question")? {
        "cause" => "because",
        "effect" => "therefore",
        other => return Err(format!("`question` is {other:?}, neither \"cause\" nor \"effect\"")),
    };
    let premise = row.text("premise")?.trim();
    let unfinished = premise.char_indices().next_back().map_or("", |(end, _)| &premise[..end]);
    // two spaces stand before a choice, as in the harness: its own and the one of the task
    let choices = [row.text("choice1")?, row.text("choice2")?].map(|choice| format!(" {}", continued(choice)));
    Question::choices(&format!("{unfinished} {connector}"), &choices, row.index("label")?)
}

/// A sentence as a clause: its first letter small.
fn continued(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}
