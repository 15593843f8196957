//! Any bytes as a tokenizer.json: an error or a tokenizer, whose ids are no larger than it says. A panic of the library that
//! runs tokenizers becomes an error of this program, so only one that escapes counts.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lopper::text::Tokenizer;

fuzz_target!(init: std::panic::set_hook(Box::new(|_| ())), |file: &[u8]| {
    let Ok(tokenizer) = Tokenizer::from_bytes(file) else { return };
    if let Ok(ids) = tokenizer.encode("a B\u{e9} \u{4e00}\0 <s> aab", false) {
        assert!(ids.iter().all(|&id| id <= tokenizer.max_id()));
        let _ = tokenizer.decode(&ids, false);
    }
});
