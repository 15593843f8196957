//! WinoGrande: what a blank stands for (Sakaguchi et al. 2019, arXiv 1907.10641). The same rest of the sentence is scored after
//! each filling.

use super::{BuiltIn, DataSet, Examples, Metric, Question};
use crate::evaluation::row::Row;

pub const WINOGRANDE: BuiltIn = BuiltIn {
    name: "winogrande",
    version: "1.0",
    summary: "which of two names fills a blank",
    data: DataSet {
        name: "winogrande_xl",
        id: "allenai/winogrande",
        configuration: "winogrande_xl",
        split: "validation",
    },
    examples: Examples::Drawn("train"),
    metrics: &[Metric::Acc],
    ask,
};

fn ask(row: &Row) -> Result<Question, String> {
    let sentence = row.text("sentence")?;
    let (before, after) = sentence.split_once('_').ok_or("`sentence` has no blank (_)")?;
    let filled = [row.text("option1")?, row.text("option2")?].map(|option| format!("{before}{option}"));
    let gold = row.index("answer")?.checked_sub(1).ok_or("`answer` is neither 1 nor 2")?;
    Question::contexts(&filled, after.trim(), gold)
}
