//! Any bytes as kept hidden states, as they are and with a digest that is right: no panic, and what is read is written the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lopper::calibration::{HiddenStates, Storage};

fuzz_target!(|bytes: &[u8]| {
    let sealed = [bytes, blake3::hash(bytes).as_bytes()].concat();
    for bytes in [bytes, &sealed] {
        if let Ok(states) = HiddenStates::read(bytes, &Storage::Memory) {
            let mut again = Vec::new();
            states.write(&mut again).expect("memory");
            assert_eq!(again, bytes);
            (0..states.len()).for_each(|index| drop(states.batch(&[index]).expect("rows")));
        }
    }
});
