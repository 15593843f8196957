//! The texts of files, whatever form the files have: plain text, or a table with a field `text` or with conversations.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};

use super::chat::ChatTemplates;
use super::source::fault;
use super::table::{Content, Row, promises_json};
use crate::Result;

/// The field of a text.
const TEXT: &str = "text";
/// Fields of a conversation: of chat data, of ShareGPT.
const CONVERSATIONS: [&str; 2] = ["messages", "conversations"];
/// What to give instead of something that holds no text.
const WANTED: &str = "give plain text, or JSON lines or Parquet with a field `text` (or conversations in `messages`)";

/// How the lines of a text are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As they stand.
    Plain,
    /// As rows of the `WikiText` data set are, in the perplexity convention of GPTQ, `SparseGPT` and Wanda:
    /// row = line + "\n", rows of nothing but spaces are "", and the text is the rows joined by "\n\n".
    WikiText,
}

/// Some of what a file holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The text.
    pub text: String,
    /// Whether it goes on where the part before it ended.
    pub continues: bool,
}

/// Reads files of texts, and remembers what the user should know of how they were read.
#[derive(Debug, Default)]
pub struct Reader<'a> {
    model: Option<&'a Path>,
    templates: Option<ChatTemplates>,
    notes: BTreeSet<String>,
}

/// Reads the texts of a file: the whole of plain text, or one of each row.
///
/// # Errors
/// [`crate::Error::Text`] when the file holds no text, or is not what it seems to be, naming the line; [`crate::Error::Io`] when it cannot be read.
pub fn read_text(path: &Path) -> Result<Vec<String>> {
    Reader::default().texts(path)
}

/// Reads a file of the `WikiText` raw release as the perplexity convention of GPTQ, `SparseGPT` and Wanda has it:
/// row = line + "\n", rows of nothing but spaces are "", and the text is the rows joined by "\n\n".
///
/// # Errors
/// As [`read_text`].
pub fn read_wikitext(path: &Path) -> Result<String> {
    Ok(Reader::default().whole(path, Form::WikiText)?.concat())
}

impl<'a> Reader<'a> {
    /// Of texts for the model in this directory, by whose chat template conversations are rendered.
    pub fn of(model: &'a Path) -> Self {
        Self { model: Some(model), ..Self::default() }
    }

    /// As [`read_text`].
    ///
    /// # Errors
    /// As [`read_text`], and when no conversation can be rendered.
    pub fn texts(&mut self, path: &Path) -> Result<Vec<String>> {
        self.whole(path, Form::Plain)
    }

    /// What was assumed, left out or replaced, in order of the files' names.
    pub fn notes(&self) -> impl Iterator<Item = &str> {
        self.notes.iter().map(String::as_str)
    }

    /// All that a file holds.
    pub(crate) fn whole(&mut self, path: &Path, form: Form) -> Result<Vec<String>> {
        let mut texts: Vec<String> = Vec::new();
        self.parts(path, form, &mut |part| {
            match texts.last_mut().filter(|_| part.continues) {
                Some(text) => text.push_str(&part.text),
                None => texts.push(part.text),
            }
            Ok(true)
        })?;
        Ok(texts)
    }

    /// Gives `each` what a file holds, until it has seen enough. No more than a part of a text is in memory, a row, or a JSON list.
    ///
    /// # Errors
    /// As [`Self::texts`].
    pub(crate) fn parts(&mut self, path: &Path, form: Form, each: &mut dyn FnMut(Part) -> Result<bool>) -> Result<()> {
        let (mut parts, mut is_blank) = (0, true);
        let mut give = |mut text: String, is_row: bool| {
            is_blank &= text.trim().is_empty();
            if form == Form::WikiText {
                text = if is_row { text } else { wikitext_rows(&text) };
                text = if parts > 0 { format!("\n\n{text}") } else { text };
            }
            parts += 1;
            each(Part { text, continues: parts > 1 && (form == Form::WikiText || !is_row) })
        };
        let ended = match Content::open(path, has_text)? {
            Content::Rows(rows) => {
                let mut rendering = Rendering { reader: self, path, texts: 0, refused: 0, reason: None };
                let mut halves: Option<(usize, String)> = None;
                let ended = rows.each(&mut |row| {
                    if row.halves > 0 {
                        halves.get_or_insert((0, row.place.clone())).0 += row.halves;
                    }
                    rendering.text(row)?.map_or(Ok(true), |text| give(text, true))
                })?;
                rendering.end()?;
                if let Some((count, place)) = halves {
                    self.note(path, &format!("{count} halves of characters became U+FFFD, the first in {place}"));
                }
                if !promises_json(path) && path.extension().is_none_or(|kind| kind != "parquet") {
                    self.note(path, "read as a table with a text in each row, which its name does not say");
                }
                ended
            }
            Content::Text(mut lines, is_json) => {
                if is_json {
                    self.note(path, "its lines are JSON without a field `text`; read as plain text, braces and all");
                }
                loop {
                    let Some(piece) = lines.piece(form == Form::WikiText)? else { break true };
                    if !give(piece, false)? {
                        break false;
                    }
                }
            }
        };
        if ended && is_blank { Err(fault(path, "the file holds no text", WANTED)) } else { Ok(()) }
    }

