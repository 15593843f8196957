//! HellaSwag: how a scene goes on (Zellers et al. 2019, arXiv 1905.07830), cleaned of what WikiHow left in it.

use std::sync::LazyLock;

use regex::Regex;

use super::{BuiltIn, DataSet, Examples, Metric, Question};
use crate::evaluation::row::Row;

pub const HELLASWAG: BuiltIn = BuiltIn {
    name: "hellaswag",
    version: "1.0",
    summary: "which of four endings a scene has",
    data: DataSet { name: "hellaswag", id: "Rowan/hellaswag", configuration: "", split: "validation" },
    examples: Examples::Drawn("train"),
    metrics: &[Metric::Acc, Metric::AccNorm],
    ask,
};

static BRACKETS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\[.*?\]").expect("a constant that is valid"));

fn ask(row: &Row) -> Result<Question, String> {
    let (activity, first, second) = (row.text("activity_label")?, row.text("ctx_a")?, row.text("ctx_b")?);
    let context = cleaned(&format!("{activity}: {first} {}", capitalised(second)));
    let endings: Vec<String> = row.texts("endings")?.into_iter().map(cleaned).collect();
    Question::choices(&context, &endings, row.index("label")?)
}

/// Without headings and other marks in brackets.
fn cleaned(text: &str) -> String {
    let text = text.trim().replace(" [title]", ". ");
    BRACKETS.replace_all(&text, "").replace("  ", " ")
}

/// The first letter large, all others small.
fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters.as_str().to_lowercase().chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::{capitalised, cleaned};

    #[test]
    fn text_is_cleaned_as_the_harness_does() {
        assert_eq!(cleaned(" A [header] How to [title] do it [step] now   on\n"), "A How to. do it now  on");
        assert_eq!(capitalised("he Ran HOME"), "He ran home");
    }
}
