//! Writes a Llama-type checkpoint of any shape with random weights, to measure time and memory on.
//!
//!     cargo run --release -p lopper --example synthetic -- OUT HIDDEN INTERMEDIATE HEADS KV_HEADS BLOCKS [VOCABULARY] [--holes]
//!
//! Its tokenizer is that of the demo model. With `--holes` the weights are holes in the file: it has its size and takes no space.

use std::fs::{self, File};
use std::io::{BufWriter, Error, Result, Write};
use std::path::Path;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

/// Rows of the embedding, if nothing is said.
const VOCABULARY: usize = 32_000;

struct Shape {
    hidden: usize,
    intermediate: usize,
    heads: usize,
    kv_heads: usize,
    blocks: usize,
    vocabulary: usize,
}

impl Shape {
    fn head_dim(&self) -> usize {
        self.hidden / self.heads
    }

    /// Name and shape of every tensor, in the order of the file.
    fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (h, i, kv) = (self.hidden, self.intermediate, self.kv_heads * self.head_dim());
        let mut tensors = vec![("model.embed_tokens.weight".to_owned(), vec![self.vocabulary, h])];
        for block in 0..self.blocks {
            let of_block: [(&str, Vec<usize>); 9] = [
                ("input_layernorm", vec![h]),
                ("self_attn.q_proj", vec![h, h]),
                ("self_attn.k_proj", vec![kv, h]),
                ("self_attn.v_proj", vec![kv, h]),
                ("self_attn.o_proj", vec![h, h]),
                ("post_attention_layernorm", vec![h]),
                ("mlp.gate_proj", vec![i, h]),
                ("mlp.up_proj", vec![i, h]),
                ("mlp.down_proj", vec![h, i]),
            ];
            tensors.extend(of_block.map(|(name, shape)| (format!("model.layers.{block}.{name}.weight"), shape)));
        }
        tensors.push(("model.norm.weight".into(), vec![h]));
        tensors
    }

    fn config(&self) -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "hidden_act": "silu",
            "vocab_size": self.vocabulary, "hidden_size": self.hidden, "intermediate_size": self.intermediate,
            "num_attention_heads": self.heads, "num_key_value_heads": self.kv_heads, "num_hidden_layers": self.blocks,
            "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 8192, "tie_word_embeddings": true,
            "bos_token_id": 0, "eos_token_id": 0,
        })
    }

    /// Header of a safetensors file, and the number of bytes after it.
    fn header(&self) -> (Vec<u8>, u64) {
        let (mut entries, mut end) = (Map::new(), 0);
        entries.insert("__metadata__".into(), json!({ "format": "pt" }));
        for (name, shape) in self.tensors() {
            let bytes = 2 * shape.iter().product::<usize>();
            entries.insert(name, json!({ "dtype": "BF16", "shape": shape, "data_offsets": [end, end + bytes] }));
            end += bytes;
        }
        let mut header = Value::Object(entries).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        ([&(header.len() as u64).to_le_bytes()[..], &header].concat(), end as u64)
    }
}

fn main() -> Result<()> {
    let (mut words, mut holes) = (Vec::new(), false);
    for word in std::env::args().skip(1) {
        if word == "--holes" { holes = true } else { words.push(word) }
    }
    let numbers: Vec<usize> = words.iter().skip(1).filter_map(|word| word.parse().ok()).collect();
    let [hidden, intermediate, heads, kv_heads, blocks, ref rest @ ..] = numbers[..] else {
        return Err(Error::other("give OUT HIDDEN INTERMEDIATE HEADS KV_HEADS BLOCKS [VOCABULARY] [--holes]"));
    };
    let vocabulary = rest.first().copied().unwrap_or(VOCABULARY);
    let shape = Shape { hidden, intermediate, heads, kv_heads, blocks, vocabulary };
    let out = Path::new(&words[0]);
    fs::create_dir(out)?;
    for (name, content) in lopper_demo::FILES.iter().filter(|(name, _)| name.starts_with("tokenizer")) {
        fs::write(out.join(name), content)?;
    }
    fs::write(out.join("config.json"), shape.config().to_string())?;
    let (header, size) = shape.header();
    let mut file = BufWriter::new(File::create_new(out.join("model.safetensors"))?);
    file.write_all(&header)?;
    if holes {
        file.flush()?;
        return file.get_ref().set_len(header.len() as u64 + size);
    }
    for (place, (_, shape)) in shape.tensors().iter().enumerate() {
        write_random(&mut file, shape, ChaCha8Rng::seed_from_u64(place as u64))?;
    }
    file.flush()
}

/// A matrix whose outputs have the scale of its inputs; of a norm, ones.
fn write_random(file: &mut impl Write, shape: &[usize], mut random: ChaCha8Rng) -> Result<()> {
    let &[rows, columns] = shape else {
        return file.write_all(&half::bf16::ONE.to_le_bytes().repeat(shape[0]));
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
