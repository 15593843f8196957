//! The entries of a JSON list, or JSON values one after the other, over as many lines as they like, read one at a time.

use super::lines::{Lines, line_ends};
use crate::Result;

/// Values that are read from the front.
pub(super) struct Entries {
    lines: Lines,
    place: Place,
    number: usize,
    /// All that was read for the last entry.
    read: Vec<u8>,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    List,
    Values,
    End,
}

/// A value.
pub(super) struct Entry {
    /// Which one it is, from 1.
    pub number: usize,
    /// The line in which it begins.
    pub line: usize,
    pub text: String,
}

impl Entries {
    pub fn new(lines: Lines) -> Self {
        Self { lines, place: Place::Start, number: 0, read: Vec::new() }
    }

    pub fn lines(&self) -> &Lines {
        &self.lines
    }

    /// The lines, with the last entry put back and what stood around it.
    pub fn put_back(mut self) -> Lines {
        self.lines.unread(self.read);
        self.lines
    }

    /// The next value, which is not yet known to be JSON; where what stands around it is no list, what is wrong.
    ///
    /// # Errors
    /// When the file cannot be read, or is not UTF-8.
    pub fn next(&mut self) -> Result<Result<Option<Entry>, String>> {
        self.lines.given(&std::mem::take(&mut self.read));
        if self.place == Place::Start {
            let is_list = self.after_blanks()? == Some(b'[');
            self.place = if is_list { Place::List } else { Place::Values };
            if is_list {
                self.take(1)?;
                if self.after_blanks()? == Some(b']') {
                    return self.close().map(|closed| closed.map(|()| None));
                }
            }
        }
        if self.place == Place::End {
            return Ok(Ok(None));
        }
        if self.after_blanks()?.is_none() && self.place == Place::List {
            return Ok(Err(format!("the list is cut short after entry {}", self.number)));
        }
        let start = self.read.len();
        self.value()?;
        let end = self.read.len();
        self.number += 1;
        let next = self.after_blanks()?;
        match (self.place, next) {
            (Place::List, Some(b',')) => self.take(1)?,
            (Place::List, Some(b']')) => {
                if let Err(problem) = self.close()? {
                    return Ok(Err(problem));
                }
            }
            (Place::List, Some(_)) => return Ok(Err(format!("entry {}: no comma after it", self.number))),
            (Place::List, None) => return Ok(Err(format!("the list is cut short in or after entry {}", self.number))),
            (Place::Values, None) => self.place = Place::End,
            _ => {}
        }
        let line = self.lines.number() + line_ends(&self.read[..start]) + 1;
        let text = self.lines.utf8(&self.read[..end], self.lines.number() + 1)?[start..].to_owned();
        Ok(Ok(Some(Entry { number: self.number, line, text })))
    }

    /// Ends the list, after which nothing may come.
    fn close(&mut self) -> Result<Result<(), String>> {
        self.take(1)?;
        self.place = Place::End;
        Ok(match self.after_blanks()? {
            None => Ok(()),
            Some(_) => Err("after the end of the list there is more".into()),
        })
    }

    /// Reads blanks, and returns the byte after them.
    fn after_blanks(&mut self) -> Result<Option<u8>> {
        loop {
            let buffered = self.lines.buffered()?;
            let blanks = buffered.iter().position(|byte| !byte.is_ascii_whitespace());
            let (count, next) = (blanks.unwrap_or(buffered.len()), blanks.map(|at| buffered[at]));
            if next.is_some() || count == 0 {
                self.take(count)?;
                return Ok(next);
            }
            self.take(count)?;
        }
    }

    /// Reads bytes that are buffered.
    fn take(&mut self, count: usize) -> Result<()> {
        self.read.extend_from_slice(&self.lines.buffered()?[..count]);
        self.lines.consume(count);
        Ok(())
    }

    /// Reads a value to its end: to the bracket or quote that closes it, or to what ends a word.
    fn value(&mut self) -> Result<()> {
        let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
        let mut is_first = true;
        loop {
            let buffered = self.lines.buffered()?;
            if buffered.is_empty() {
                return Ok(());
            }
            let mut end = None;
            for (at, &byte) in buffered.iter().enumerate() {
                if in_string {
                    in_string = is_escaped || byte != b'"';
                    is_escaped = !is_escaped && byte == b'\\';
                    if !in_string && depth == 0 {
                        end = Some(at + 1);
                    }
                } else {
                    match byte {
                        b'"' if depth > 0 || is_first => in_string = true,
                        b'[' | b'{' if depth > 0 || is_first => depth += 1,
                        b']' | b'}' if depth > 0 => {
                            depth -= 1;
                            end = (depth == 0).then_some(at + 1);
                        }
                        // a word or a number ends before what cannot be part of it; something is taken in any case
                        _ if depth == 0 && !(byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) => {
                            end = Some(at + usize::from(is_first));
                        }
                        _ => {}
                    }
                }
                is_first = false;
                if end.is_some() {
                    break;
                }
            }
            let count = end.unwrap_or(buffered.len());
            self.take(count)?;
            if end.is_some() {
                return Ok(());
            }
        }
    }
}
