//! SciQ: science questions made by many hands, with a passage that helps (Welbl et al. 2017, arXiv 1707.06209).

use super::{BuiltIn, DataSet, Examples, Metric, Question};
use crate::evaluation::row::Row;

pub const SCIQ: BuiltIn = BuiltIn {
    name: "sciq",
    version: "1.0",
    summary: "science questions with a passage that helps",
    data: DataSet { name: "sciq", id: "allenai/sciq", configuration: "", split: "test" },
    examples: Examples::Drawn("train"),
    metrics: &[Metric::Acc, Metric::AccNorm],
    ask,
};

fn ask(row: &Row) -> Result<Question, String> {
    let context = format!("{}\nQuestion: {}\nAnswer:", row.text("support")?.trim_start(), row.text("question")?);
    let choice = |name| row.text(name);
    let choices = [choice("distractor1")?, choice("distractor2")?, choice("distractor3")?, choice("correct_answer")?];
    Question::choices(&context, &choices, 3)
}
