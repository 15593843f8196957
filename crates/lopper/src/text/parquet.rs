//! The rows of a Parquet file.
//!
//! What the file claims of itself is checked before the library that reads it believes it: columns within columns, as deep
//! as which the library goes, and bytes and values in memory that few bytes of the file stand for. A panic of the library
//! is an error.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;

use super::thrift::{Item, Thrift};
use crate::error::caught;

/// Levels of columns within columns.
const DEEPEST: usize = 32;
/// Bytes, or values, in memory for a byte of the file.
const LARGEST_GROWTH: u64 = 256;
/// The same for any file.
const SMALL: u64 = 1 << 20;
/// What ends a file, after the length of its metadata.
const MAGIC: &[u8] = b"PAR1";
/// Bytes of these two.
const TAIL: u64 = 8;
/// Bytes that hold the header of most pages, and of any: it may quote the least and the greatest value.
const USUAL_HEADER: u64 = 1 << 12;
const LARGEST_HEADER: u64 = 1 << 24;

/// Gives `each` the rows of a file until it has seen enough. No more than its metadata, a page of each column and a row are in memory.
///
/// # Errors
/// What is wrong with it.
pub(super) fn rows(file: &File, each: &mut dyn FnMut(Value) -> bool) -> Result<(), String> {
    let size = file.metadata().map_err(|error| error.to_string())?.len();
    check_columns(file, size)?;
    let most = size.saturating_mul(LARGEST_GROWTH).saturating_add(SMALL);
    caught(|| {
        let unreadable = |error: ParquetError| error.to_string();
        let reader = file.try_clone().map_err(|error| error.to_string())?;
        let reader = SerializedFileReader::new(reader).map_err(unreadable)?;
        check_pages(file, size, reader.metadata(), most)?;
        let mut read = 0;
        for row in reader.get_row_iter(None).map_err(unreadable)? {
            let row = row.map_err(unreadable)?.to_json_value();
            read += bytes(&row) as u64;
            if read > most {
                return Err(grown("bytes of rows", read, size));
            }
            if !each(row) {
                break;
            }
        }
        Ok(())
    })?
}

/// Checks that columns do not nest deeper, and no column claims more inner ones, than there are.
fn check_columns(file: &File, size: u64) -> Result<(), String> {
    let damaged = || "its metadata are cut short or damaged".to_owned();
    let metadata = metadata(file, size)?.ok_or_else(damaged)?;
    let fields = Thrift::new(&metadata).fields().ok_or_else(damaged)?;
    let Some(Item::List(columns)) = fields.get(&2) else { return Err(damaged()) };
    // of every column that is open: how many inner ones are still to come
    let mut open: Vec<usize> = Vec::new();
    for column in columns {
        let inner = usize::try_from(column.number(5).unwrap_or(0)).ok().filter(|&inner| inner < columns.len());
        let inner = inner.ok_or_else(|| format!("of {} columns one claims more inner ones", columns.len()))?;
        if let Some(left) = open.last_mut() {
            *left -= 1;
        }
        open.push(inner);
        while open.last() == Some(&0) {
            open.pop();
        }
        if open.len() > DEEPEST {
            return Err(format!("its columns are nested more than {DEEPEST} levels deep"));
        }
    }
    Ok(())
}

/// The metadata at the end of a file.
fn metadata(file: &File, size: u64) -> Result<Option<Vec<u8>>, String> {
    let Some(end) = size.checked_sub(TAIL) else { return Ok(None) };
    let tail = part(file, end, TAIL)?;
    let Some((length, MAGIC)) = tail.split_first_chunk::<4>() else { return Ok(None) };
    let length = u64::from(u32::from_le_bytes(*length));
    end.checked_sub(length).map(|start| part(file, start, length)).transpose()
}

/// So many bytes of a file, or fewer where it ends.
fn part(file: &File, start: u64, length: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let (mut file, fails) = (file, |error: std::io::Error| error.to_string());
    file.seek(SeekFrom::Start(start)).map_err(fails)?;
    file.take(length).read_to_end(&mut bytes).map_err(fails)?;
    Ok(bytes)
}

/// Checks that pages do not claim to grow to more than `most` bytes or values, nor the file to have as many rows.
fn check_pages(file: &File, size: u64, metadata: &ParquetMetaData, most: u64) -> Result<(), String> {
    let mut total = Claims::default();
    for group in metadata.row_groups() {
        total.rows = total.rows.saturating_add(claimed(group.num_rows()));
        for column in group.columns() {
            let (start, length) = column.byte_range();
            total.add(file, start, start.saturating_add(length).min(size))?;
        }
    }
    let claims = [("rows", total.rows), ("values", total.values), ("bytes of pages", total.bytes)];
    match claims.into_iter().find(|&(_, claimed)| claimed.cast_unsigned() > most) {
        Some((what, claimed)) => Err(grown(what, claimed, size)),
        None => Ok(()),
    }
}

/// What pages say they hold.
#[derive(Default)]
struct Claims {
    rows: i64,
    values: i64,
    bytes: i64,
}

impl Claims {
    /// Those of pages one after the other.
    fn add(&mut self, file: &File, mut start: u64, end: u64) -> Result<(), String> {
        while start < end {
            let (fields, length) = header(file, start, end)?;
            let number = |field: i16| fields.get(&field).and_then(Item::as_number).unwrap_or(0);
            self.bytes = self.bytes.saturating_add(claimed(number(2)));
            // a page of data, one of a dictionary, one of data in its second form
            let values = [5, 7, 8].iter().filter_map(|field| fields.get(field)?.number(1));
            self.values = values.map(claimed).fold(self.values, i64::saturating_add);
            // the library says what is wrong with a page that is not all there
            let stored = u64::try_from(number(3)).unwrap_or(u64::MAX);
            start = start.saturating_add(length).saturating_add(stored);
        }
        Ok(())
    }
}

/// The header of a page that begins at `start`, and the bytes it takes.
fn header(file: &File, start: u64, end: u64) -> Result<(BTreeMap<i16, Item>, u64), String> {
    let mut length = USUAL_HEADER;
    loop {
        let bytes = part(file, start, length.min(end - start))?;
        let mut header = Thrift::new(&bytes);
        if let Some(fields) = header.fields() {
            return Ok((fields, (bytes.len() - header.left()) as u64));
        }
        if length >= (end - start).min(LARGEST_HEADER) {
            return Err("the header of a page is cut short or damaged".into());
        }
        length *= 8;
    }
}

/// A number that should not be negative.
fn claimed(number: i64) -> i64 {
    if number < 0 { i64::MAX } else { number }
}

fn grown(what: &str, claimed: impl std::fmt::Display, size: u64) -> String {
    format!("it would grow to {claimed} {what}, from a file of {size} bytes")
}

/// Roughly the bytes of a value.
fn bytes(value: &Value) -> usize {
    let inner = match value {
        Value::String(text) => text.len(),
        Value::Array(list) => list.iter().map(bytes).sum(),
        Value::Object(fields) => fields.values().map(bytes).sum(),
        _ => 0,
    };
    inner + 1
}
