//! BoolQ: yes or no to a question people searched for, given a passage (Clark et al. 2019, arXiv 1905.10044).

use super::{BuiltIn, DataSet, Examples, Metric, Question};
use crate::evaluation::row::Row;

pub const BOOLQ: BuiltIn = BuiltIn {
    name: "boolq",
    version: "2.0",
    summary: "yes or no to a question about a passage",
    data: DataSet { name: "boolq", id: "aps/super_glue", configuration: "boolq", split: "validation" },
    examples: Examples::Drawn("train"),
    metrics: &[Metric::Acc],
    ask,
};

fn ask(row: &Row) -> Result<Question, String> {
    let context = format!("{}\nQuestion: {}?\nAnswer:", row.text("passage")?, row.text("question")?);
    // `label` in SuperGLUE, `answer` in the original
    let gold = row.index("label").or_else(|_| row.index("answer"))?;
    Question::choices(&context, &["no", "yes"], gold)
}
