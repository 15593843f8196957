//! A train step and a forward pass of one decoder block, with the ratio to PyTorch measured in the same run.
//!
//! `LOPPER_PYTHON=~/goldens/bin/python cargo bench -p lopper --bench train_step [-- [f32] [quick] BLOCK …]`
//!
//! The block is that of SmolLM2-135M, unless others are named: OPT-125M, Pythia-160M, BLOOM-560M, Gemma-3-270M (of the latter one
//! that does not slide), OLMoE-1B-7B (without norms of queries and keys), Qwen1.5-MoE-A2.7B (without biases and
//! the expert that every token goes to), Mamba-130M, Mamba2-130M and Qwen3.5-0.8B with Gated DeltaNet (against transformers' own
//! block in plain PyTorch). `f32` leaves bf16 out, which takes PyTorch minutes on a processor without instructions for it; `quick`
//! is one round of the longer length, three times each. Without
//! `LOPPER_PYTHON` (a Python that has torch) only our own times are printed. Rounds of both take turns, so that a machine that slows down slows both.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use lopper::Result;
use lopper::autograd::optimizer::{Optimizer, OptimizerKind};
use lopper::autograd::{Gradients, RotaryTable, Tape, Value};
use lopper::model::{Block, Context, Kind, NoTap, Sequences, TensorSpec, describe};
use lopper::sparsity::{Mask, Pattern, Scope};
use lopper::tensor::Tensor;
use lopper_kernels::Precision;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

const BATCH: usize = 2;
const LENGTHS: [usize; 2] = [512, 1024];
const ROUNDS: usize = 3;
const REPEATS: usize = 8;

/// Blocks by the names of their models: what is in config.json beside the keys that do not matter here.
fn blocks() -> [(&'static str, serde_json::Value); 10] {
    let llama = json!({
        "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9,
        "num_key_value_heads": 3, "rms_norm_eps": 1e-5, "rope_theta": 1e5,
    });
    let opt = json!({ "model_type": "opt", "hidden_size": 768, "ffn_dim": 3072, "num_attention_heads": 12 });
    let neox = json!({
        "model_type": "gpt_neox", "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12,
        "hidden_act": "gelu",
    });
    let bloom = json!({ "model_type": "bloom", "hidden_size": 1024, "n_layer": 1, "n_head": 16 });
    let gemma = json!({
        "model_type": "gemma3_text", "hidden_size": 640, "intermediate_size": 2048, "num_attention_heads": 4,
        "num_key_value_heads": 1, "head_dim": 256, "rope_theta": 1e6, "layer_types": ["full_attention"],
    });
    let experts = |width: usize, count: usize, top_k: usize| {
        json!({
            "model_type": "mixtral", "hidden_size": 2048, "intermediate_size": width, "num_attention_heads": 16,
            "num_local_experts": count, "num_experts_per_tok": top_k,
        })
    };
    let delta = json!({
        "model_type": "qwen3_5_text", "hidden_size": 1024, "intermediate_size": 3584, "num_attention_heads": 8,
        "linear_num_value_heads": 16, "layer_types": ["linear_attention"],
    });
    [
        ("SmolLM2-135M", llama),
        ("OPT-125M", opt),
        ("Pythia-160M", neox),
        ("BLOOM-560M", bloom),
        ("Gemma-3-270M", gemma),
        ("OLMoE-1B-7B", experts(1024, 64, 8)),
        ("Qwen1.5-MoE-A2.7B", experts(1408, 60, 4)),
        ("Mamba-130M", json!({ "model_type": "mamba", "hidden_size": 768 })),
        (
            "Mamba2-130M",
            json!({ "model_type": "mamba2", "hidden_size": 768, "num_heads": 24, "head_dim": 64, "n_groups": 1 }),
        ),
        ("Qwen3.5-0.8B", delta),
    ]
}

/// How much is timed.
#[derive(Clone, Copy)]
struct How {
    only_f32: bool,
    quick: bool,
}

impl How {
    fn lengths(self) -> &'static [usize] {
        if self.quick { &LENGTHS[1..] } else { &LENGTHS }
    }

    fn repeats(self) -> usize {
        if self.quick { 3 } else { REPEATS }
    }
}

