//! Calibration and evaluation text from files: plain UTF-8, or one JSON object per line with a field `text`.

use std::path::Path;

use serde_json::Value;

use crate::{Error, Result};

/// One text that was not cut out of a longer one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The text as it stands, line ends included.
    pub text: String,
}

/// Reads the documents of a file: each line of a `.jsonl`, `.ndjson` or `.json` file is one, any other file is one.
///
/// # Errors
/// [`Error::Text`] when the file is empty or not UTF-8, or a line has no text; [`Error::Io`] when it cannot be read.
pub fn read_documents(path: &Path) -> Result<Vec<Document>> {
    Ok(read_text(path)?.into_iter().map(|text| Document { text }).collect())
}

/// As [`read_documents`], the bare texts.
///
/// # Errors
/// As [`read_documents`].
pub fn read_text(path: &Path) -> Result<Vec<String>> {
    let contents = read_some(path)?;
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    match extension.as_deref() {
        Some("jsonl" | "ndjson" | "json") => json_lines(path, &contents),
        _ => Ok(vec![contents]),
    }
}

/// Reads a file of the `WikiText` raw release as the perplexity convention of GPTQ, `SparseGPT` and Wanda has it:
/// row = line + "\n", rows of nothing but spaces are "", and the text is the rows joined by "\n\n".
///
/// # Errors
/// As [`read_documents`].
pub fn read_wikitext(path: &Path) -> Result<String> {
    Ok(wikitext(&read_some(path)?))
}

fn wikitext(contents: &str) -> String {
    let rows: Vec<String> = contents.split_terminator('\n').map(row).collect();
    rows.join("\n\n")
}

/// The row of the data set for one line of the file.
fn row(line: &str) -> String {
    if line.trim().is_empty() { String::new() } else { format!("{line}\n") }
}

/// The whole of a file that is not empty.
fn read_some(path: &Path) -> Result<String> {
    let text = read_utf8(path)?;
    if text.trim().is_empty() {
        let hint = "give a file of plain text, or JSON lines with a field `text`";
        return Err(file_fault(path, "the file holds no text", hint));
    }
    Ok(text)
}

/// The whole file, without a byte order mark.
///
/// # Errors
/// [`Error::Text`] when it is not UTF-8, [`Error::Io`] when it cannot be read.
pub(crate) fn read_utf8(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(file_fault(path, "this is UTF-16", "convert the file to UTF-8"));
    }
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return Err(file_fault(path, "this is compressed by gzip", "unpack the file first"));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].split(|&byte| byte == b'\n').count();
        let problem = format!("line {line}: not UTF-8 (byte {})", error.valid_up_to());
        file_fault(path, &problem, "convert the file to UTF-8")
    })?;
    Ok(text.to_owned())
}

fn json_lines(path: &Path, contents: &str) -> Result<Vec<String>> {
    let lines = contents.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            text_field(line)
                .map_err(|(problem, hint)| file_fault(path, &format!("line {}: {problem}", index + 1), hint))
        })
        .collect()
}

fn file_fault(path: &Path, problem: &str, hint: &str) -> Error {
    Error::Text { problem: format!("{}: {problem}", path.display()), hint: Some(hint.into()) }
}

/// The string field `text` of one line, or what is wrong and what to try.
fn text_field(line: &str) -> Result<String, (String, &'static str)> {
    let value: Value = serde_json::from_str(line)
        .map_err(|error| (format!("not JSON: {error}"), "each line must be one whole JSON object"))?;
    let Value::Object(mut fields) = value else {
        return Err(("not a JSON object".into(), "each line must look like {\"text\": \"…\"}"));
    };
    let names: Vec<String> = fields.keys().map(|name| format!("`{name}`")).collect();
    match fields.remove("text") {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(("the field `text` is not a string".into(), "each line must look like {\"text\": \"…\"}")),
        None => {
            Err((format!("no field `text` (there is {})", names.join(", ")), "rename the field that holds the text"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::wikitext;

    #[test]
    fn rows_keep_their_line_end_and_empty_rows_stay_empty() {
        // Python: rows = ["", " = A = \n", "", "text\n"]; "\n\n".join(rows)
        assert_eq!(wikitext(" \n = A = \n\ntext\n"), "\n\n = A = \n\n\n\n\ntext\n");
    }
}
