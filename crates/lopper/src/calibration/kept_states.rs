//! Hidden states as a file, for a run that goes on: exactly as they are in memory, with their digest at the end.
//!
//! u64 little endian: bytes per number, width, number of sequences, tokens of each; the numbers; BLAKE3 of all of it.

use std::io::{self, BufRead, Read, Write};

use super::hidden_states::{HiddenDtype, HiddenStates};
use super::storage::{Storage, Stored};
use crate::error::Error;

/// Bytes read at a time.
const PIECE: usize = 1 << 20;
/// Bytes of a digest.
const DIGEST: usize = 32;

/// Passes on what is written, or read, and keeps its digest.
struct Digested<T> {
    inner: T,
    digest: blake3::Hasher,
}

impl<T> Digested<T> {
    fn new(inner: T) -> Self {
        Self { inner, digest: blake3::Hasher::new() }
    }
}

impl<T: Write> Write for Digested<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.digest.update_rayon(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Digested<T> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(bytes)?;
        self.digest.update_rayon(&bytes[..count]);
        Ok(count)
    }
}

impl HiddenStates {
    /// Writes all of it.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: impl Write) -> io::Result<()> {
        let mut out = Digested::new(out);
        let tokens = (0..self.len()).map(|index| self.tokens(index) as u64);
        let header = [self.dtype.bytes(), self.hidden as u64, self.sequences.len() as u64];
        for number in header.into_iter().chain(tokens) {
            out.write_all(&number.to_le_bytes())?;
        }
        for stored in &self.sequences {
            stored.with(|bytes| out.write_all(bytes)).map_err(io_error)??;
        }
        let digest = out.digest.finalize();
        out.inner.write_all(digest.as_bytes())
    }

    /// Whether these can be the states of `sequences` in a model of this width.
    pub fn fits(&self, sequences: &[Vec<u32>], hidden: usize) -> bool {
        let lengths = (0..self.len()).map(|index| self.tokens(index));
        self.hidden == hidden && lengths.eq(sequences.iter().map(Vec::len))
    }

    /// Reads what [`Self::write`] wrote.
    ///
    /// # Errors
    /// Those of `input`; `InvalidData` where its digest, or its size, is not that of its contents.
    pub fn read(input: impl BufRead, storage: &Storage) -> io::Result<Self> {
        let mut input = Digested::new(input);
        let dtype = match number(&mut input)? {
            2 => HiddenDtype::Bf16,
            4 => HiddenDtype::F32,
            _ => return Err(damaged()),
        };
        let (hidden, count) = (number(&mut input)? as usize, number(&mut input)?);
        if hidden == 0 {
            return Err(damaged());
        }
        let mut lengths = Vec::new();
        for _ in 0..count {
            lengths.push(number(&mut input)?);
        }
        let mut sequences = Vec::new();
        for length in lengths {
            let size = [hidden, dtype.bytes() as usize].into_iter().try_fold(length as usize, usize::checked_mul);
            let bytes = read_all(&mut input, size.ok_or_else(damaged)?)?;
            sequences.push(Stored::new(bytes, storage).map_err(io_error)?);
        }
        let expected = input.digest.finalize();
        let mut digest = [0; DIGEST];
        input.inner.read_exact(&mut digest)?;
        if digest != *expected.as_bytes() || !input.inner.fill_buf()?.is_empty() {
            return Err(damaged());
        }
        Ok(Self { hidden, dtype, storage: storage.clone(), sequences })
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the hidden states kept there are damaged")
}

fn number(input: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    input.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// Grows with what is there: a length that lies takes no memory.
fn read_all(input: &mut impl Read, size: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < size {
        let start = bytes.len();
        bytes.resize(size.min(start + PIECE), 0);
        input.read_exact(&mut bytes[start..])?;
    }
    Ok(bytes)
}

fn io_error(error: Error) -> io::Error {
    match error {
        Error::Io { source, .. } => source,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::super::hidden_states::{HiddenDtype, HiddenStates};
    use super::super::storage::{Storage, Stored};

    #[test]
    fn states_are_read_as_they_were_written_and_damage_is_found() {
        let home = tempfile::tempdir().expect("directory");
        let disk = Storage::on_disk(home.path()).expect("a file");
        let subnormal = [f32::MIN_POSITIVE / 2.0; 5].map(f32::to_le_bytes).concat();
        for (dtype, contents) in [
            (HiddenDtype::F32, vec![(0..120).collect(), subnormal]),
            (HiddenDtype::Bf16, vec![(0..2_000_000_u32).map(|i| i as u8).collect(), Vec::new()]),
        ] {
            for (from, to) in [(&Storage::Memory, &disk), (&disk, &Storage::Memory)] {
                let put = |bytes: &Vec<u8>| Stored::new(bytes.clone(), from).expect("stored");
                let sequences = contents.iter().map(put).collect();
                let states = HiddenStates { hidden: 5, dtype, storage: from.clone(), sequences };
                let mut bytes = Vec::new();
                states.write(&mut bytes).expect("memory");
                let read = HiddenStates::read(bytes.as_slice(), to).expect("as written");
                assert_eq!((read.len(), read.tokens(0)), (states.len(), states.tokens(0)));
                for (stored, content) in read.sequences.iter().zip(&contents) {
                    assert!(stored.with(|bytes| bytes == content).expect("readable"));
                }
                for place in [0, 9, 17, 25, bytes.len() / 2, bytes.len() - 1] {
                    let mut damaged = bytes.clone();
                    damaged[place] ^= 4;
                    assert!(read_of(&damaged).is_err(), "byte {place}");
                }
                assert!(read_of(&bytes[..bytes.len() - 1]).is_err());
                assert!(read_of(&[bytes.as_slice(), &[0]].concat()).is_err());
            }
        }
    }

    fn read_of(bytes: &[u8]) -> std::io::Result<HiddenStates> {
        HiddenStates::read(bytes, &Storage::Memory)
    }
}
