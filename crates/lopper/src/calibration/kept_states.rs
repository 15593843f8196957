//! Hidden states as a file, for a run that goes on: exactly as they are in memory, with their digest at the end.
//!
//! u64 little endian: bytes per number, width, number of sequences, tokens of each; the numbers; BLAKE3 of all of it.

use std::io::{self, BufRead, Read, Write};

use candle_core::Device;

use super::hidden_states::{HiddenDtype, HiddenStates, Stored};

/// Numbers converted at a time.
const PIECE: usize = 512 * 1024;
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
        let tokens = self.sequences.iter().map(|stored| (stored.len() / self.hidden) as u64);
        let header = [self.dtype.bytes(), self.hidden as u64, self.sequences.len() as u64];
        for number in header.into_iter().chain(tokens) {
            out.write_all(&number.to_le_bytes())?;
        }
        let mut bytes = Vec::new();
        for stored in &self.sequences {
            match stored {
                Stored::F32(data) => write_all(&mut out, data, f32::to_le_bytes, &mut bytes)?,
                Stored::Bf16(data) => write_all(&mut out, data, u16::to_le_bytes, &mut bytes)?,
            }
        }
        let digest = out.digest.finalize();
        out.inner.write_all(digest.as_bytes())
    }

    /// Whether these can be the states of `sequences` in a model of this width.
    pub fn fits(&self, sequences: &[Vec<u32>], hidden: usize) -> bool {
        let lengths = self.sequences.iter().map(|stored| stored.len() / self.hidden);
        self.hidden == hidden && lengths.eq(sequences.iter().map(Vec::len))
    }

    /// Reads what [`Self::write`] wrote.
    ///
    /// # Errors
    /// Those of `input`; `InvalidData` where its digest, or its size, is not that of its contents.
    pub fn read(input: impl BufRead, device: &Device) -> io::Result<Self> {
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
            let size =
                usize::try_from(length).ok().and_then(|length| length.checked_mul(hidden)).ok_or_else(damaged)?;
            sequences.push(match dtype {
                HiddenDtype::F32 => Stored::F32(read_all(&mut input, size, f32::from_le_bytes)?),
                HiddenDtype::Bf16 => Stored::Bf16(read_all(&mut input, size, u16::from_le_bytes)?),
            });
        }
        let expected = input.digest.finalize();
        let mut digest = [0; DIGEST];
        input.inner.read_exact(&mut digest)?;
        if digest != *expected.as_bytes() || !input.inner.fill_buf()?.is_empty() {
            return Err(damaged());
        }
        Ok(Self { hidden, dtype, device: device.clone(), sequences })
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

fn write_all<T: Copy, const N: usize>(
    out: &mut impl Write,
    data: &[T],
    to_bytes: impl Fn(T) -> [u8; N],
    bytes: &mut Vec<u8>,
) -> io::Result<()> {
    for piece in data.chunks(PIECE) {
        bytes.resize(piece.len() * N, 0);
        for (bytes, &number) in bytes.as_chunks_mut::<N>().0.iter_mut().zip(piece) {
            *bytes = to_bytes(number);
        }
        out.write_all(bytes)?;
    }
    Ok(())
}

/// Grows with what is there: a length that lies takes no memory.
fn read_all<T, const N: usize>(
    input: &mut impl Read,
    size: usize,
    from_bytes: impl Fn([u8; N]) -> T,
) -> io::Result<Vec<T>> {
    let (mut data, mut bytes) = (Vec::new(), vec![0; PIECE * N]);
    while data.len() < size {
        let piece = &mut bytes[..(size - data.len()).min(PIECE) * N];
        input.read_exact(piece)?;
        data.extend(piece.as_chunks::<N>().0.iter().map(|&number| from_bytes(number)));
    }
    data.shrink_to_fit();
    Ok(data)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::super::hidden_states::{HiddenDtype, HiddenStates, Stored};

    #[test]
    fn states_are_read_as_they_were_written_and_damage_is_found() {
        let f32s = (0..30u8).map(|i| f32::from(i).sqrt() - 2.0).collect();
        for (dtype, sequences) in [
            (HiddenDtype::F32, vec![Stored::F32(f32s), Stored::F32(vec![f32::MIN_POSITIVE / 2.0; 5])]),
            (HiddenDtype::Bf16, vec![Stored::Bf16((0..100_000).map(|i| i as u16).collect()), Stored::Bf16(Vec::new())]),
        ] {
            let states = HiddenStates { hidden: 5, dtype, device: Device::Cpu, sequences };
            let mut bytes = Vec::new();
            states.write(&mut bytes).expect("memory");
            let read = HiddenStates::read(bytes.as_slice(), &Device::Cpu).expect("as written");
            assert_eq!((read.len(), read.bytes()), (states.len(), states.bytes()));
            let rows = |states: &HiddenStates| states.batch(&[0]).expect("rows").0;
            let same = |a: &Tensor, b: &Tensor| {
                let bits = |x: &Tensor| x.flatten_all().and_then(|x| x.to_vec1::<f32>()).expect("f32");
                bits(a).iter().zip(bits(b)).all(|(a, b)| a.to_bits() == b.to_bits())
            };
            assert!(same(&rows(&read), &rows(&states)));
            for place in [0, 9, 17, 25, bytes.len() / 2, bytes.len() - 1] {
                let mut damaged = bytes.clone();
                damaged[place] ^= 4;
                assert!(HiddenStates::read(damaged.as_slice(), &Device::Cpu).is_err(), "byte {place}");
            }
            assert!(HiddenStates::read(&bytes[..bytes.len() - 1], &Device::Cpu).is_err());
            assert!(HiddenStates::read([bytes.as_slice(), &[0]].concat().as_slice(), &Device::Cpu).is_err());
        }
    }
}
