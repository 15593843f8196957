//! A value as bytes that say whether they are all of it: CBOR, which has every number, then its BLAKE3.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes of a digest.
const DIGEST: usize = 32;

/// The bytes of a value.
///
/// # Errors
/// If it has no such form.
pub(super) fn seal(value: &impl Serialize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).map_err(std::io::Error::other)?;
    let digest = blake3::hash(&bytes);
    bytes.extend_from_slice(digest.as_bytes());
    Ok(bytes)
}

/// The value of what [`seal`] gave.
///
/// # Errors
/// What is wrong with the bytes.
pub(super) fn unseal<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let (bytes, digest) = bytes.split_last_chunk::<DIGEST>().ok_or("it is cut short")?;
    if blake3::hash(bytes) != *digest {
        return Err("it is cut short or damaged".into());
    }
    let mut rest = bytes;
    let value = ciborium::from_reader(&mut rest).map_err(|error| error.to_string())?;
    if rest.is_empty() { Ok(value) } else { Err(format!("{} bytes follow its end", rest.len())) }
}
