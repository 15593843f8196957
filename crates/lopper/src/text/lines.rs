//! Text line by line, and in pieces of whole lines, as UTF-8 with the line ends of Unix.

use std::io::{BufRead, Cursor, Read};
use std::path::{Path, PathBuf};

use super::source::{fault, unreadable};
use crate::{Result, json};

/// Bytes of a piece, unless a line is longer.
const PIECE: u64 = 1 << 16;

/// A text that is read from the front.
pub(super) struct Lines {
    path: PathBuf,
    /// What was read and put back; it comes before what the reader has.
    back: Cursor<Vec<u8>>,
    reader: Box<dyn BufRead>,
    /// Lines that have been given, and their bytes.
    number: usize,
    bytes: usize,
}

impl Lines {
    /// Of a file, or what was unpacked of it. A byte order mark is passed over.
    pub fn new(path: &Path, mut reader: Box<dyn BufRead>) -> Result<Self> {
        let mut mark = Vec::new();
        reader.by_ref().take(3).read_to_end(&mut mark).map_err(|error| unreadable(path, &error))?;
        let mut lines = Self { path: path.into(), back: Cursor::default(), reader, number: 0, bytes: 0 };
        lines.unread(json::without_mark(&mark).to_vec());
        Ok(lines)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All that is still to be read.
    fn rest(&mut self) -> impl BufRead {
        (&mut self.back).chain(&mut self.reader)
    }

    /// Puts back the last bytes that were read.
    pub fn unread(&mut self, bytes: Vec<u8>) {
        let (read, all) = (self.back.position() as usize, self.back.get_ref().len());
        if read < all {
            // they came from there
            self.back.set_position((read - bytes.len()) as u64);
        } else {
            self.back = Cursor::new(bytes);
        }
    }

    fn line(&mut self, line: &mut Vec<u8>) -> Result<usize> {
        let read = self.rest().read_until(b'\n', line);
        read.map_err(|error| unreadable(&self.path, &error))
    }

    /// The first byte that is not blank, which stays to be read.
    pub fn begins(&mut self) -> Result<Option<u8>> {
        let (mut start, mut found) = (Vec::new(), None);
        while found.is_none() {
            let from = start.len();
            let read = self.rest().take(PIECE).read_to_end(&mut start);
            if read.map_err(|error| unreadable(&self.path, &error))? == 0 {
                break;
            }
            found = start[from..].trim_ascii_start().first().copied();
        }
        self.unread(start);
        Ok(found)
    }

    /// The first line that is not blank, which stays to be read.
    pub fn peek(&mut self) -> Result<Vec<u8>> {
        let (mut start, mut from) = (Vec::new(), 0);
        while self.line(&mut start)? > 0 {
            if !start[from..].trim_ascii().is_empty() {
                break;
            }
            from = start.len();
        }
        let line = start[from..].trim_ascii().to_vec();
        self.unread(start);
        Ok(line)
    }

    /// Bytes that come next; none at the end.
    pub fn buffered(&mut self) -> Result<&[u8]> {
        let (read, all) = (self.back.position() as usize, self.back.get_ref().len());
        if read < all {
            return Ok(&self.back.get_ref()[read..]);
        }
        self.reader.fill_buf().map_err(|error| unreadable(&self.path, &error))
    }

    /// Passes over bytes that were seen to come next.
    pub fn consume(&mut self, count: usize) {
        let (read, all) = (self.back.position() as usize, self.back.get_ref().len());
        if read < all { self.back.consume(count) } else { self.reader.consume(count) }
    }

    /// Counts what was read as given.
    pub fn given(&mut self, read: &[u8]) {
        self.number += line_ends(read);
        self.bytes += read.len();
    }

    /// Lines that have been given.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The next line that is not blank, and its number from 1.
    pub fn next(&mut self) -> Result<Option<(usize, String)>> {
        let mut line = Vec::new();
        while self.line(&mut line)? > 0 {
            self.number += 1;
            if !line.trim_ascii().is_empty() {
                let text = self.utf8(&line, self.number)?.to_owned();
                self.bytes += line.len();
                return Ok(Some((self.number, text)));
            }
            self.bytes += line.len();
            line.clear();
        }
        Ok(None)
    }

    /// The next piece, of whole lines; without `whole_lines`, where no line ends, of whole words, or else characters.
    pub fn piece(&mut self, whole_lines: bool) -> Result<Option<String>> {
        let mut piece = Vec::new();
        loop {
            let from = piece.len();
            let read = self.rest().take(PIECE).read_to_end(&mut piece);
            let read = read.map_err(|error| unreadable(&self.path, &error))?;
            let last = |is: &dyn Fn(u8) -> bool| piece[from..].iter().rposition(|&byte| is(byte)).map(|at| from + at);
            let after = |end: u8| last(&|byte| byte == end).map(|at| at + 1);
            let cut = match read as u64 {
                PIECE if whole_lines => after(b'\n'),
                // the last character may go on, or be half of an end of a line
                PIECE => after(b'\n')
                    .or_else(|| after(b' '))
                    .or_else(|| last(&|byte| byte & 0xc0 != 0x80).filter(|&at| at > 0)),
                _ => Some(piece.len()),
            };
            let Some(cut) = cut else { continue };
            self.unread(piece.split_off(cut));
            break;
        }
        let text = self.utf8(&piece, self.number + 1)?;
        let text = if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n") } else { text.to_owned() };
        self.given(&piece);
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// Bytes as text, the first of which are in line `first`.
    pub fn utf8<'b>(&self, bytes: &'b [u8], first: usize) -> Result<&'b str> {
        std::str::from_utf8(bytes).map_err(|error| {
            let good = error.valid_up_to();
            let line = first + line_ends(&bytes[..good]);
            let problem = format!("line {line}: not UTF-8 (byte {})", self.bytes + good);
            fault(&self.path, &problem, "convert it, from Latin-1 perhaps: iconv -f ISO-8859-1 -t UTF-8 FILE > TEXT")
        })
    }
}

pub(super) fn line_ends(bytes: &[u8]) -> usize {
    bytes.split(|&byte| byte == b'\n').count() - 1
}
