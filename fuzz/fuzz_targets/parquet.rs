//! Any bytes as the data of a task in Parquet: an error or rows. A panic of the library that reads Parquet becomes an error of
//! this program, so only one that escapes counts.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lopper::evaluation::rows;

fuzz_target!(init: std::panic::set_hook(Box::new(|_| ())), |file: &[u8]| {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("rows.parquet");
    std::fs::write(&path, file).expect("written");
    let _ = rows(&[path]);
});
