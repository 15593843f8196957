//! Any bytes as a safetensors file: no panic, and what is accepted is what the `safetensors` crate accepts.
//!
//! It may refuse more in one case only, a name that occurs twice.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lopper::checkpoint::Header;
use safetensors::SafeTensors;

fuzz_target!(|file: &[u8]| {
    match (Header::parse(file), SafeTensors::read_metadata(file)) {
        (Ok(header), Ok((length, metadata))) => {
            assert_eq!(header.length, length + 8);
            assert_eq!(header.tensors.len(), metadata.tensors().len());
            for tensor in &header.tensors {
                assert!(file.get(tensor.bytes.clone()).is_some());
            }
        }
        (Ok(_), Err(error)) => panic!("accepted what the reference refuses: {error}"),
        (Err(problem), Ok(_)) => assert!(problem.contains("described twice"), "{problem}"),
        (Err(_), Err(_)) => {}
    }
});
