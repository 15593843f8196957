//! The header of a safetensors file: 8 bytes of length n (little endian), n bytes of JSON, then the tensors.
//!
//! The JSON maps each tensor to `{dtype, shape, data_offsets: [begin, end]}`, offsets counted from the end of the
//! header; `__metadata__` maps strings to strings. Format: huggingface/safetensors, README. The `safetensors` crate
//! reads the same, and a test holds the two to the same verdict on every file; this reader also names the tensor
//! that is at fault, and refuses a name that occurs twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use safetensors::Dtype;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

/// Bytes of the length field that opens a file.
const LENGTH_FIELD: usize = 8;
/// Longest header that readers of the format accept.
const MAX_HEADER: u64 = 100_000_000;

/// A validated header: the tensors tile the rest of the file without gap or overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Bytes before the first tensor, the length field included.
    pub length: usize,
    /// Tensors in the order of their bytes.
    pub tensors: Vec<HeaderTensor>,
    /// The free-form `__metadata__`, usually `format: pt`.
    pub metadata: BTreeMap<String, String>,
}

/// One tensor of a [`Header`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderTensor {
    /// Its name.
    pub name: String,
    /// How its elements are stored.
    pub dtype: Dtype,
    /// Its dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Where its bytes are, counted from the start of the file.
    pub bytes: Range<usize>,
}

/// The beginning of a file, with its header if it has one.
pub(super) struct Prefix {
    /// The length field and as many bytes as it says, where the file has so many.
    pub bytes: Vec<u8>,
    /// Size of the whole file in bytes.
    pub file: usize,
}

impl Prefix {
    /// Reads as much as [`Self::parse`] has to see.
    pub fn read(file: &mut (impl Read + Seek)) -> io::Result<Self> {
        let size = file.seek(SeekFrom::End(0))?;
        file.rewind()?;
        let mut bytes = Vec::new();
        file.take(LENGTH_FIELD as u64).read_to_end(&mut bytes)?;
        let length = bytes.first_chunk().map_or(0, |field| u64::from_le_bytes(*field));
        // of what claims more, a few bytes tell what it is instead
        file.take(if length > MAX_HEADER { 64 } else { length }).read_to_end(&mut bytes)?;
        Ok(Self { bytes, file: usize::try_from(size).map_err(io::Error::other)? })
    }

    /// Parses and validates the header.
    pub fn parse(&self) -> Result<Header, String> {
        Header::of(&self.bytes, self.file)
    }
}

impl Header {
    /// Parses and validates the header of a whole file.
    ///
    /// # Errors
    /// A sentence without the file's name that says what is wrong and with which tensor.
    pub fn parse(file: &[u8]) -> Result<Self, String> {
        Self::of(file, file.len())
    }

    /// The same from the `start` of a file of `size` bytes.
    fn of(start: &[u8], size: usize) -> Result<Self, String> {
        let json = header_json(start, size)?;
        let length = LENGTH_FIELD + json.len();
        let raw: RawHeader = serde_json::from_slice(json)
            .map_err(|error| format!("the header is not what safetensors defines: {error}"))?;
        let mut tensors =
            raw.tensors.into_iter().map(|tensor| tensor.validate(length)).collect::<Result<Vec<_>, _>>()?;
        tensors.sort_by_key(|tensor| (tensor.bytes.start, tensor.bytes.end));
        check_tiling(&tensors, length, size)?;
        Ok(Self { length, tensors, metadata: raw.metadata })
    }
}

/// The JSON text between the length field and the tensors.
fn header_json(start: &[u8], size: usize) -> Result<&[u8], String> {
    let (field, rest) = start
        .split_first_chunk::<LENGTH_FIELD>()
        .ok_or_else(|| format!("the file has {size} bytes, too few for a safetensors header"))?;
    let length = u64::from_le_bytes(*field);
    if length > MAX_HEADER {
        return Err(format!(
            "its header claims {length} bytes, more than any safetensors file has; this is another format"
        ));
    }
    let length = usize::try_from(length).map_err(|error| error.to_string())?;
    rest.get(..length).ok_or_else(|| {
        format!("truncated: the header claims {length} bytes, the file ends after {}", size - LENGTH_FIELD)
    })
}

