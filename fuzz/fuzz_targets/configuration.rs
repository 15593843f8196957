//! Any bytes as a config.json: no panic, and the angles of what is accepted are numbers.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use lopper::model::describe;

fuzz_target!(|file: &[u8]| {
    let Ok(json) = serde_json::from_slice(file) else { return };
    if let Ok(spec) = describe(Path::new("config.json"), &json) {
        assert!(spec.rotary.dim <= spec.attention.head_dim && spec.attention.windows.len() == spec.blocks);
        assert!(spec.rotary.is_finite(1) && spec.rotary.is_finite(spec.max_positions));
    }
});
