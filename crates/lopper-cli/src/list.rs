//! `lopper list`: what this program knows, from the library's tables.

use lopper::Result;
use lopper::evaluation::TASKS;
use lopper::method::METHODS;
use lopper::method::compensation::COMPENSATIONS;
use lopper::method::criterion::CRITERIA;
use lopper::model::FAMILIES;
use serde_json::{Value, json};

use crate::args::ListArgs;
use crate::render::output;
use crate::render::table::{Align, Table};

/// A pattern, as written on the command line, and what it means.
const PATTERNS: &[(&str, &str)] = &[
    ("--sparsity S", "unstructured: the share S of the weights, wherever the scores are smallest, within --scope"),
    (
        "--pattern N:M",
        "semi-structured: N of every M consecutive inputs are kept, M up to 32; 2:4 runs faster on NVIDIA GPUs",
    ),
    (
        "--ratio R",
        "structured: whole neurons of the feed-forward layers go, with R of the weights of all blocks; the model becomes smaller",
    ),
    ("--width W", "the same, saying the share of neurons that stays"),
    ("--kv-heads N", "structured: N key/value heads of every attention stay, each with the query heads that read it"),
    ("--depth N", "structured: N blocks stay; --drop says which go"),
];

/// Ways to spread a sparsity over layers, and to make exceptions.
const RATIOS: &[(&str, &str)] = &[
    ("--ratios uniform", "every matrix loses the same share"),
    ("--ratios owl", "blocks with more outliers among |w|·‖x‖ lose less, by --owl-lambda at most (Yin et al. 2023)"),
    ("--scope block", "scores compared over the matrices of a block: each loses what is smallest there"),
    ("--scope model", "scores compared over the whole model"),
    ("--rule NAME=WHAT", "these matrices to a pattern (2:4), to a share (0.6), or left as they are (dense)"),
];

/// Prints the tables.
///
/// # Errors
/// If stdout cannot be written.
pub fn run(args: &ListArgs) -> Result<()> {
    let sections = sections();
    if args.json {
        let object = sections.iter().map(|(title, key, rows)| {
            let rows = rows.iter().map(|[name, summary]| json!({ "name": name, *key: summary }));
            (title.to_lowercase(), Value::Array(rows.collect()))
        });
        return output::json(&Value::Object(object.collect()));
    }
    let mut text = String::new();
    for (title, key, rows) in sections {
        let mut table = Table::new([("name", Align::Left), (key, Align::Left)]);
        for row in rows {
            table.row(row);
        }
        text = format!("{text}{title}\n\n{table}\n");
    }
    output::print(text.trim_end_matches('\n'))?;
    output::print("\n")
}

/// Title, what the second column is, and the rows.
fn sections() -> [(&'static str, &'static str, Vec<[String; 2]>); 7] {
    let row = |name: &str, summary: &str| [name.to_owned(), summary.to_owned()];
    [
        ("Families", "models", FAMILIES.iter().map(|family| row(family.name, family.examples)).collect()),
        ("Methods", "summary", METHODS.iter().map(|method| row(method.name, method.summary)).collect()),
        ("Criteria", "summary", CRITERIA.iter().map(|criterion| row(criterion.name, criterion.summary)).collect()),
        ("Compensations", "summary", COMPENSATIONS.iter().map(|one| row(one.name, one.summary)).collect()),
        ("Patterns", "summary", PATTERNS.iter().map(|(name, summary)| row(name, summary)).collect()),
        ("Ratios", "summary", RATIOS.iter().map(|(name, summary)| row(name, summary)).collect()),
        ("Tasks", "summary", TASKS.iter().map(|task| row(task.name, task.summary)).collect()),
    ]
}
