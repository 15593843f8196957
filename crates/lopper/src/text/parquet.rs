//! The rows of a Parquet file.
//!
//! What the file claims of itself is checked before the library that reads it believes it: columns within columns, as deep
//! as which the library goes, and bytes and values in memory that few bytes of the file stand for. A panic of the library
//! is an error.

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;

use super::thrift::{Item, Thrift};
use crate::error::caught;

/// Levels of columns within columns.
const DEEPEST: usize = 32;
/// Bytes, or values, in memory for a byte of the file.
const LARGEST_GROWTH: usize = 256;
/// The same for any file.
const SMALL: usize = 1 << 20;
/// What ends a file, after the length of its metadata.
const MAGIC: &[u8] = b"PAR1";

/// Gives `each` the rows of a file with these contents, until it has seen enough.
///
/// # Errors
/// What is wrong with it.
pub(super) fn rows(contents: Vec<u8>, each: &mut dyn FnMut(Value) -> bool) -> Result<(), String> {
    check_columns(&contents)?;
    let most = contents.len().saturating_mul(LARGEST_GROWTH).saturating_add(SMALL);
    let contents = Bytes::from(contents);
    caught(|| {
        let unreadable = |error: ParquetError| error.to_string();
        let reader = SerializedFileReader::new(contents.clone()).map_err(unreadable)?;
        check_pages(&contents, reader.metadata(), most)?;
        let mut size = 0;
        for row in reader.get_row_iter(None).map_err(unreadable)? {
            let row = row.map_err(unreadable)?.to_json_value();
            size += bytes(&row);
            if size > most {
                return Err(grown("bytes of rows", size, &contents));
            }
            if !each(row) {
                break;
            }
        }
        Ok(())
    })?
}

/// Checks that columns do not nest deeper, and no column claims more inner ones, than there are.
fn check_columns(contents: &[u8]) -> Result<(), String> {
    let damaged = || "its metadata are cut short or damaged".to_owned();
    let metadata = metadata(contents).ok_or_else(damaged)?;
    let fields = Thrift::new(metadata).fields().ok_or_else(damaged)?;
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
fn metadata(contents: &[u8]) -> Option<&[u8]> {
    let (rest, length) = contents.strip_suffix(MAGIC)?.split_last_chunk::<4>()?;
    rest.get(rest.len().checked_sub(u32::from_le_bytes(*length) as usize)?..)
}

/// Checks that pages do not claim to grow to more than `most` bytes or values, nor the file to have as many rows.
fn check_pages(contents: &[u8], metadata: &ParquetMetaData, most: usize) -> Result<(), String> {
    let mut total = Claims::default();
    for group in metadata.row_groups() {
        total.rows = total.rows.saturating_add(claimed(group.num_rows()));
        for column in group.columns() {
            let (start, length) = column.byte_range();
            let pages = contents.get(start as usize..).map(|from| &from[..from.len().min(length as usize)]);
            total.add(pages.unwrap_or_default())?;
        }
    }
    let claims = [("rows", total.rows), ("values", total.values), ("bytes of pages", total.bytes)];
    match claims.into_iter().find(|&(_, claimed)| usize::try_from(claimed).map_or(true, |claimed| claimed > most)) {
        Some((what, claimed)) => Err(grown(what, claimed, contents)),
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
    fn add(&mut self, pages: &[u8]) -> Result<(), String> {
        let mut pages = Thrift::new(pages);
        while !pages.is_empty() {
            let fields = pages.fields().ok_or("the header of a page is cut short or damaged")?;
            let number = |field: i16| fields.get(&field).and_then(Item::as_number).unwrap_or(0);
            self.bytes = self.bytes.saturating_add(claimed(number(2)));
            // a page of data, one of a dictionary, one of data in its second form
            let values = [5, 7, 8].iter().filter_map(|field| fields.get(field)?.number(1));
            self.values = values.map(claimed).fold(self.values, i64::saturating_add);
            if usize::try_from(number(3)).ok().and_then(|stored| pages.skip(stored)).is_none() {
                // the library says what is wrong with a page that is not all there
                break;
            }
        }
        Ok(())
    }
}

/// A number that should not be negative.
fn claimed(number: i64) -> i64 {
    if number < 0 { i64::MAX } else { number }
}

fn grown(what: &str, claimed: impl std::fmt::Display, contents: &[u8]) -> String {
    format!("it would grow to {claimed} {what}, from a file of {} bytes", contents.len())
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
