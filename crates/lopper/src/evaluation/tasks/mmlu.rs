//! MMLU: questions of 57 subjects, answered by the letter of a choice (Hendrycks et al. 2020, arXiv 2009.03300).
//!
//! All subjects are one task, whose accuracy is that of the harness's group `mmlu`: every question counts alike.

use super::{BuiltIn, DataSet, Examples, Metric, Question};
use crate::evaluation::row::Row;

pub const MMLU: BuiltIn = BuiltIn {
    name: "mmlu",
    version: "2",
    summary: "questions of 57 subjects, answered by a letter",
    data: DataSet { name: "mmlu", id: "cais/mmlu", configuration: "all", split: "test" },
    examples: Examples::First { split: "dev", alike: "subject" },
    metrics: &[Metric::Acc],
    ask,
};

const LETTERS: [&str; 4] = ["A", "B", "C", "D"];

fn ask(row: &Row) -> Result<Question, String> {
    let choices = row.texts("choices")?;
    if choices.len() != LETTERS.len() {
        return Err(format!("`choices` has {} entries, not 4", choices.len()));
    }
    let listed: String = LETTERS.iter().zip(choices).map(|(letter, choice)| format!("{letter}. {choice}\n")).collect();
    let context = format!("{}\n{listed}Answer:", row.text("question")?.trim());
    let subject = row.text("subject")?.replace('_', " ");
    let preamble = format!("The following are multiple choice questions (with answers) about {subject}.\n\n");
    Ok(Question { preamble, ..Question::choices(&context, &LETTERS, row.index("answer")?)? })
}