/// What was timed: `forward` or `train`, precision, sequence length.
type Setting = (String, String, usize);
type Times = BTreeMap<Setting, Vec<f64>>;

fn main() -> Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // cargo adds an option of its own
    let mut asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let mut option = |name: &str| {
        let given = asked.iter().any(|argument| argument == name);
        asked.retain(|argument| argument != name);
        given
    };
    let how = How { only_f32: option("f32"), quick: option("quick") };
    let known = blocks();
    if let Some(unknown) = asked.iter().find(|name| !known.iter().any(|(known, _)| name.eq_ignore_ascii_case(known))) {
        eprintln!("no block {unknown}; known: {}", known.map(|(name, _)| name).join(", "));
        std::process::exit(2);
    }
    for (place, (name, config)) in known.iter().enumerate() {
        let is_asked = asked.iter().any(|asked| asked.eq_ignore_ascii_case(name));
        let is_first = asked.is_empty() && place == 0;
        if !(is_asked || is_first) {
            continue;
        }
        let (mut ours, mut peer) = (Times::new(), Times::new());
        for _ in 0..if how.quick { 1 } else { ROUNDS } {
            measure(config, how, &mut ours)?;
            if let Some(python) = std::env::var_os("LOPPER_PYTHON") {
                measure_peer(Path::new(&python), &name.to_lowercase(), threads, how, &mut peer);
            }
        }
        print(name, threads, &ours, &peer);
    }
    Ok(())
}

fn print(name: &str, threads: usize, ours: &Times, peer: &Times) {
    println!("block of {name}, batch {BATCH}, {threads} threads, best of all medians in ms");
    println!("{:8} {:5} {:>6} {:>9}   PyTorch (ratio of ours to it)", "what", "dtype", "tokens", "ours");
    for ((what, dtype, length), times) in ours {
        let best = minimum(times);
        print!("{what:8} {dtype:5} {:>6} {best:>9.1} ", BATCH * length);
        for ((_, name, _), times) in peer.iter().filter(|((w, _, l), _)| w == what && l == length) {
            print!("  {name} {:.1} ({:.2})", minimum(times), best / minimum(times));
        }
        println!();
    }
}

fn minimum(times: &[f64]) -> f64 {
    times.iter().copied().fold(f64::INFINITY, f64::min)
}

/// Our medians of one round.
fn measure(config: &serde_json::Value, how: How, times: &mut Times) -> Result<()> {
    let precisions = [("f32", Precision::F32), ("bf16", Precision::Bf16)];
    for &length in how.lengths() {
        for (name, precision) in precisions.into_iter().take(if how.only_f32 { 1 } else { 2 }) {
            let mut case = Case::new(config.clone(), length, precision)?;
            for (what, train) in [("forward", false), ("train", true)] {
                let median = median(how.repeats(), || if train { case.train() } else { case.forward() })?;
                times.entry((what.into(), name.into(), length)).or_default().push(median);
            }
        }
    }
    Ok(())
}

fn median(repeats: usize, mut step: impl FnMut() -> Result<()>) -> Result<f64> {
    step()?;
    let mut all = Vec::new();
    for _ in 0..repeats {
        let start = Instant::now();
        step()?;
        all.push(start.elapsed().as_secs_f64() * 1e3);
    }
    all.sort_by(f64::total_cmp);
    Ok(all[repeats / 2])
}

/// One round of the PyTorch program.
fn measure_peer(python: &Path, block: &str, threads: usize, how: How, times: &mut Times) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/peer/train_step.py");
    let arguments = ["--block", block, "--threads", &threads.to_string()];
    let kernels: &[&str] = if how.only_f32 { &["--kernels", "f32", "f32 onednn"] } else { &[] };
    let quick: &[&str] = if how.quick { &["--repeats", "3", "--warm-up", "1", "--lengths", "1024"] } else { &[] };
    let output = Command::new(python)
        .arg(script)
        .args(arguments)
        .args(kernels)
        .args(quick)
        .output()
        .expect("LOPPER_PYTHON runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(row) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let (Some(median), Some(length)) = (row["median_ms"].as_f64(), row["length"].as_u64()) else { continue };
        times.entry((text("what"), text("precision"), length as usize)).or_default().push(median);
    }
}

