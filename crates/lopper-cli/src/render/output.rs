//! Stdout. A reader that closed the pipe early wants no more: that is no error.

use std::io::{ErrorKind, Write};

use lopper::{Error, Result};
use serde::Serialize;

/// Prints text as it stands.
///
/// # Errors
/// If stdout cannot be written.
pub fn print(text: &str) -> Result<()> {
    bytes(text.as_bytes())
}

/// Prints bytes as they stand.
///
/// # Errors
/// If stdout cannot be written.
pub fn bytes(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Error::io("write", "stdout")(error)),
        _ => Ok(()),
    }
}

/// Prints a value as indented JSON.
///
/// # Errors
/// If stdout cannot be written.
pub fn json<T: Serialize>(value: &T) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).map_err(|error| Error::io("write", "stdout")(error.into()))?;
    text.push('\n');
    print(&text)
}
