//! Writes a checkpoint of any family and shape with random weights, to measure time and memory on.
//!
//!     cargo run --release -p lopper --example synthetic -- OUT CONFIG [--holes]
//!
//! CONFIG is what config.json says, as `'{"model_type": "opt", "hidden_size": 768, …}'`. The tokenizer is that of the demo model.
//! With `--holes` the weights are holes in the file: it has its size and takes no space.

use std::fs::{self, File};
use std::io::{BufWriter, Error, Result, Write};
use std::path::Path;

use lopper::model::describe;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

fn main() -> Result<()> {
    let (mut words, mut holes) = (Vec::new(), false);
    for word in std::env::args().skip(1) {
        if word == "--holes" { holes = true } else { words.push(word) }
    }
    let [out, config] = &words[..] else { return Err(Error::other("give OUT CONFIG [--holes]")) };
    let out = Path::new(out);
    let config: Value = serde_json::from_str(config)?;
    let spec = describe(Path::new("CONFIG"), &config).map_err(Error::other)?;
    let tensors = spec.tensors();
    fs::create_dir(out)?;
    for (name, content) in lopper_demo::FILES.iter().filter(|(name, _)| name.starts_with("tokenizer")) {
        fs::write(out.join(name), content)?;
    }
    fs::write(out.join("config.json"), config.to_string())?;
    let (header, size) = header(&tensors);
    let mut file = BufWriter::new(File::create_new(out.join("model.safetensors"))?);
    file.write_all(&header)?;
    if holes {
        file.flush()?;
        return file.get_ref().set_len(header.len() as u64 + size);
    }
    for (place, (name, shape)) in tensors.iter().enumerate() {
        write_random(&mut file, name, shape, ChaCha8Rng::seed_from_u64(place as u64))?;
    }
    file.flush()
}

/// Header of a safetensors file of bf16, and the number of bytes after it.
fn header(tensors: &[(String, Vec<usize>)]) -> (Vec<u8>, u64) {
    let (mut entries, mut end) = (Map::new(), 0);
    entries.insert("__metadata__".into(), json!({ "format": "pt" }));
    for (name, shape) in tensors {
        let bytes = 2 * shape.iter().product::<usize>();
        entries.insert(name.clone(), json!({ "dtype": "BF16", "shape": shape, "data_offsets": [end, end + bytes] }));
        end += bytes;
    }
    let mut header = Value::Object(entries).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    ([&(header.len() as u64).to_le_bytes()[..], &header].concat(), end as u64)
}

/// A matrix whose outputs have the scale of its inputs; of a norm, ones; of a bias, zeros.
fn write_random(file: &mut impl Write, name: &str, shape: &[usize], mut random: ChaCha8Rng) -> Result<()> {
    let &[rows, columns] = shape else {
        let number = if name.ends_with("bias") { half::bf16::ZERO } else { half::bf16::ONE };
        return file.write_all(&number.to_le_bytes().repeat(shape[0]));
    };
    let width = (3.0 / columns as f32).sqrt();
    // rows are pieces of one long row of random numbers
    let pool: Vec<u8> = (0..columns + 65_536)
        .flat_map(|_| half::bf16::from_f32(random.random_range(-width..width)).to_le_bytes())
        .collect();
    for _ in 0..rows {
        let start = 2 * random.random_range(0..65_536);
        file.write_all(&pool[start..start + 2 * columns])?;
    }
    Ok(())
}