struct Case {
    /// Without tensors: those are the optimiser's, each key the place of one in the block.
    block: Block,
    optimizer: Optimizer,
    gradients: Gradients,
    x: Tensor,
    target: Tensor,
    sequences: Sequences,
    rotary: Vec<RotaryTable>,
    precision: Precision,
}

impl Case {
    fn new(mut config: serde_json::Value, length: usize, precision: Precision) -> Result<Self> {
        for (key, value) in [("vocab_size", 1), ("num_hidden_layers", 1), ("max_position_embeddings", 2048)] {
            config[key] = value.into();
        }
        let spec = describe(Path::new("config.json"), &config)?;
        let mut generator = ChaCha8Rng::seed_from_u64(0);
        let block = Block { spec: spec.blocks[0].clone(), prefix: spec.prefix(0), tensors: Vec::new() };
        let mut optimizer = Optimizer::new(OptimizerKind::AdamW, 0.0);
        for tensor in &block.spec.tensors {
            let (tensor, mask) = random_tensor(tensor, &mut generator);
            optimizer.add(tensor, mask, 1.0);
        }
        let [x, target] = [(); 2].map(|()| random(&[BATCH * length, spec.hidden], 1.0, &mut generator));
        Ok(Self {
            block,
            optimizer,
            gradients: Gradients::default(),
            x,
            target,
            sequences: Sequences::new([length; BATCH]),
            rotary: spec.rotary.iter().map(|rotary| rotary.table(length)).collect(),
            precision,
        })
    }

    fn run(&self, tape: &mut Tape, tensors: &[Value]) -> Result<Value> {
        let context = Context { sequences: &self.sequences, rotary: &self.rotary };
        (0..self.block.spec.stages.len())
            .try_fold(Value::from(&self.x), |x, stage| self.block.stage(stage, tensors, tape, &x, context, &mut NoTap))
    }

    fn forward(&mut self) -> Result<()> {
        let tensors: Vec<Value> = self.optimizer.tensors().map(Value::from).collect();
        self.run(&mut Tape::new(self.precision), &tensors).map(drop)
    }

    fn train(&mut self) -> Result<()> {
        let mut tape = Tape::new(self.precision);
        let tensors: Vec<Value> =
            self.optimizer.tensors().enumerate().map(|(key, tensor)| tape.leaf(key, tensor)).collect();
        let y = self.run(&mut tape, &tensors)?;
        let loss = tape.squared_error(&y, &self.target, 1.0 / self.target.len() as f32)?;
        self.gradients.clear();
        tape.backward(&loss, &mut self.gradients)?;
        // what shares the optimiser's numbers would make it copy them
        drop(tensors);
        self.optimizer.step(&self.gradients, 1e-3)
    }
}

/// Numbers with this deviation.
fn random(shape: &[usize], deviation: f32, generator: &mut ChaCha8Rng) -> Tensor {
    let width = deviation * 3f32.sqrt();
    Tensor::filled(shape, |numbers| numbers.iter_mut().for_each(|x| *x = generator.random_range(-width..width)))
}

/// A weight, half of it pruned, with its mask; a bias; or ones, for a norm.
fn random_tensor(spec: &TensorSpec, generator: &mut ChaCha8Rng) -> (Tensor, Option<Mask>) {
    match spec.kind {
        Kind::Norm => (Tensor::filled(spec.shape.as_slice(), |numbers| numbers.fill(1.0)), None),
        Kind::Bias | Kind::Router | Kind::Convolution | Kind::State | Kind::Sink | Kind::Factor => {
            (random(&spec.shape, 0.05, generator), None)
        }
        Kind::Weight => {
            let weight = random(&spec.shape, 0.05, generator);
            let scores = Tensor::new(weight.shape(), weight.host().iter().map(|w| w.abs()).collect());
            let half = Pattern::Unstructured { sparsity: 0.5, scope: Scope::Row };
            let mask = Mask::from_scores(&scores, &half);
            (mask.apply(weight), Some(mask))
        }
    }
}
