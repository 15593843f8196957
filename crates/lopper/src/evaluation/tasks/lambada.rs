//! LAMBADA: the last word of a passage, which takes all of it to guess (Paperno et al. 2016, arXiv 1606.06031); the text as OpenAI
//! prepared it.

use super::{BuiltIn, DataSet, Examples, Metric, Question};
use crate::evaluation::row::Row;

pub const OPENAI: BuiltIn = BuiltIn {
    name: "lambada_openai",
    version: "1.0",
    summary: "the last word of a passage",
    data: DataSet { name: "lambada_openai", id: "EleutherAI/lambada_openai", configuration: "default", split: "test" },
    examples: Examples::Drawn("test"),
    metrics: &[Metric::Acc, Metric::Perplexity],
    ask,
};

fn ask(row: &Row) -> Result<Question, String> {
    let text = row.text("text")?;
    let (context, word) = text.rsplit_once(' ').ok_or("`text` has one word only")?;
    // two spaces stand before the word of an example, as in the harness
    Ok(Question { between: " ", ..Question::completion(context.to_owned(), format!(" {word}")) })
}
