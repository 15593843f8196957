//! Structs of Thrift's compact protocol (apache/thrift, doc/specs/thrift-compact-protocol.md), as far as lengths and integers:
//! what a Parquet file says of itself.

use std::collections::BTreeMap;

/// Structs and lists within each other.
const DEEPEST: usize = 64;

/// A field, or an entry of a list.
pub enum Item {
    Number(i64),
    List(Vec<Item>),
    Struct(BTreeMap<i16, Item>),
    /// Anything else, passed over.
    Other,
}

impl Item {
    pub fn as_number(&self) -> Option<i64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    /// A number in a struct.
    pub fn number(&self, field: i16) -> Option<i64> {
        if let Self::Struct(fields) = self { fields.get(&field)?.as_number() } else { None }
    }
}

/// Bytes that are read from the front; `None` where they are not what they should be.
pub struct Thrift<'a>(&'a [u8]);

impl<'a> Thrift<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The fields of a struct.
    pub fn fields(&mut self) -> Option<BTreeMap<i16, Item>> {
        self.structure(DEEPEST)
    }

    /// Bytes that were not read.
    pub fn left(&self) -> usize {
        self.0.len()
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.0 = self.0.get(count..)?;
        Some(())
    }

    fn structure(&mut self, depth: usize) -> Option<BTreeMap<i16, Item>> {
        let depth = depth.checked_sub(1)?;
        let (mut fields, mut field) = (BTreeMap::new(), 0_i16);
        loop {
            let head = self.byte()?;
            let (distance, kind) = (head >> 4, head & 15);
            if kind == 0 {
                return Some(fields);
            }
            // no distance to the field before: its number follows
            field = if distance == 0 { self.number()? as i16 } else { field.wrapping_add(i16::from(distance)) };
            let item = if is_bool(kind) { Item::Other } else { self.item(kind, depth)? };
            fields.insert(field, item);
        }
    }

    fn item(&mut self, kind: u8, depth: usize) -> Option<Item> {
        Some(match kind {
            3 => self.skip(1).map(|()| Item::Other)?,
            4..=6 => Item::Number(self.number()?),
            7 => self.skip(8).map(|()| Item::Other)?,
            8 => {
                let length = self.varint()?;
                self.skip(usize::try_from(length).ok()?).map(|()| Item::Other)?
            }
            9 | 10 => self.list(depth.checked_sub(1)?)?,
            12 => Item::Struct(self.structure(depth)?),
            // maps, which Parquet has none of, and what there is not
            _ => return None,
        })
    }

    fn list(&mut self, depth: usize) -> Option<Item> {
        let head = self.byte()?;
        let count = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
        let entry = |_| match head & 15 {
            kind if is_bool(kind) => self.skip(1).map(|()| Item::Other),
            kind => self.item(kind, depth),
        };
        (0..count).map(entry).collect::<Option<_>>().map(Item::List)
    }

    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Some(value);
            }
        }
        None
    }

    /// A signed integer, in zigzag.
    fn number(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }
}

/// In a struct their value is their kind, in a list a byte.
fn is_bool(kind: u8) -> bool {
    kind == 1 || kind == 2
}
