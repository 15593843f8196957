//! RTE: does a sentence follow from another (GLUE: Wang et al. 2018, arXiv 1804.07461).

use super::{BuiltIn, DataSet, Examples, Metric, Question};
use crate::evaluation::row::Row;

pub const RTE: BuiltIn = BuiltIn {
    name: "rte",
    version: "1.0",
    summary: "does a sentence follow from another",
    data: DataSet { name: "rte", id: "nyu-mll/glue", configuration: "rte", split: "validation" },
    examples: Examples::Drawn("train"),
    metrics: &[Metric::Acc],
    ask,
};

fn ask(row: &Row) -> Result<Question, String> {
    let (premise, hypothesis) = (row.text("sentence1")?, row.text("sentence2")?);
    let context = format!("{premise}\nQuestion: {hypothesis} True or False?\nAnswer:");
    Question::choices(&context, &["True", "False"], row.index("label")?)
}
