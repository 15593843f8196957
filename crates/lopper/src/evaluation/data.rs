//! The rows of a data set from the files it is published as: JSON lines or Parquet.

use std::path::{Path, PathBuf};

use super::row::Row;
use super::tasks::DataSet;
use crate::error::{Error, Result};
use crate::text::read_rows;

/// Kinds of files, in the order they are looked for.
const KINDS: [&str; 3] = ["jsonl", "json", "parquet"];

/// The files of a split in `directory`: `NAME.SPLIT.jsonl`, or `NAME/SPLIT.jsonl`, or in `NAME` or the folder of the configuration in
/// it as the Hub has them, `SPLIT-00000-of-00002.parquet`; likewise Parquet.
///
/// # Errors
/// Saying what is missing and how to get it.
pub fn files(directory: &Path, data: &DataSet, split: &str) -> Result<Vec<PathBuf>> {
    let folder = directory.join(data.name);
    for kind in KINDS {
        let single = [directory.join(format!("{}.{split}.{kind}", data.name)), folder.join(format!("{split}.{kind}"))];
        if let Some(file) = single.into_iter().find(|file| file.is_file()) {
            return Ok(vec![file]);
        }
    }
    let inner = [folder.clone(), folder.join(data.configuration), folder.join("data")];
    let found = inner.iter().map(|folder| shards(folder, split)).find(|shards| !shards.is_empty());
    found.ok_or_else(|| missing(directory, data, split))
}

/// The parts of a split in a folder, all of one kind, in order.
fn shards(folder: &Path, split: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut all: Vec<PathBuf> = entries.collect();
    all.sort();
    let is_part = |path: &Path, kind: &str| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.starts_with(&format!("{split}-")) && name.ends_with(&format!(".{kind}"))
    };
    // the same rows may be there in two kinds
    let of_kind = KINDS.map(|kind| all.iter().filter(|path| is_part(path, kind)).cloned().collect::<Vec<_>>());
    of_kind.into_iter().find(|parts| !parts.is_empty()).unwrap_or_default()
}

fn missing(directory: &Path, data: &DataSet, split: &str) -> Error {
    let DataSet { name, id, configuration, .. } = data;
    let part = if configuration.is_empty() { String::new() } else { format!(", configuration {configuration:?}") };
    Error::Text {
        problem: format!("there is no {name}.{split}.jsonl (or .parquet) in {}", directory.display()),
        hint: Some(format!(
            "fetch split {split:?} of the data set {id}{part}: hf download {id} --repo-type dataset --local-dir {}",
            directory.join(name).display()
        )),
    }
}

/// The rows of some files, one after the other.
///
/// # Errors
/// If one cannot be read, or holds no rows.
pub fn rows(files: &[PathBuf]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for file in files {
        rows.extend(read_rows(file)?);
    }
    if rows.is_empty() {
        let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        return Err(Error::Text { problem: format!("{}: there are no rows", names.join(", ")), hint: None });
    }
    Ok(rows.into_iter().map(Row).collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{files, rows};
    use crate::evaluation::tasks::TASKS;

    #[test]
    fn parquet_has_the_rows_of_the_same_json_lines() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tasks");
        let [parquet, lines] = ["parquet", "jsonl"].map(|kind| fixtures.join(format!("openbookqa.train.{kind}")));
        assert_eq!(rows(&[parquet]).expect("rows"), rows(&[lines]).expect("rows"));
        let damaged = tempfile::Builder::new().suffix(".parquet").tempfile().expect("file");
        std::fs::write(damaged.path(), "PAR1, but not really PAR1").expect("written");
        assert!(rows(&[damaged.path().into()]).expect_err("damaged").to_string().contains("not Parquet"));
    }

    #[test]
    fn files_are_found_as_published() {
        let folder = tempfile::tempdir().expect("folder");
        let winogrande = TASKS.iter().find(|task| task.name == "winogrande").expect("task").data;
        let missing = files(folder.path(), &winogrande, "validation").expect_err("nothing is there");
        assert!(missing.to_string().contains("winogrande_xl.validation.jsonl"), "{missing}");
        assert!(missing.hint().is_some_and(|hint| hint.contains("allenai/winogrande")), "{missing}");
        let inner = folder.path().join("winogrande_xl/winogrande_xl");
        std::fs::create_dir_all(&inner).expect("folder");
        for part in ["validation-00001-of-00002.jsonl", "validation-00000-of-00002.jsonl", "train-0.jsonl"] {
            std::fs::write(inner.join(part), format!("{{\"part\": \"{part}\"}}\n\n")).expect("written");
        }
        let found = files(folder.path(), &winogrande, "validation").expect("there");
        let rows = rows(&found).expect("rows");
        let parts: Vec<&str> = rows.iter().map(|row| row.text("part").expect("field")).collect();
        assert_eq!(parts, ["validation-00000-of-00002.jsonl", "validation-00001-of-00002.jsonl"]);
        for name in ["validation-00000-of-00001.parquet", "validation-00000-of-00002.json"] {
            std::fs::write(inner.join(name), "the same rows in another kind").expect("written");
        }
        assert_eq!(files(folder.path(), &winogrande, "validation").expect("there"), found, "one kind only");
        let plain = folder.path().join("winogrande_xl.validation.jsonl");
        std::fs::write(&plain, "{}\n[]\n").expect("written");
        let found = files(folder.path(), &winogrande, "validation").expect("there");
        assert_eq!(found, [plain]);
        assert!(super::rows(&found).expect_err("a list").to_string().contains("line 2: not a JSON object"));
    }
}
