//! ARC: questions of science exams for schools, easy and challenging ones (Clark et al. 2018, arXiv 1803.05457).

use super::{BuiltIn, DataSet, Examples, Metric, Question};
use crate::evaluation::row::Row;

pub const EASY: BuiltIn = BuiltIn {
    name: "arc_easy",
    version: "1.0",
    summary: "science questions from school exams, the easy ones",
    data: DataSet { name: "arc_easy", id: "allenai/ai2_arc", configuration: "ARC-Easy", split: "test" },
    examples: Examples::Drawn("train"),
    metrics: &[Metric::Acc, Metric::AccNorm],
    ask,
};

pub const CHALLENGE: BuiltIn = BuiltIn {
    name: "arc_challenge",
    summary: "science questions from school exams that retrieval and word counts get wrong",
    data: DataSet { name: "arc_challenge", id: "allenai/ai2_arc", configuration: "ARC-Challenge", split: "test" },
    ..EASY
};

fn ask(row: &Row) -> Result<Question, String> {
    let context = format!("Question: {}\nAnswer:", row.text("question")?);
    let gold = row.place("choices.label", row.text("answerKey")?)?;
    Question::choices(&context, &row.texts("choices.text")?, gold)
}
