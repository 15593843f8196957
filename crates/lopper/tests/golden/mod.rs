//! Reading fixtures, and comparing with them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use lopper::checkpoint::Checkpoint;
use lopper::model::Decoder;
use lopper::tensor::Tensor;
use safetensors::{Dtype, SafeTensors};

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
pub struct Golden {
    numbers: HashMap<String, Tensor>,
    ids: HashMap<String, Vec<u32>>,
    bytes: HashMap<String, Vec<u8>>,
}

impl Golden {
    pub fn open(name: &str) -> Self {
        let path = fixtures().join(name).with_extension("safetensors");
        let data = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file = SafeTensors::deserialize(&data).expect("safetensors");
        let (mut numbers, mut ids, mut bytes) = (HashMap::new(), HashMap::new(), HashMap::new());
        for (name, view) in file.tensors() {
            let words = view.data().as_chunks::<4>().0.iter();
            match view.dtype() {
                Dtype::U8 => drop(bytes.insert(name, view.data().to_vec())),
                Dtype::U32 => drop(ids.insert(name, words.map(|&word| u32::from_le_bytes(word)).collect())),
                Dtype::F32 => {
                    let values = words.map(|&word| f32::from_le_bytes(word)).collect();
                    numbers.insert(name, Tensor::new(view.shape(), values));
                }
                Dtype::F64 => {
                    let words = view.data().as_chunks::<8>().0.iter();
                    let values = words.map(|&word| f64::from_le_bytes(word) as f32).collect();
                    numbers.insert(name, Tensor::new(view.shape(), values));
                }
                other => panic!("{name} is {other:?}"),
            }
        }
        Self { numbers, ids, bytes }
    }

    pub fn get(&self, name: &str) -> &Tensor {
        self.numbers.get(name).unwrap_or_else(|| panic!("no golden {name}"))
    }

    /// As rows of the last `width` entries.
    pub fn rows(&self, name: &str, width: usize) -> Tensor {
        let tensor = self.get(name);
        tensor.clone().reshape([tensor.len() / width, width]).expect("divides")
    }

    pub fn vec(&self, name: &str) -> Vec<f32> {
        vec(self.get(name))
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        self.bytes.get(name).unwrap_or_else(|| panic!("no golden {name}")).clone()
    }

    pub fn ids(&self, name: &str) -> Vec<u32> {
        self.ids.get(name).unwrap_or_else(|| panic!("no golden {name}")).clone()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.numbers.keys().chain(self.ids.keys()).chain(self.bytes.keys()).map(String::as_str)
    }
}

/// The entries of a tensor.
pub fn vec(tensor: &Tensor) -> Vec<f32> {
    tensor.host().to_vec()
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
    assert_eq!(got.len(), want.len(), "{what}: {:?} against {:?}", got.shape(), want.shape());
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
    let decoder = Decoder::open(checkpoint).expect("fixture is a decoder");
    (directory, decoder)
}
