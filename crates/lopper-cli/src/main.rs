//! The command line of lopper.
fn main() {}