    fn note(&mut self, path: &Path, what: &str) {
        self.notes.insert(format!("{}: {what}", path.display()));
    }
}

/// Rows that become texts.
struct Rendering<'r, 'a> {
    reader: &'r mut Reader<'a>,
    path: &'r Path,
    /// Rows that became texts.
    texts: usize,
    /// Conversations that the template does not render, and why the first is among them.
    refused: usize,
    reason: Option<String>,
}

impl Rendering<'_, '_> {
    /// The text of a row; none of a conversation that the template refuses.
    fn text(&mut self, row: Row) -> Result<Option<String>> {
        let text = self.read(row)?;
        self.texts += usize::from(text.is_some());
        Ok(text)
    }

    fn read(&mut self, Row { place, value, .. }: Row) -> Result<Option<String>> {
        let wrong = |problem: &str, hint: String| Err(fault(self.path, &format!("{place}: {problem}"), hint));
        let mut fields = match value {
            Value::String(text) => return Ok(Some(text)),
            Value::Object(fields) => fields,
            _ => return wrong("not a JSON object", EXAMPLE.into()),
        };
        match fields.remove(TEXT) {
            Some(Value::String(text)) => return Ok(Some(text)),
            Some(_) => return wrong("the field `text` is not a string", EXAMPLE.into()),
            None => {}
        }
        let Some(turns) = turns(&fields) else {
            return wrong(&format!("no field `text` and no conversation ({})", there(&fields)), instead(&fields));
        };
        let Some(model) = self.reader.model else {
            return wrong("a conversation: reading it takes a model's chat template", WANTED.into());
        };
        if self.reader.templates.is_none() {
            self.reader.templates = Some(ChatTemplates::read(model)?);
        }
        match self.reader.templates.as_ref().map(|templates| templates.render(&fields, turns)) {
            Some(Err(problem)) => {
                self.refused += 1;
                self.reason.get_or_insert(format!("{place}: {problem}"));
                Ok(None)
            }
            Some(Ok(text)) => Ok(Some(text)),
            None => Ok(None),
        }
    }

    /// Notes that some conversations were left out; an error where all were.
    fn end(self) -> Result<()> {
        let Some(reason) = self.reason else { return Ok(()) };
        if self.texts == 0 {
            let hint =
                "give texts in a field `text`, or calibrate a model that has a chat template for such conversations";
            return Err(fault(self.path, &format!("no conversation can be read; {reason}"), hint));
        }
        let left_out = format!("{} of {} rows left out; {reason}", self.refused, self.refused + self.texts);
        self.reader.note(self.path, &left_out);
        Ok(())
    }
}

/// What a row must look like.
const EXAMPLE: &str = "each row must look like {\"text\": \"…\"}";

/// Whether a row is one that holds a text.
fn has_text(row: &Value) -> bool {
    row.as_object().is_some_and(|fields| fields.contains_key(TEXT) || turns(fields).is_some())
}

/// The turns of a conversation.
fn turns(fields: &Map<String, Value>) -> Option<&[Value]> {
    CONVERSATIONS.iter().find_map(|name| fields.get(*name)?.as_array()).map(Vec::as_slice)
}

/// The fields of a row without a text.
fn there(fields: &Map<String, Value>) -> String {
    let names: Vec<String> = fields.keys().map(|name| format!("`{name}`")).collect();
    if names.is_empty() { "there is nothing".into() } else { format!("there is {}", names.join(", ")) }
}

/// What to do about a row without a text.
fn instead(fields: &Map<String, Value>) -> String {
    match fields.iter().find(|(_, value)| value.is_string()) {
        Some((name, _)) => {
            format!("write the field that holds the text as `text`: jq -c '{{text: .{name}}}' FILE > texts.jsonl")
        }
        None => WANTED.into(),
    }
}

/// Lines as rows of the data set.
fn wikitext_rows(lines: &str) -> String {
    let row = |line: &str| if line.trim().is_empty() { String::new() } else { format!("{line}\n") };
    lines.split_terminator('\n').map(row).collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::wikitext_rows;

    #[test]
    fn rows_keep_their_line_end_and_empty_rows_stay_empty() {
        // Python: rows = ["", " = A = \n", "", "text\n"]; "\n\n".join(rows)
        assert_eq!(wikitext_rows(" \n = A = \n\ntext\n"), "\n\n = A = \n\n\n\n\ntext\n");
    }
}
