//! PIQA: which of two ways reaches a goal of everyday life (Bisk et al. 2019, arXiv 1911.11641).

use super::{BuiltIn, DataSet, Examples, Metric, Question};
use crate::evaluation::row::Row;

pub const PIQA: BuiltIn = BuiltIn {
    name: "piqa",
    version: "1.0",
    summary: "which of two ways reaches an everyday goal",
    data: DataSet { name: "piqa", id: "baber/piqa", configuration: "", split: "validation" },
    examples: Examples::Drawn("train"),
    metrics: &[Metric::Acc, Metric::AccNorm],
    ask,
};

fn ask(row: &Row) -> Result<Question, String> {
    let context = format!("Question: {}\nAnswer:", row.text("goal")?);
    Question::choices(&context, &[row.text("sol1")?, row.text("sol2")?], row.index("label")?)
}
