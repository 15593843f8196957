//! OpenBookQA: elementary science that takes a fact and common sense (Mihaylov et al. 2018, arXiv 1809.02789).

use super::{BuiltIn, DataSet, Examples, Metric, Question};
use crate::evaluation::row::Row;

pub const OPENBOOKQA: BuiltIn = BuiltIn {
    name: "openbookqa",
    version: "1.0",
    summary: "elementary science that takes a fact and common sense",
    data: DataSet { name: "openbookqa", id: "allenai/openbookqa", configuration: "main", split: "test" },
    examples: Examples::Drawn("train"),
    metrics: &[Metric::Acc, Metric::AccNorm],
    ask,
};

fn ask(row: &Row) -> Result<Question, String> {
    let gold = row.place("choices.label", row.text("answerKey")?.trim_start())?;
    Question::choices(row.text("question_stem")?, &row.texts("choices.text")?, gold)
}
