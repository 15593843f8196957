//! Trains the demo model from random weights on the text of its generator, and writes its safetensors file.
//!
//! `cargo run --release -p lopper --example train_demo -- crates/lopper-demo/model/model.safetensors [STEPS]`

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Device, Tensor, Var};
use lopper::autograd::optimizer::{Decay, Optimizer, OptimizerKind, RateSchedule};
use lopper::autograd::{AttentionLayout, Gradients, RotaryTable, Tape};
use lopper::error::{Error, Result};
use lopper::evaluation::tokenize;
use lopper::model::{
    Attention, Block, Decoder, DecoderSpec, Linear, LinearId, LinearRole, Mlp, NoTap, Norm, Part, Sequences, describe,
};
use lopper::text::Tokenizer;
use lopper_kernels::Precision;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

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
    let out = arguments.next().unwrap_or_else(|| "crates/lopper-demo/model/model.safetensors".into());
    let steps = arguments.next().and_then(|steps| steps.parse().ok()).unwrap_or(DEFAULT_STEPS);
    let directory = Path::new(&out).parent().unwrap_or(Path::new("."));
    let config =
        std::fs::read(directory.join("config.json")).map_err(Error::io("read", directory.join("config.json")))?;
    let json =
        serde_json::from_slice(&config).map_err(|error| Error::Model { problem: error.to_string(), hint: None })?;
    let spec = describe(directory, &json)?;
    let tokenizer = Tokenizer::open(directory)?;
    let mut model = Model::random(&spec)?;
    model.train(&text(&tokenizer, steps)?, steps)?;
    model.save(Path::new(&out))
}

/// Enough tokens that none is read twice.
fn text(tokenizer: &Tokenizer, steps: usize) -> Result<Vec<u32>> {
    let documents = (steps + 1) * BATCH * LENGTH / TOKENS_PER_DOCUMENT;
    tokenize(&[lopper_demo::training_text(documents)], tokenizer)
}

/// The whole model in memory, its weights variables by name.
struct Model {
    embedding: Tensor,
    blocks: Vec<Block>,
    norm: Norm,
    rotary: RotaryTable,
    variables: BTreeMap<String, Var>,
}

/// Draws and registers weights.
struct Initialiser {
    generator: ChaCha8Rng,
    variables: BTreeMap<String, Var>,
}

impl Initialiser {
    /// Approximately normal: the sum of twelve uniforms has variance one.
    fn normal(&mut self, name: String, shape: (usize, usize), deviation: f32) -> Result<Tensor> {
        let mut uniform = || (self.generator.next_u32() >> 8) as f32 / 16_777_216.0 - 0.5;
        let data: Vec<f32> =
            (0..shape.0 * shape.1).map(|_| (0..12).map(|_| uniform()).sum::<f32>() * deviation).collect();
        self.register(name, &Tensor::from_vec(data, shape, &Device::Cpu)?)
    }

    fn norm(&mut self, name: String, spec: &DecoderSpec) -> Result<Norm> {
        let weight = self.register(name, &Tensor::ones(spec.hidden, DType::F32, &Device::Cpu)?)?;
        Ok(Norm { weight, epsilon: spec.norm_epsilon })
    }

    fn register(&mut self, name: String, tensor: &Tensor) -> Result<Tensor> {
        let variable = Var::from_tensor(tensor)?;
        let tensor = variable.as_tensor().clone();
        self.variables.insert(name, variable);
        Ok(tensor)
    }

    fn linear(&mut self, block: usize, role: LinearRole, spec: &DecoderSpec) -> Result<Linear> {
        let shape = spec.shape(role);
        let depth =
            if matches!(role, LinearRole::Output | LinearRole::Down) { (2.0 * spec.blocks as f32).sqrt() } else { 1.0 };
        let deviation = 0.6 / (shape.1 as f32).sqrt() / depth;
        Ok(Linear {
            weight: self.normal(Decoder::weight_name(LinearId { block, role }), shape, deviation)?,
            bias: None,
        })
    }

