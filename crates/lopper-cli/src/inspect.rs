//! `lopper inspect`: what a model is made of.

use std::collections::BTreeSet;

use lopper::Result;
use lopper::inspect::{Inspection, MatrixInspection, inspect};
use lopper::model::UNBOUNDED;
use lopper::progress::{Event, Observer};

use crate::args::InspectArgs;
use crate::interrupt::Interrupt;
use crate::model::Model;
use crate::render::progress::Progress;
use crate::render::table::{Align, Table};
use crate::render::{output, units};

/// Inspects, and prints what was found.
///
/// # Errors
/// If the checkpoint cannot be used.
pub fn run(args: &InspectArgs, quiet: bool) -> Result<()> {
    let mut progress = Progress::new(quiet);
    let model = Model::locate(&args.model, &Interrupt::install(), &mut progress)?;
    progress.event(Event::Stage { name: "reading the weights" });
    let found = inspect(model.directory(), &mut |share| progress.event(Event::Progress(share)));
    progress.finish(found.is_ok());
    let found = found?;
    found.notes.iter().for_each(|note| progress.event(Event::Warning(note)));
    if args.json {
        return output::json(&found);
    }
    let table = if args.all { every_matrix(&found) } else { by_role(&found) };
    output::print(&format!("{}\n{table}", summary(&model.name, &found)))
}

fn summary(name: &str, found: &Inspection) -> String {
    let dtypes: BTreeSet<&str> = found.matrices.iter().map(|matrix| matrix.dtype.as_str()).collect();
    let files = if found.files == 1 { "one file".into() } else { format!("{} files", found.files) };
    let head = if found.tied_embeddings { "the embedding" } else { "a matrix of its own" };
    let lines = [
        ("family", found.family.to_owned()),
        (
            "shape",
            format!("{} blocks, width {}, vocabulary {}", found.blocks, found.hidden, units::count(found.vocabulary)),
        ),
        ("context", context(found.max_positions)),
        ("head", head.to_owned()),
        (
            "numbers",
            format!(
                "{} in the files, {} of them prunable",
                units::magnitude(found.parameters),
                units::magnitude(found.prunable)
            ),
        ),
        (
            "on disk",
            format!(
                "{} in {files}, {}",
                units::bytes(found.bytes),
                dtypes.into_iter().collect::<Vec<_>>().join(" and ")
            ),
        ),
        ("zeros", format!("{} of the prunable weights", units::percent(found.sparsity()))),
    ];
    let lines = lines.iter().map(|(name, value)| format!("  {name:<9}{value}\n"));
    format!("{name}\n\n{}", lines.collect::<String>())
}

/// How long a text may be.
fn context(positions: usize) -> String {
    if positions == UNBOUNDED { "any length".into() } else { format!("{} tokens", units::count(positions)) }
}

const COLUMNS: [(&str, Align); 6] = [
    ("layer", Align::Left),
    ("shape", Align::Right),
    ("dtype", Align::Left),
    ("matrices", Align::Right),
    ("zeros", Align::Right),
    ("patterns that hold", Align::Left),
];

/// A row per role: smallest and largest share of zeros over the blocks, and the patterns that all of them obey.
fn by_role(found: &Inspection) -> Table {
    let mut table = Table::new(COLUMNS);
    let mut roles: Vec<&str> = found.matrices.iter().map(|matrix| matrix.role).collect();
    let mut known = BTreeSet::new();
    roles.retain(|role| known.insert(*role));
    for role in roles {
        let matrices: Vec<&MatrixInspection> = found.matrices.iter().filter(|matrix| matrix.role == role).collect();
        let Some(first) = matrices.first() else { continue };
        let (low, high) = matrices
            .iter()
            .map(|matrix| matrix.sparsity())
            .fold((1.0, 0.0), |(low, high), s| (s.min(low), s.max(high)));
        let (low, high) = (units::percent(low), units::percent(high));
        let zeros = if low == high { low } else { format!("{low} – {high}") };
        let common =
            first.patterns.iter().filter(|pattern| matrices.iter().all(|matrix| matrix.patterns.contains(pattern)));
        let patterns = common.cloned().collect::<Vec<_>>();
        let cells =
            [role.to_owned(), shape(first), first.dtype.clone(), matrices.len().to_string(), zeros, shown(&patterns)];
        table.row(cells);
    }
    table
}

fn every_matrix(found: &Inspection) -> Table {
    let mut table = Table::new(COLUMNS.into_iter().filter(|(name, _)| *name != "matrices"));
    for matrix in &found.matrices {
        table.row([
            matrix.name.clone(),
            shape(matrix),
            matrix.dtype.clone(),
            units::percent(matrix.sparsity()),
            shown(&matrix.patterns),
        ]);
    }
    table
}

fn shape(matrix: &MatrixInspection) -> String {
    format!("{} × {}", matrix.shape[0], matrix.shape[1])
}

fn shown(patterns: &[String]) -> String {
    if patterns.is_empty() { "none".into() } else { patterns.join(", ") }
}