/// Tensors sorted by offset must follow each other from the header to the end of the file.
fn check_tiling(tensors: &[HeaderTensor], header: usize, file: usize) -> Result<(), String> {
    let mut end = header;
    let mut previous = "the header";
    for HeaderTensor { name, bytes, .. } in tensors {
        if bytes.start != end {
            let fault = if bytes.start < end { "overlaps" } else { "leaves a gap after" };
            return Err(format!(
                "tensor `{name}` starts at byte {} and {fault} {previous}, which ends at byte {end}",
                bytes.start
            ));
        }
        end = bytes.end;
        previous = name;
    }
    match file.cmp(&end) {
        std::cmp::Ordering::Less => Err(truncation(tensors, end, file)),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => {
            Err(format!("{} bytes follow the last tensor, {previous}, and belong to none", file - end))
        }
    }
}

fn truncation(tensors: &[HeaderTensor], end: usize, file: usize) -> String {
    let missing = tensors.iter().filter(|tensor| tensor.bytes.end > file).map(|tensor| tensor.name.as_str());
    let first = missing.clone().next().unwrap_or_default();
    let count = missing.count();
    format!(
        "truncated: the header describes {end} bytes, the file has {file}; {count} tensors are incomplete, first `{first}`"
    )
}

/// The JSON as it stands, duplicates refused.
struct RawHeader {
    tensors: Vec<RawTensor>,
    metadata: BTreeMap<String, String>,
}

struct RawTensor {
    name: String,
    fields: RawFields,
}

#[derive(serde::Deserialize)]
struct RawFields {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

impl RawTensor {
    /// Checks dtype, shape and offsets against each other and moves the offsets to the start of the file.
    fn validate(self, header: usize) -> Result<HeaderTensor, String> {
        let Self { name, fields: RawFields { dtype, shape, data_offsets: (begin, end) } } = self;
        let known = serde_json::from_value::<Dtype>(dtype.clone().into());
        let dtype = known.map_err(|_| format!("tensor `{name}` has the unknown dtype `{dtype}`"))?;
        let bits = shape.iter().try_fold(dtype.bitsize(), |product, &size| product.checked_mul(size));
        // The product of the sizes alone must fit as well: a zero behind an overflow does not excuse it.
        let count = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
        let (Some(bits), Some(_)) = (bits, count) else {
            return Err(format!("tensor `{name}` of shape {shape:?} has more elements than can be addressed"));
        };
        let held = end
            .checked_sub(begin)
            .ok_or_else(|| format!("tensor `{name}` ends at offset {end}, before it begins at {begin}"))?;
        if bits % 8 != 0 || held != bits / 8 {
            return Err(format!(
                "tensor `{name}` is {dtype:?} {shape:?}, which takes {bits} bits, but its offsets {begin}..{end} hold {held} bytes"
            ));
        }
        let (Some(start), Some(end)) = (begin.checked_add(header), end.checked_add(header)) else {
            return Err(format!("tensor `{name}` has the impossible offsets {begin}..{end}"));
        };
        Ok(HeaderTensor { name, dtype, shape, bytes: start..end })
    }
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RawHeaderVisitor)
    }
}

struct RawHeaderVisitor;

impl<'de> Visitor<'de> for RawHeaderVisitor {
    type Value = RawHeader;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a map from tensor names to dtype, shape and data_offsets")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
        let mut header = RawHeader { tensors: Vec::new(), metadata: BTreeMap::new() };
        let mut seen = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !seen.insert(name.clone()) {
                return Err(de::Error::custom(format!("tensor `{name}` is described twice")));
            }
            if name == "__metadata__" {
                // `null` stands for none, as in the library
                header.metadata = map.next_value::<Option<_>>()?.unwrap_or_default();
                continue;
            }
            let fields = map.next_value().map_err(|error| de::Error::custom(format!("tensor `{name}`: {error}")))?;
            header.tensors.push(RawTensor { name, fields });
        }
        Ok(header)
    }
}
