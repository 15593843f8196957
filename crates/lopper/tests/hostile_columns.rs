//! Parquet files that are written to harm their reader: each gives an error, and takes no more memory than it is worth.

use crate::files;

use std::fs;

use files::directory;
use lopper::evaluation::{Asking, QuestionSet, Task};
use lopper::progress::Silent;

/// A value of Thrift's compact protocol.
enum Thrift {
    I32(i64),
    I64(i64),
    Text(&'static str),
    List(Vec<Thrift>),
    Struct(Vec<(u8, Thrift)>),
}
use Thrift::{I32, I64, List, Struct, Text};

impl Thrift {
    fn kind(&self) -> u8 {
        match self {
            I32(_) => 5,
            I64(_) => 6,
            Text(_) => 8,
            List(_) => 9,
            Struct(_) => 12,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            I32(number) | I64(number) => varint((number << 1 ^ number >> 63) as u64, out),
            Text(text) => {
                varint(text.len() as u64, out);
                out.extend(text.as_bytes());
            }
            List(items) => {
                out.push(0xf0 | items.first().map_or(12, Thrift::kind));
                varint(items.len() as u64, out);
                for item in items {
                    item.write(out);
                }
            }
            Struct(fields) => {
                let mut before = 0;
                for (field, item) in fields {
                    out.push((field - before) << 4 | item.kind());
                    before = *field;
                    item.write(out);
                }
                out.push(0);
            }
        }
    }
}

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number > 127 {
        out.push(number as u8 | 128);
        number >>= 7;
    }
    out.push(number as u8);
}

fn size(bytes: &[u8]) -> i64 {
    i64::try_from(bytes.len()).unwrap()
}

/// A column of columns; those follow it.
fn group(children: i64) -> Thrift {
    Struct(vec![(3, I32(0)), (4, Text("g")), (5, I32(children))])
}

/// A column of texts.
fn leaf() -> Thrift {
    Struct(vec![(1, I32(6)), (3, I32(0)), (4, Text("q")), (6, I32(0))])
}

/// A file of one column chunk with these bytes, all its numbers as they are given.
fn file(schema: Vec<Thrift>, chunk: &[u8], codec: i64, rows: i64) -> Vec<u8> {
    let mut file = b"PAR1".to_vec();
    file.extend(chunk);
    let length = size(chunk);
    let column = vec![
        (1, I32(6)),
        (2, List(vec![I32(0)])),
        (3, List(vec![Text("q")])),
        (4, I32(codec)),
        (5, I64(rows)),
        (6, I64(length)),
        (7, I64(length)),
        (9, I64(4)),
    ];
    let chunks = List(vec![Struct(vec![(2, I64(4)), (3, Struct(column))])]);
    let groups = List(vec![Struct(vec![(1, chunks), (2, I64(length)), (3, I64(rows))])]);
    let start = file.len();
    Struct(vec![(1, I32(1)), (2, List(schema)), (3, I64(rows)), (4, groups)]).write(&mut file);
    let length = (file.len() - start) as u32;
    file.extend(length.to_le_bytes());
    file.extend(b"PAR1");
    file
}

/// A page of data: its claims, and what is there.
fn page(values: i64, grown: i64, contents: &[u8]) -> Vec<u8> {
    page_of((0, 5), vec![(1, I32(values)), (2, I32(0)), (3, I32(3)), (4, I32(3))], grown, contents)
}

/// A page of a type, with the field of its own header.
fn page_of((kind, field): (i64, u8), header: Vec<(u8, Thrift)>, grown: i64, contents: &[u8]) -> Vec<u8> {
    let mut page = Vec::new();
    let stored = size(contents);
    Struct(vec![(1, I32(kind)), (2, I32(grown)), (3, I32(stored)), (field, Struct(header))]).write(&mut page);
    page.extend(contents);
    page
}

fn refusal(file: &[u8]) -> String {
    let dir = directory();
    fs::write(dir.path().join("q.parquet"), file).unwrap();
    let task =
        "name = 'n'\nversion = '1'\nquestions = 'q.parquet'\ncontext = '{q}'\nchoices = ['{q}', 'b']\ngold = 'q'\n";
    fs::write(dir.path().join("task.toml"), task).unwrap();
    let task = Task::open(&dir.path().join("task.toml").display().to_string()).unwrap();
    match QuestionSet::read(task, &Asking::default(), &mut Silent) {
        Ok(set) => format!("{} questions", set.questions.len()),
        Err(error) => error.to_string(),
    }
}

