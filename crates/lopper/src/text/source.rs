//! What a file holds, by its first bytes: text, packed or not, or a table. Its name says nothing.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::{Error, Result};

/// Bytes that tell what a file is.
const HEAD: usize = 512;
/// Bytes of text that come of a byte that is packed, at most.
const LARGEST_GROWTH: u64 = 256;
/// Bytes of text that any file may hold.
const SMALL: u64 = 1 << 20;

/// What a file holds.
pub(super) enum Source {
    /// Text, unpacked.
    Text(Box<dyn BufRead>),
    /// The table of a Parquet file: that file, or what was unpacked into one without a name.
    Parquet(File),
}

/// What is no text: at which byte which bytes tell it, what it is, and how to make a text of it.
const OTHERS: [(usize, &[u8], &str, &str); 15] = [
    (
        0,
        b"version https://git-lfs",
        "the pointer that Git LFS puts in the place of a file",
        "fetch the file itself: git lfs pull",
    ),
    (0, b"ARROW1", "an Arrow file", ARROW),
    (0, b"\xff\xff\xff\xff", "an Arrow stream", ARROW),
    (0, b"PK\x03\x04", "a zip archive", "unpack it (unzip FILE) and give the files in it"),
    (257, b"ustar", "a tar archive", "unpack it (tar xf FILE) and give the files in it"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it and give the files in it"),
    (0, b"BZh", "compressed by bzip2", "unpack it (bunzip2 FILE)"),
    (0, b"\xfd7zXZ", "compressed by xz", "unpack it (unxz FILE)"),
    (0, b"\xff\xfe\0\0", "UTF-32", "convert it: iconv -f UTF-32 -t UTF-8 FILE > TEXT"),
    (0, b"\xff\xfe", "UTF-16", UTF16),
    (0, b"\xfe\xff", "UTF-16", UTF16),
    (0, b"%PDF", "a PDF", "make text of it (pdftotext FILE)"),
    (0, b"\x80\x04\x95", "a Python pickle", "write its texts as JSON lines: {\"text\": \"…\"}"),
    (0, b"GGUF", "a GGUF model", "give a file of text"),
    (0, b"SQLite format 3", "an SQLite database", "write its texts as JSON lines: {\"text\": \"…\"}"),
];

const ARROW: &str = "write it as Parquet: datasets.load_from_disk(DIRECTORY).to_parquet(\"texts.parquet\")";
const UTF16: &str = "convert it: iconv -f UTF-16 -t UTF-8 FILE > TEXT";

/// Opens a file, or a pipe, and looks what it holds.
///
/// # Errors
/// [`Error::Io`] when it cannot be read, [`Error::Text`] when it is known to be something else than text or a table of texts.
pub(super) fn open(path: &Path) -> Result<Source> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let size = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len());
    let (head, whole) = peek(file).map_err(Error::io("read", path))?;
    let unpacked: Box<dyn Read> = match &head[..] {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(whole)),
        // one frame after the other, and those that may be skipped
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            Box::new(zstd::Decoder::new(whole).map_err(Error::io("unpack", path))?)
        }
        [b'P', b'A', b'R', b'1', ..] if size.is_some() => {
            return File::open(path).map(Source::Parquet).map_err(Error::io("read", path));
        }
        _ => return recognised(path, &head, Box::new(BufReader::new(whole))),
    };
    let most = size.map_or(u64::MAX, |size| size.saturating_mul(LARGEST_GROWTH).saturating_add(SMALL));
    let (head, whole) = peek(Bounded { inner: unpacked, left: most }).map_err(|error| unreadable(path, &error))?;
    recognised(path, &head, Box::new(BufReader::with_capacity(1 << 16, whole)))
}

/// What begins with `head`.
fn recognised(path: &Path, head: &[u8], mut whole: Box<dyn BufRead>) -> Result<Source> {
    if head.starts_with(b"PAR1") {
        let mut file = tempfile::tempfile().map_err(Error::io("unpack", path))?;
        io::copy(&mut whole, &mut file).map_err(|error| unreadable(path, &error))?;
        return Ok(Source::Parquet(file));
    }
    match OTHERS.iter().find(|(at, magic, ..)| head.get(*at..).is_some_and(|rest| rest.starts_with(magic))) {
        Some((.., what, hint)) => Err(fault(path, &format!("this is {what}, not text"), *hint)),
        None => Ok(Source::Text(whole)),
    }
}

/// The first bytes of what can be read, and all of it.
fn peek<R: Read>(mut whole: R) -> io::Result<(Vec<u8>, impl Read)> {
    let mut head = Vec::with_capacity(HEAD);
    whole.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
    Ok((head.clone(), Cursor::new(head).chain(whole)))
}

/// An error in the middle of a file.
pub(super) fn unreadable(path: &Path, error: &io::Error) -> Error {
    fault(path, &format!("it cannot be read to its end: {error}"), "fetch the file again: it is damaged or cut short")
}

/// What is wrong with a file of text.
pub(super) fn fault(path: &Path, problem: &str, hint: impl Into<String>) -> Error {
    Error::Text { problem: format!("{}: {problem}", path.display()), hint: Some(hint.into()) }
}

/// Fails after so many bytes: what claims to be text may grow without end.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::other(format!("it grows to more than {LARGEST_GROWTH} times its bytes, which no text does"))
        })?;
        Ok(read)
    }
}
