//! Reading fixtures, and comparing with them.
#![allow(dead_code, reason = "every test file uses its own part")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use lopper::checkpoint::Checkpoint;
use lopper::model::Decoder;

/// The folder of fixtures.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// The path in a variable; `None`, with a word about it, where there is none. In CI there has to be one.
pub fn path(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    if path.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{variable} must be set in CI");
        eprintln!("skipped: {variable} is not set");
    }
    path
}

/// A safetensors file of goldens.
pub struct Golden(HashMap<String, Tensor>);

impl Golden {
    pub fn open(name: &str) -> Self {
        let path = fixtures().join(name).with_extension("safetensors");
        Self(
            candle_core::safetensors::load(&path, &Device::Cpu)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display())),
        )
    }

    pub fn get(&self, name: &str) -> &Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("no golden {name}"))
    }

    /// As rows of the last `width` entries.
    pub fn rows(&self, name: &str, width: usize) -> Tensor {
        self.get(name).reshape(((), width)).expect("divides")
    }

    pub fn vec(&self, name: &str) -> Vec<f32> {
        vec(self.get(name))
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        self.get(name).flatten_all().and_then(|t| t.to_vec1()).expect("u8")
    }

    pub fn ids(&self, name: &str) -> Vec<u32> {
        self.get(name).flatten_all().and_then(|t| t.to_vec1()).expect("u32")
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// The entries of a tensor as f32.
pub fn vec(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|t| t.to_dtype(DType::F32)).and_then(|t| t.to_vec1()).expect("numbers")
}

/// `‖a − b‖ / ‖b‖`
pub fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut a.iter().zip(b).map(|(&a, &b)| f64::from(a) - f64::from(b)));
    difference / norm(&mut b.iter().map(|&b| f64::from(b))).max(1e-30)
}

/// Fails unless two tensors agree to `tolerance` relative.
pub fn assert_close(got: &Tensor, want: &Tensor, tolerance: f64, what: &str) {
    assert_eq!(got.elem_count(), want.elem_count(), "{what}: {:?} against {:?}", got.dims(), want.dims());
    let error = distance(&vec(got), &vec(want));
    assert!(error <= tolerance, "{what}: relative error {error:.3e} exceeds {tolerance:.0e}");
}

/// A tiny checkpoint: a folder of the fixtures, or a variant that takes the weights of its parent.
pub fn tiny(folder: &str) -> (tempfile::TempDir, Decoder) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (variant, parent) = (fixtures().join(folder), fixtures().join(folder.split('/').next().expect("a name")));
    for source in [parent, variant] {
        for entry in std::fs::read_dir(&source).expect("fixture").flatten().filter(|entry| entry.path().is_file()) {
            std::fs::copy(entry.path(), directory.path().join(entry.file_name())).expect("copied");
        }
    }
    let checkpoint = Checkpoint::open(directory.path()).expect("fixture opens");
    let decoder = Decoder::open(checkpoint, Device::Cpu).expect("fixture is a decoder");
    (directory, decoder)
}