/// Texts as a page has them.
fn texts(texts: &[&str]) -> Vec<u8> {
    let one = |text: &&str| [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    texts.iter().flat_map(one).collect()
}

#[test]
fn a_file_that_does_not_lie_is_read() {
    let contents = texts(&["why", "how"]);
    let chunk = page(2, size(&contents), &contents);
    assert_eq!(refusal(&file(vec![group(1), leaf()], &chunk, 0, 2)), "2 questions");
}

#[test]
fn columns_nested_beyond_reason_are_refused() {
    let mut schema: Vec<Thrift> = (0..200_000).map(|_| group(1)).collect();
    schema.push(leaf());
    assert!(refusal(&file(schema, &[], 0, 1)).contains("nested more than 32 levels deep"));
}

#[test]
fn columns_that_claim_more_than_there_are_are_refused() {
    for claimed in [i64::from(i32::MAX), -1, 2] {
        let message = refusal(&file(vec![group(claimed), leaf()], &[], 0, 1));
        assert!(message.contains("of 2 columns one claims more inner ones"), "{message}");
    }
}

#[test]
fn a_column_of_no_columns_is_an_error() {
    let empty = Struct(vec![(3, I32(0)), (4, Text("g"))]);
    let message = refusal(&file(vec![group(1), empty], &[], 0, 1));
    assert!(message.contains("q.parquet: not Parquet that can be read"), "{message}");
}

#[test]
fn what_would_grow_beyond_reason_is_refused() {
    let schema = || vec![group(1), leaf()];
    let contents = texts(&["why"]);
    let plain = |values| page(values, size(&contents), &contents);
    for rows in [1 << 40, i64::MAX, -1] {
        let message = refusal(&file(schema(), &plain(1), 0, rows));
        assert!(message.contains("it would grow to") && message.contains("rows"), "{message}");
    }
    let message = refusal(&file(schema(), &plain(i64::from(i32::MAX)), 0, 1));
    assert!(message.contains("2147483647 values"), "{message}");
    // snappy, whose first number is the length of what comes out
    for claimed in [i64::from(i32::MAX), -1] {
        let bomb = page(1, claimed, &[0xff, 0xff, 0xff, 0xff, 0x07, 0]);
        let message = refusal(&file(schema(), &bomb, 1, 1));
        assert!(message.contains("it would grow to") && message.contains("bytes of pages"), "{message}");
    }
    // many pages that claim a little each
    let pages: Vec<u8> = (0..64).flat_map(|_| page(1, 1 << 26, &[])).collect();
    assert!(refusal(&file(schema(), &pages, 1, 1)).contains("4294967296 bytes of pages"));
}

#[test]
fn a_text_that_is_repeated_beyond_reason_is_refused() {
    let (count, text) = (100_000, texts(&["why".repeat(1000).as_str()]));
    let mut chunk = page_of((2, 7), vec![(1, I32(1)), (2, I32(0))], size(&text), &text);
    // indices of no bits, in one run
    let mut indices = vec![0];
    varint(2 * count, &mut indices);
    let header = vec![(1, I32(count.cast_signed())), (2, I32(8)), (3, I32(3)), (4, I32(3))];
    chunk.extend(page_of((0, 5), header, size(&indices), &indices));
    let message = refusal(&file(vec![group(1), leaf()], &chunk, 0, count.cast_signed()));
    assert!(message.contains("it would grow to") && message.contains("bytes of rows"), "{message}");
}

#[test]
fn a_page_that_is_cut_short_is_an_error() {
    let contents = texts(&["why"]);
    let whole = page(1, size(&contents), &contents);
    for length in 0..whole.len() {
        let message = refusal(&file(vec![group(1), leaf()], &whole[..length], 0, 1));
        assert!(message.contains("q.parquet: not Parquet that can be read"), "cut to {length}: {message}");
    }
}
