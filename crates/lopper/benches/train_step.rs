//! A train step and a forward pass of a decoder block of SmolLM2's shape, with the ratio to PyTorch measured in the same run.
//!
//! `LOPPER_PYTHON=~/goldens/bin/python cargo bench -p lopper --bench train_step`
//!
//! Without `LOPPER_PYTHON` (a Python that has torch) only our own times are printed. Rounds of both take turns, so that a
//! machine that slows down slows both.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use candle_core::{DType, Device, Result, Tensor, Var};
use lopper::autograd::optimizer::{Optimizer, OptimizerKind};
use lopper::autograd::{AttentionLayout, Gradients, Tape, Value};
use lopper::model::{Attention, Block, Linear, Mlp, NoTap, Norm, RotaryScaling, RotarySpec, Sequences};
use lopper::sparsity::{Mask, Pattern, Scope};
use lopper_kernels::Precision;

const HIDDEN: usize = 576;
const INTERMEDIATE: usize = 1536;
const HEADS: usize = 9;
const KV_HEADS: usize = 3;
const HEAD_DIM: usize = 64;
const BATCH: usize = 2;
const LENGTHS: [usize; 2] = [512, 1024];
const ROUNDS: usize = 3;
const REPEATS: usize = 8;

/// What was timed: `forward` or `train`, precision, sequence length.
type Setting = (String, String, usize);
type Times = BTreeMap<Setting, Vec<f64>>;

fn main() -> Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (mut ours, mut peer) = (Times::new(), Times::new());
    for _ in 0..ROUNDS {
        measure(&mut ours)?;
        if let Some(python) = std::env::var_os("LOPPER_PYTHON") {
            measure_peer(Path::new(&python), threads, &mut peer);
        }
    }
    println!("block of SmolLM2-135M, batch {BATCH}, {threads} threads, best of {ROUNDS} medians in ms");
    println!("{:8} {:5} {:>6} {:>9}   PyTorch (ratio of ours to it)", "what", "dtype", "tokens", "ours");
    for ((what, dtype, length), times) in &ours {
        let best = minimum(times);
        print!("{what:8} {dtype:5} {:>6} {best:>9.1} ", BATCH * length);
        for ((_, name, _), times) in peer.iter().filter(|((w, _, l), _)| w == what && l == length) {
            print!("  {name} {:.1} ({:.2})", minimum(times), best / minimum(times));
        }
        println!();
    }
    Ok(())
}

fn minimum(times: &[f64]) -> f64 {
    times.iter().copied().fold(f64::INFINITY, f64::min)
}

/// Our medians of one round.
fn measure(times: &mut Times) -> Result<()> {
    for length in LENGTHS {
        for (name, precision) in [("f32", Precision::F32), ("bf16", Precision::Bf16)] {
            let mut case = Case::new(length, precision)?;
            for (what, train) in [("forward", false), ("train", true)] {
                let median = median(|| if train { case.train() } else { case.forward() })?;
                times.entry((what.into(), name.into(), length)).or_default().push(median);
            }
        }
    }
    Ok(())
}

fn median(mut step: impl FnMut() -> Result<()>) -> Result<f64> {
    step()?;
    let mut all = Vec::new();
    for _ in 0..REPEATS {
        let start = Instant::now();
        step()?;
        all.push(start.elapsed().as_secs_f64() * 1e3);
    }
    all.sort_by(f64::total_cmp);
    Ok(all[REPEATS / 2])
}

/// One round of the PyTorch program.
fn measure_peer(python: &Path, threads: usize, times: &mut Times) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/peer/train_step.py");
    let output = Command::new(python).arg(script).args(["--threads", &threads.to_string()]).output();
    let output = output.expect("LOPPER_PYTHON runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(row) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let (Some(median), Some(length)) = (row["median_ms"].as_f64(), row["length"].as_u64()) else { continue };
        times.entry((text("what"), text("precision"), length as usize)).or_default().push(median);
    }
}

