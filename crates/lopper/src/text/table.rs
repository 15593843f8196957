//! What a file holds: the rows of a table, or plain text. Rows are JSON lines, one JSON list, or Parquet.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::entries::{Entries, Entry};
use super::lines::Lines;
use super::parquet;
use super::source::{Source, fault, open};
use crate::{Error, Result, json};

/// Endings that promise JSON.
const JSON_ENDINGS: [&str; 3] = ["json", "jsonl", "ndjson"];
/// Endings of files that are packed.
const PACKED_ENDINGS: [&str; 3] = ["gz", "zst", "zstd"];

/// What a file holds.
pub(super) enum Content {
    /// The rows of a table.
    Rows(Rows),
    /// Text, and whether its lines are JSON all the same.
    Text(Lines, bool),
}

/// The rows of a table, still to be read.
pub(super) enum Rows {
    /// One in each line.
    Lines(Lines),
    /// The entries of one JSON list, or values over several lines; the first has been read.
    Entries(Entry, Entries),
    /// Those of a Parquet file.
    Parquet(PathBuf, File),
}

/// A row.
pub(super) struct Row {
    /// What the file would call its place: "line 3".
    pub place: String,
    /// What it holds.
    pub value: Value,
    /// Halves of surrogate pairs in it that were replaced.
    pub halves: usize,
}

impl Content {
    /// Opens a file. JSON is a table where the name of the file promises one, or its first row is `wanted`.
    pub fn open(path: &Path, wanted: impl Fn(&Value) -> bool) -> Result<Self> {
        let mut lines = match open(path)? {
            Source::Parquet(file) => return Ok(Self::Rows(Rows::Parquet(path.into(), file))),
            Source::Text(_) if ending(path).as_deref() == Some("parquet") => {
                return Err(not_parquet(path, "it does not begin as one"));
            }
            Source::Text(reader) => Lines::new(path, reader)?,
        };
        let promised = promises_json(path);
        let begins = lines.begins()?;
        if !promised && !matches!(begins, Some(b'{' | b'[')) {
            return Ok(Self::Text(lines, false));
        }
        let mut may_be_entries = begins == Some(b'[');
        if begins == Some(b'{') {
            let first = lines.peek()?;
            match json::from_slice(&first) {
                Ok(row) if promised || wanted(&row) => return Ok(Self::Rows(Rows::Lines(lines))),
                Ok(_) => return Ok(Self::Text(lines, true)),
                Err(_) => may_be_entries = json::is_cut_short(&first),
            }
        }
        if may_be_entries {
            let mut entries = Entries::new(lines);
            if let Ok(Some(entry)) = entries.next()?
                && json::from_slice(entry.text.as_bytes()).is_ok_and(|row| promised || row.is_string() || wanted(&row))
            {
                return Ok(Self::Rows(Rows::Entries(entry, entries)));
            }
            lines = entries.put_back();
        }
        // where JSON is promised, the error is that of the first line
        Ok(if promised { Self::Rows(Rows::Lines(lines)) } else { Self::Text(lines, false) })
    }
}

impl Rows {
    /// Gives `each` the rows until it has seen enough. Returns whether it has seen all.
    ///
    /// # Errors
    /// At the first row that is none, or where `each` fails.
    pub fn each(self, each: &mut dyn FnMut(Row) -> Result<bool>) -> Result<bool> {
        match self {
            Self::Lines(mut lines) => {
                while let Some((number, line)) = lines.next()? {
                    let (value, halves) = json::counted(line.trim_ascii().as_bytes()).map_err(|error| {
                        // of one line
                        let error = error.replace(" at line 1 column ", ", column ");
                        let hint = "each line must be one whole JSON object, or the file one JSON list";
                        fault(lines.path(), &format!("line {number}: not JSON: {error}"), hint)
                    })?;
                    if !each(Row { place: format!("line {number}"), value, halves })? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Entries(first, mut entries) => {
                let path = entries.lines().path().to_owned();
                let mut next: Result<_, String> = Ok(Some(first));
                loop {
                    let entry = next.map_err(|problem| fault(&path, &problem, "fetch the file again"))?;
                    let Some(Entry { number, line, text }) = entry else { return Ok(true) };
                    let place = format!("entry {number}");
                    let (value, halves) = json::counted(text.as_bytes()).map_err(|error| {
                        // its lines are not those of the file
                        let error = error.split(" at line ").next().unwrap_or(&error);
                        fault(&path, &format!("{place}, in line {line}: not JSON: {error}"), "fetch the file again")
                    })?;
                    if !each(Row { place, value, halves })? {
                        return Ok(false);
                    }
                    next = entries.next()?;
                }
            }
            Self::Parquet(path, file) => {
                let (mut number, mut ended) = (0, Ok(true));
                let read = parquet::rows(&file, &mut |value| {
                    number += 1;
                    ended = each(Row { place: format!("row {number}"), value, halves: 0 });
                    matches!(ended, Ok(true))
                });
                read.map_err(|problem| not_parquet(&path, &problem))?;
                ended
            }
        }
    }
}

fn not_parquet(path: &Path, problem: &str) -> Error {
    fault(path, &format!("not Parquet that can be read: {problem}"), "fetch the file again")
}

/// The ending of a file's name, in small letters.
fn ending(path: &Path) -> Option<String> {
    path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase())
}

/// Whether the name of a file says that it holds JSON.
pub(super) fn promises_json(path: &Path) -> bool {
    let is_one_of =
        |endings: &[&str], path: &Path| ending(path).is_some_and(|ending| endings.contains(&ending.as_str()));
    let inner = path.file_stem().map(Path::new).filter(|_| is_one_of(&PACKED_ENDINGS, path));
    is_one_of(&JSON_ENDINGS, inner.unwrap_or(path))
}

/// The rows of a table.
///
/// # Errors
/// [`crate::Error::Text`] when a file holds none, naming the line; [`crate::Error::Io`] when it cannot be read.
pub(crate) fn read_rows(path: &Path) -> Result<Vec<Value>> {
    let Content::Rows(rows) = Content::open(path, |_| true)? else {
        return Err(fault(path, "line 1: not JSON", "give JSON lines, one JSON list, or Parquet"));
    };
    let mut values = Vec::new();
    rows.each(&mut |row| match row.value {
        value @ Value::Object(_) => {
            values.push(value);
            Ok(true)
        }
        _ => {
            Err(fault(path, &format!("{}: not a JSON object", row.place), "each row must be a JSON object with fields"))
        }
    })?;
    Ok(values)
}
