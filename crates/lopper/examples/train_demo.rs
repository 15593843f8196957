//! Trains a small model from random weights on the text of the demo's generator, and writes it as a checkpoint.
//!
//! `cargo run --release -p lopper --example train_demo -- OUT [KIND [STEPS]]`
//!
//! KIND is `llama`, the demo model itself, unless it is named: `opt`, `bloom`, `gpt_neox`, `gemma3_text`, `qwen3`, `mixtral`,
//! `mamba` and `mamba2` have as many blocks of the same width in the form of their families, the last two twice as many. OUT is a directory; what it holds of the same names is replaced.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use lopper::autograd::optimizer::{Decay, Optimizer, OptimizerKind, RateSchedule};
use lopper::autograd::{Gradients, RotaryTable, Tape, Value};
use lopper::checkpoint::{Dtype, StorageDtype};
use lopper::error::{Error, Result};
use lopper::model::{Block, BlockSpec, Context, DecoderSpec, Form, Kind, NoTap, Sequences, TensorSpec, describe};
use lopper::tensor::Tensor;
use lopper::text::Tokenizer;
use lopper_kernels::Precision;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use safetensors::tensor::TensorView;
use serde_json::{Value as Json, json};

/// Sequences per step.
const BATCH: usize = 16;
/// Tokens per sequence.
const LENGTH: usize = 256;
const LEARNING_RATE: f32 = 4e-3;
const DEFAULT_STEPS: usize = 2500;
/// A document has about 206 tokens.
const TOKENS_PER_DOCUMENT: usize = 190;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let out = arguments.next().ok_or_else(|| wrong("usage: train_demo OUT [KIND [STEPS]]".into()))?;
    let kind = arguments.next().unwrap_or_else(|| "llama".into());
    let steps = arguments.next().map_or(Ok(DEFAULT_STEPS), |steps| steps.parse());
    let steps = steps.map_err(|error| wrong(format!("STEPS: {error}")))?;
    let directory = Path::new(&out);
    let config = config(&kind)?;
    lopper_demo::write_model(directory).map_err(Error::io("write", directory))?;
    let text_of_config = serde_json::to_vec_pretty(&config).map_err(|error| wrong(error.to_string()))?;
    let path = directory.join("config.json");
    std::fs::write(&path, text_of_config).map_err(Error::io("write", &path))?;
    let tokenizer = Tokenizer::open(directory)?;
    let mut model = Model::random(describe(&path, &config)?);
    model.train(&text(&tokenizer, steps)?, steps)?;
    model.save(&directory.join("model.safetensors"))
}

/// The config.json of a kind of model.
fn config(kind: &str) -> Result<Json> {
    let own = match kind {
        "llama" => {
            let (_, demo) =
                lopper_demo::FILES.iter().find(|(name, _)| *name == "config.json").expect("a file of the demo");
            return serde_json::from_slice(demo).map_err(|error| wrong(error.to_string()));
        }
        "opt" => json!({
            "architectures": ["OPTForCausalLM"], "ffn_dim": 512, "word_embed_proj_dim": 128, "activation_function": "relu",
            "do_layer_norm_before": true,
        }),
        "bloom" => json!({ "architectures": ["BloomForCausalLM"], "n_layer": 4, "n_head": 4, "seq_length": LENGTH }),
        "gpt_neox" => json!({
            "architectures": ["GPTNeoXForCausalLM"], "intermediate_size": 512, "hidden_act": "gelu", "rotary_pct": 0.25,
            "use_parallel_residual": true,
        }),
        "gemma3_text" => json!({
            "architectures": ["Gemma3ForCausalLM"], "intermediate_size": 352, "head_dim": 64, "num_key_value_heads": 1,
            "query_pre_attn_scalar": 64, "sliding_window": 128, "sliding_window_pattern": 2, "rms_norm_eps": 1e-5,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
        }),
        "qwen3" => json!({
            "architectures": ["Qwen3ForCausalLM"], "intermediate_size": 352, "head_dim": 32, "num_key_value_heads": 2,
            "rms_norm_eps": 1e-5,
        }),
        "mixtral" => json!({
            "architectures": ["MixtralForCausalLM"], "intermediate_size": 176, "num_key_value_heads": 2, "num_local_experts": 8,
            "num_experts_per_tok": 2, "rms_norm_eps": 1e-5,
        }),
        "mamba" => json!({
            "architectures": ["MambaForCausalLM"], "num_hidden_layers": 8, "state_size": 16, "time_step_rank": 8, "conv_kernel": 4,
        }),
        "mamba2" => json!({
            "architectures": ["Mamba2ForCausalLM"], "num_hidden_layers": 8, "state_size": 32, "num_heads": 8, "head_dim": 32,
            "n_groups": 1, "conv_kernel": 4, "chunk_size": 64,
        }),
        other => {
            let known = "llama, opt, bloom, gpt_neox, gemma3_text, qwen3, mixtral, mamba, mamba2";
            return Err(wrong(format!("no kind {other}; known: {known}")));
        }
    };
    // as long as what it is trained on: not every kind of positions reaches further
    let mut config = json!({
        "model_type": kind, "vocab_size": 1024, "hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4,
        "max_position_embeddings": LENGTH, "tie_word_embeddings": true, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
        "dtype": "bfloat16",
    });
    if let (Some(config), Some(own)) = (config.as_object_mut(), own.as_object()) {
        config.extend(own.clone());
    }
    Ok(config)
}