struct Case {
    block: Block,
    optimizer: Optimizer,
    gradients: Gradients,
    x: Tensor,
    target: Tensor,
    sequences: Sequences,
    rotary: lopper::autograd::RotaryTable,
    precision: Precision,
}

impl Case {
    fn new(length: usize, precision: Precision) -> Result<Self> {
        let mut optimizer = Optimizer::new(OptimizerKind::AdamW, 0.0);
        let block = block(&mut optimizer)?;
        let shape = (BATCH * length, HIDDEN);
        let rotary =
            RotarySpec { theta: 1e5, dim: HEAD_DIM, scaling: RotaryScaling::Default }.table(length, &Device::Cpu)?;
        let [x, target] = [(); 2].map(|()| Tensor::randn(0f32, 1.0, shape, &Device::Cpu));
        let sequences = Sequences::new([length; BATCH]);
        Ok(Self {
            block,
            optimizer,
            gradients: Gradients::default(),
            x: x?,
            target: target?,
            sequences,
            rotary,
            precision,
        })
    }

    fn run(&self, tape: &mut Tape) -> Result<Value> {
        self.block.forward(tape, &(&self.x).into(), &self.sequences, &self.rotary, &mut NoTap)
    }

    fn forward(&mut self) -> Result<()> {
        self.run(&mut Tape::inference(self.precision)).map(drop)
    }

    fn train(&mut self) -> Result<()> {
        let mut tape = Tape::new(self.precision, self.optimizer.tensors());
        let y = self.run(&mut tape)?;
        let loss = tape.squared_error(&y, &self.target, 1.0 / self.target.elem_count() as f32)?;
        self.gradients.clear();
        tape.backward(&loss, &mut self.gradients)?;
        self.optimizer.step(&self.gradients, 1e-3)
    }
}

/// Random weights, half of them pruned, all of them variables of the optimiser.
fn block(optimizer: &mut Optimizer) -> Result<Block> {
    let half = Pattern::Unstructured { sparsity: 0.5, scope: Scope::Row };
    let mut linear = |d_out: usize, d_in: usize| {
        let weight = Tensor::randn(0f32, 0.05, d_out * d_in, &Device::Cpu)?.to_vec1::<f32>()?;
        let scores = weight.iter().map(|w| w.abs()).collect();
        let mask = Mask::from_scores(&lopper::tensor::Tensor::new([d_out, d_in], scores), &half);
        let weight = mask.apply(lopper::tensor::Tensor::new([d_out, d_in], weight)).into_vec();
        let variable = Var::from_tensor(&Tensor::from_vec(weight, (d_out, d_in), &Device::Cpu)?)?;
        optimizer.add(&variable, Some(mask), 1.0)?;
        Ok::<_, candle_core::Error>(Linear { weight: variable.as_tensor().clone(), bias: None })
    };
    let (wide, narrow) = (HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM);
    let [query, key, value] = [linear(wide, HIDDEN)?, linear(narrow, HIDDEN)?, linear(narrow, HIDDEN)?];
    let [output, gate, up] = [linear(HIDDEN, wide)?, linear(INTERMEDIATE, HIDDEN)?, linear(INTERMEDIATE, HIDDEN)?];
    let down = linear(HIDDEN, INTERMEDIATE)?;
    let mut norm = || {
        let variable = Var::ones(HIDDEN, DType::F32, &Device::Cpu)?;
        optimizer.add(&variable, None, 1.0)?;
        Ok::<_, candle_core::Error>(Norm { weight: variable.as_tensor().clone(), epsilon: 1e-5 })
    };
    let scale = (HEAD_DIM as f32).sqrt().recip();
    let layout = AttentionLayout { heads: HEADS, kv_heads: KV_HEADS, head_dim: HEAD_DIM, scale, window: None };
    let attention = Attention { norm: norm()?, query, key, value, output, layout };
    Ok(Block { attention, mlp: Mlp { norm: norm()?, gate, up, down } })
}