    fn block(&mut self, index: usize, spec: &DecoderSpec) -> Result<Block> {
        let attention = &spec.attention;
        let layout = AttentionLayout {
            heads: attention.heads,
            kv_heads: attention.kv_heads,
            head_dim: attention.head_dim,
            scale: (attention.head_dim as f32).sqrt().recip(),
            window: None,
        };
        let norms = [Part::Attention, Part::Mlp].map(|part| Decoder::norm_name(index, part));
        let [first, second] = norms.map(|name| self.norm(name, spec));
        let mut linear = |role| self.linear(index, role, spec);
        Ok(Block {
            attention: Attention {
                norm: first?,
                query: linear(LinearRole::Query)?,
                key: linear(LinearRole::Key)?,
                value: linear(LinearRole::Value)?,
                output: linear(LinearRole::Output)?,
                layout,
            },
            mlp: Mlp {
                norm: second?,
                gate: linear(LinearRole::Gate)?,
                up: linear(LinearRole::Up)?,
                down: linear(LinearRole::Down)?,
            },
        })
    }
}

impl Model {
    fn random(spec: &DecoderSpec) -> Result<Self> {
        let mut initialiser = Initialiser { generator: ChaCha8Rng::seed_from_u64(1), variables: BTreeMap::new() };
        let embedding = initialiser.normal("model.embed_tokens.weight".into(), (spec.vocabulary, spec.hidden), 0.05)?;
        let blocks = (0..spec.blocks).map(|index| initialiser.block(index, spec)).collect::<Result<_>>()?;
        let norm = initialiser.norm("model.norm.weight".into(), spec)?;
        let rotary = spec.rotary.table(LENGTH, &Device::Cpu)?;
        Ok(Self { embedding, blocks, norm, rotary, variables: initialiser.variables })
    }

    fn train(&mut self, tokens: &[u32], steps: usize) -> Result<()> {
        let mut optimizer = Optimizer::new(OptimizerKind::AdamW, 0.01);
        for variable in self.variables.values() {
            optimizer.add(variable, None, 1.0)?;
        }
        let schedule = RateSchedule { decay: Decay::Linear, peak: LEARNING_RATE, warm_up: 0.05, steps };
        let (mut gradients, started, mut mean) = (Gradients::default(), Instant::now(), 0.0);
        for (step, batch) in tokens.chunks_exact(BATCH * LENGTH + 1).take(steps).enumerate() {
            let mut tape = Tape::new(Precision::F32, optimizer.tensors());
            let loss = self.loss(&mut tape, batch)?;
            mean += loss.tensor().to_scalar::<f32>()? / 100.0;
            gradients.clear();
            tape.backward(&loss, &mut gradients)?;
            optimizer.step(&gradients, schedule.rate(step))?;
            if step % 100 == 99 {
                let rate = ((step + 1) * BATCH * LENGTH) as f64 / started.elapsed().as_secs_f64();
                println!("step {:5}  loss {mean:.4}  perplexity {:.3}  {rate:.0} tokens/s", step + 1, mean.exp());
                mean = 0.0;
            }
        }
        Ok(())
    }

    /// Mean cross-entropy of the next token; batch has one token more than is read.
    fn loss(&self, tape: &mut Tape, batch: &[u32]) -> Result<lopper::autograd::Value> {
        let (ids, targets) = (&batch[..batch.len() - 1], &batch[1..]);
        let sequences = Sequences::new(std::iter::repeat_n(LENGTH, ids.len() / LENGTH));
        let table = tape.value(&self.embedding);
        let mut x = tape.embedding(&table, ids)?;
        for block in &self.blocks {
            x = block.forward(tape, &x, &sequences, &self.rotary, &mut NoTap)?;
        }
        let weight = tape.value(&self.norm.weight);
        let x = tape.rms_norm(&x, &weight, self.norm.epsilon)?;
        let logits = tape.linear(&x, &table, None, None)?;
        Ok(tape.cross_entropy(&logits, targets)?)
    }

    /// As bf16, tensors in the order of their names.
    fn save(&self, path: &Path) -> Result<()> {
        let stored = self
            .variables
            .iter()
            .map(|(name, variable)| Ok((name.as_str(), variable.as_tensor().to_dtype(DType::BF16)?)));
        let stored = stored.collect::<Result<Vec<_>>>()?;
        let metadata = Some([("format".to_owned(), "pt".to_owned())].into());
        safetensors::serialize_to_file(stored, metadata, path)
            .map_err(|error| Error::Model { problem: format!("{}: {error}", path.display()), hint: None })
    }
}