fn wrong(problem: String) -> Error {
    Error::Model { problem, hint: None }
}

/// Enough tokens that none is read twice.
fn text(tokenizer: &Tokenizer, steps: usize) -> Result<Vec<u32>> {
    let documents = (steps + 1) * BATCH * LENGTH / TOKENS_PER_DOCUMENT;
    tokenizer.encode_all(&[lopper_demo::training_text(documents)])
}

/// The whole model in memory.
struct Model {
    spec: DecoderSpec,
    /// Of the optimiser, by the names of the tensors.
    keys: BTreeMap<String, usize>,
    optimizer: Optimizer,
    rotary: Vec<RotaryTable>,
}

/// Draws weights.
struct Initialiser(ChaCha8Rng);

impl Initialiser {
    /// Approximately normal: the sum of twelve uniforms has variance one.
    fn normal(&mut self, shape: &[usize], deviation: f32) -> Tensor {
        let mut uniform = || (self.0.next_u32() >> 8) as f32 / 16_777_216.0 - 0.5;
        Tensor::filled(shape, |numbers| {
            for x in numbers {
                *x = (0..12).map(|_| uniform()).sum::<f32>() * deviation;
            }
        })
    }

    /// The tensors of a block, of so many blocks.
    fn block(&mut self, spec: &BlockSpec, blocks: usize) -> Vec<Tensor> {
        let constant = |shape: &[usize], value| Tensor::filled(shape, |numbers| numbers.fill(value));
        let first = |tensor: &TensorSpec| {
            let is_bias = tensor.kind == Kind::Bias || tensor.name.ends_with("bias");
            constant(&tensor.shape, if is_bias { 0.0 } else { 1.0 })
        };
        let mut tensors: Vec<Tensor> = spec.tensors.iter().map(first).collect();
        for (place, tensor) in spec.tensors.iter().enumerate() {
            let width = tensor.shape.last().copied().unwrap_or(1);
            match tensor.kind {
                Kind::Router => tensors[place] = self.normal(&tensor.shape, 0.6 / (width as f32).sqrt()),
                Kind::Convolution if tensor.shape.len() > 1 => {
                    tensors[place] = self.normal(&tensor.shape, 1.0 / (width as f32).sqrt());
                }
                // states that decay at different rates: A = −1, −2, …
                Kind::State if tensor.name.ends_with("A_log") => {
                    tensors[place] = Tensor::filled(tensor.shape.as_slice(), |numbers| {
                        numbers.iter_mut().enumerate().for_each(|(i, x)| *x = ((i % width + 1) as f32).ln());
                    });
                }
                // steps of about 0.02 at first
                Kind::Bias | Kind::State
                    if ["dt_proj.bias", "dt_bias"].iter().any(|name| tensor.name.ends_with(name)) =>
                {
                    tensors[place] = constant(&tensor.shape, -4.0);
                }
                _ => {}
            }
        }
        for linear in &spec.linears {
            // what adds to the states is the smaller the more of it there is
            let depth = if ["output", "down"].contains(&linear.role) { (2.0 * blocks as f32).sqrt() } else { 1.0 };
            tensors[linear.weight] = self.normal(&linear.shape, 0.6 / (linear.shape[1] as f32).sqrt() / depth);
        }
        tensors
    }
}

impl Model {
    fn random(spec: DecoderSpec) -> Self {
        let mut initialiser = Initialiser(ChaCha8Rng::seed_from_u64(1));
        let embedding = initialiser.normal(&[spec.vocabulary, spec.hidden], 0.05);
        let mut tensors = vec![(spec.stem.embedding.clone(), embedding)];
        if let Some(table) = &spec.stem.positions {
            tensors.push((table.name.clone(), initialiser.normal(&[table.rows, spec.hidden], 0.02)));
        }
        for (prefix, block) in Self::parts(&spec) {
            let drawn = initialiser.block(&block, spec.blocks.len());
            tensors.extend(block.tensors.iter().map(|tensor| format!("{prefix}{}", tensor.name)).zip(drawn));
        }
        let mut optimizer = Optimizer::new(OptimizerKind::AdamW, 0.01);
        let keys = tensors.into_iter().map(|(name, tensor)| (name, optimizer.add(tensor, None, 1.0))).collect();
        let rotary = spec.rotary.iter().map(|rotary| rotary.table(LENGTH)).collect();
        Self { spec, keys, optimizer, rotary }
    }

    /// What stands before the blocks, the blocks, and what follows them, with what stands before the names of their tensors.
    fn parts(spec: &DecoderSpec) -> Vec<(String, Arc<BlockSpec>)> {
        let before = spec.stem.transform.clone().map(|transform| (String::new(), transform));
        let blocks = spec.blocks.iter().enumerate().map(|(index, block)| (spec.prefix(index), block.clone()));
        let after = spec.head.finish.clone().map(|finish| (String::new(), finish));
        before.into_iter().chain(blocks).chain(after).collect()
    }

    fn train(&mut self, tokens: &[u32], steps: usize) -> Result<()> {
        let schedule = RateSchedule { decay: Decay::Linear, peak: LEARNING_RATE, warm_up: 0.05, steps };
        let (mut gradients, started, mut mean) = (Gradients::default(), Instant::now(), 0.0);
        for (step, batch) in tokens.chunks_exact(BATCH * LENGTH + 1).take(steps).enumerate() {
            let mut tape = Tape::new(Precision::F32);
            let loss = self.loss(&mut tape, batch)?;
            mean += loss.tensor().item()? / 100.0;
            gradients.clear();
            tape.backward(&loss, &mut gradients)?;
            self.optimizer.step(&gradients, schedule.rate(step))?;
            if step % 100 == 99 {
                let rate = ((step + 1) * BATCH * LENGTH) as f64 / started.elapsed().as_secs_f64();
                println!("step {:5}  loss {mean:.4}  perplexity {:.3}  {rate:.0} tokens/s", step + 1, mean.exp());
                mean = 0.0;
            }
        }
        Ok(())
    }

    fn leaf(&self, tape: &mut Tape, name: &str) -> Value {
        let key = self.keys[name];
        tape.leaf(key, self.optimizer.tensor(key))
    }

    /// Mean cross-entropy of the next token; batch has one token more than is read.
    fn loss(&self, tape: &mut Tape, batch: &[u32]) -> Result<Value> {
        let (ids, targets) = (&batch[..batch.len() - 1], &batch[1..]);
        let sequences = Sequences::new(std::iter::repeat_n(LENGTH, ids.len() / LENGTH));
        let context = Context { sequences: &sequences, rotary: &self.rotary };
        let table = self.leaf(tape, &self.spec.stem.embedding);
        let mut x = tape.select_rows(&table, ids)?;
        if let Some(scale) = self.spec.stem.scale {
            x = tape.scale(&x, scale)?;
        }
        if let Some(positions) = &self.spec.stem.positions {
            let rows: Vec<u32> =
                sequences.positions().iter().map(|position| position + positions.offset as u32).collect();
            let learned = self.leaf(tape, &positions.name);
            let learned = tape.select_rows(&learned, &rows)?;
            x = tape.add(&x, &learned)?;
        }
        for (prefix, spec) in Self::parts(&self.spec) {
            let names = spec.tensors.iter().map(|tensor| format!("{prefix}{}", tensor.name));
            let tensors: Vec<Value> = names.map(|name| self.leaf(tape, &name)).collect();
            let stages = spec.stages.len();
            // its tensors are given at every stage
            let block = Block { spec, prefix, tensors: Vec::new() };
            for stage in 0..stages {
                x = block.stage(stage, &tensors, tape, &x, context, &mut NoTap)?;
            }
        }
        let logits = tape.linear(&x, &table, None, None)?;
        tape.cross_entropy(&logits, targets)
    }

    /// As bf16, tensors in the order of their names.
    fn save(&self, path: &Path) -> Result<()> {
        let parts = Self::parts(&self.spec);
        let named = parts.iter().flat_map(|(prefix, block)| {
            block.tensors.iter().map(move |tensor| (format!("{prefix}{}", tensor.name), tensor.form))
        });
        let forms: BTreeMap<String, Form> = named.collect();
        let stored = self.keys.iter().map(|(name, &key)| {
            let form = forms.get(name).copied().unwrap_or_default();
            let tensor = form.write(self.optimizer.tensor(key))?;
            let mut bytes = vec![0; 2 * tensor.len()];
            StorageDtype::BF16.encode(tensor.host(), &mut bytes);
            Ok((name.as_str(), tensor.shape().to_vec(), bytes))
        });
        let stored: Vec<_> = stored.collect::<Result<_>>()?;
        let views = stored.iter().map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::BF16, shape.clone(), bytes).map_err(|error| wrong(error.to_string()))?;
            Ok((*name, view))
        });
        let metadata = Some([("format".to_owned(), "pt".to_owned())].into());
        safetensors::serialize_to_file(views.collect::<Result<Vec<_>>>()?, metadata, path)
            .map_err(|error| wrong(format!("{}: {error}", path.display())))
    }
}
