//! Every op against PyTorch's forward and backward; windows of every kind of block against PyTorch's gradients.

use crate::golden;
use crate::gradient;

use std::collections::BTreeSet;
use std::ops::Range;

use golden::{Golden, assert_close, tiny};
use gradient::{Op, both_ways, forward};
use lopper::autograd::optimizer::{Optimizer, OptimizerKind};
use lopper::autograd::{AdapterForm, AttentionLayout, Gradients, RotaryTable, Tape, Value};
use lopper::model::{Block, Context, Form, NoTap, Sequences};
use lopper::sparsity::Mask;
use lopper::tensor::Tensor;
use lopper_kernels::{Activation, Precision, RotaryPairs};

/// Runs `op` on the inputs both ways; output and gradients must be the golden's.
fn check(name: &str, inputs: &[(&str, Tensor)], op: Op) {
    check_in("elementwise", name, inputs, op);
}

/// The same with a golden of another file.
fn check_in(file: &str, name: &str, inputs: &[(&str, Tensor)], op: Op) {
    let golden = Golden::open(file);
    check_with(&golden, name, inputs, golden.get(&format!("{name}.grad_output")), op);
}

fn check_with(golden: &Golden, name: &str, inputs: &[(&str, Tensor)], upstream: &Tensor, op: Op) {
    let tensors: Vec<Tensor> = inputs.iter().map(|(_, tensor)| tensor.clone()).collect();
    let (y, gradients) = both_ways(&tensors, upstream, op);
    assert_close(&y, golden.get(&format!("{name}.output")), 1e-5, name);
    assert_eq!(forward(&tensors, op), y, "{name} without leaves");
    for ((input, _), gradient) in inputs.iter().zip(&gradients) {
        assert_close(gradient, golden.get(&format!("{name}.grad.{input}")), 2e-5, &format!("{name} d{input}"));
    }
}

/// Inputs of an op by their names in a golden.
fn inputs<const N: usize>(file: &str, op: &str, names: [&'static str; N]) -> [(&'static str, Tensor); N] {
    let golden = Golden::open(file);
    names.map(|name| (name, golden.get(&format!("{op}.{name}")).clone()))
}

#[test]
fn rms_norm() {
    check("rms_norm", &inputs("elementwise", "rms_norm", ["x", "weight"]), &|tape, v| {
        tape.rms_norm(&v[0], &v[1], v[1].tensor().len(), 1e-5).expect("op")
    });
    let heads = inputs("activations", "rms_norm_heads", ["x", "weight"]);
    check_in("activations", "rms_norm_heads", &heads, &|tape, v| {
        tape.rms_norm(&v[0], &v[1], v[1].tensor().len(), 1e-5).expect("op")
    });
}

#[test]
fn layer_norm() {
    let inputs = inputs("activations", "layer_norm", ["x", "weight", "bias"]);
    check_in("activations", "layer_norm", &inputs, &|tape, v| tape.layer_norm(&v[0], &v[1], &v[2], 1e-5).expect("op"));
}

#[test]
fn gated_silu() {
    check("gated_silu", &inputs("elementwise", "gated_silu", ["gate", "up"]), &|tape, v| {
        tape.gated(Activation::Silu, &v[0], &v[1]).expect("op")
    });
}

#[test]
fn activations_and_their_edges() {
    let golden = Golden::open("activations");
    for (name, kind) in [("relu", Activation::Relu), ("gelu", Activation::Gelu), ("gelu_tanh", Activation::GeluTanh)] {
        let op = move |tape: &mut Tape, v: &[Value]| tape.activate(kind, &v[0]).expect("op");
        check_in("activations", name, &inputs("activations", name, ["input"]), &op);
        let edges = format!("{name}_edges");
        let [(_, input)] = inputs("activations", &edges, ["input"]);
        let (y, gradients) = both_ways(&[input], golden.get(&format!("{edges}.grad_output")), &op);
        // one by one: an error at 1e-4 is not seen beside an output of 100
        for (got, what) in [(&y, "output"), (&gradients[0], "grad.input")] {
            for (place, (got, want)) in got.host().iter().zip(golden.vec(&format!("{edges}.{what}"))).enumerate() {
                assert!((got - want).abs() <= 5e-7 + 1e-6 * want.abs(), "{edges} {what} {place}: {got} for {want}");
            }
        }
    }
}

#[test]
fn rotary() {
    let golden = Golden::open("elementwise");
    // the golden's table has a row per token: one sequence of 16 tokens with its own angles gives the same
    let [cos, sin] = ["rotary.cos", "rotary.sin"].map(|name| golden.get(name).clone());
    let table = RotaryTable { cos, sin, pairs: RotaryPairs::Halves };
    let inputs = [("x", golden.rows("rotary.x", 24))];
    check("rotary", &inputs, &|tape, v| tape.rotary(&v[0], 8, &[0, 16], &table).expect("op"));
}

#[test]
fn attention_with_and_without_window() {
    let golden = Golden::open("elementwise");
    let lengths: Vec<usize> = golden.ids("attention.lengths").into_iter().map(|n| n as usize).collect();
    let sequences = Sequences::new(lengths);
    let inputs = [("q", 32), ("k", 16), ("v", 16)].map(|(x, width)| (x, golden.rows(&format!("attention.{x}"), width)));
    let upstream = golden.get("attention.grad_output");
    for (name, window) in [("attention", None), ("attention_window", Some(13))] {
        let layout = AttentionLayout { kv_heads: 2, window, ..AttentionLayout::new(4, 8) };
        check_with(&golden, name, &inputs, upstream, &|tape, v| {
            tape.attention([&v[0], &v[1], &v[2]], None, &layout, sequences.offsets()).expect("op")
        });
    }
}

#[test]
fn losses() {
    let golden = Golden::open("elementwise");
    let (target, logits) = (golden.get("mse.target").clone(), golden.get("cross_entropy.input").clone());
    let mean = 1.0 / target.len() as f32;
    let inputs = [("input", golden.get("mse.input").clone())];
    check("mse", &inputs, &|tape, v| tape.squared_error(&v[0], &target, mean).expect("op"));
    let targets = golden.ids("cross_entropy.target");
    check("cross_entropy", &[("input", logits)], &|tape, v| tape.cross_entropy(&v[0], &targets).expect("op"));
}

#[test]
fn losses_of_training() {
    let golden = Golden::open("losses");
    let input = |name: &str| [("input", golden.get(&format!("{name}.input")).clone())];
    let [normalized, cosine] = ["mse_normalized", "cosine"].map(|name| golden.get(&format!("{name}.target")));
    check_in("losses", "mse_normalized", &input("mse_normalized"), &|tape, v| {
        tape.normalized_squared_error(&v[0], normalized, 1.0).expect("op")
    });
    check_in("losses", "cosine", &input("cosine"), &|tape, v| tape.cosine_distance(&v[0], cosine, 1.0).expect("op"));
    let teacher = golden.get("distillation.teacher");
    check_in("losses", "distillation", &input("distillation"), &|tape, v| {
        tape.distillation(&v[0], teacher, 2.0).expect("op")
    });
}

/// The gradient of a weighted sum against differences of it, for each entry of each input.
fn check_differences(inputs: &[Tensor], op: Op, what: &str) {
    let upstream = Tensor::new([5, 7], (0..35u8).map(f32::from).collect());
    let sum = |inputs: &[Tensor]| -> f64 {
        let y = forward(inputs, op);
        y.host().iter().zip(upstream.host()).map(|(&y, &d)| f64::from(y) * f64::from(d)).sum()
    };
    let (_, gradients) = both_ways(inputs, &upstream, op);
    for (place, input) in inputs.iter().enumerate() {
        let differences = (0..input.len()).map(|entry| {
            let [high, low] = [0.05, -0.05].map(|step| {
                let mut inputs = inputs.to_vec();
                inputs[place].host_mut()[entry] += step;
                sum(&inputs)
            });
            ((high - low) / 0.1) as f32
        });
        let want = Tensor::new(input.shape(), differences.collect());
        // the op is linear in each input: only rounding remains
        assert_close(&gradients[place], &want, 2e-4, &format!("{what} {place}"));
    }
}

#[test]
fn adapters() {
    let random = |rows: usize, columns: usize, seed: usize| {
        let data = (0..rows * columns).map(|i| ((i * 7919 + seed * 104_729) % 1000) as f32 / 500.0 - 1.0);
        Tensor::new([rows, columns], data.collect())
    };
    let inputs = [random(5, 7, 1), random(5, 2, 2), random(2, 7, 3)];
    let mask = Mask::new(7, (0..35).map(|i| u8::from(i % 3 != 0)).collect());
    for form in [
        AdapterForm::Added { scale: 0.5, mask: None },
        AdapterForm::Added { scale: 0.5, mask: Some(mask) },
        AdapterForm::Multiplied { offset: 0.0, scale: 1.0 },
        AdapterForm::Multiplied { offset: 1.0, scale: 0.5 },
    ] {
        let op = |tape: &mut Tape, v: &[Value]| tape.adapted([&v[0], &v[1], &v[2]], &form).expect("op");
        check_differences(&inputs, &op, &format!("{form:?}"));
    }
}

/// Without rotary positions (OPT) its bias shifts all scores of a query alike: the gradient is zero but for rounding, in PyTorch too.
const BIAS_OF_KEYS: &str = "self_attn.k_proj.bias";

/// The key of the input of a window; its tensors have their places in the block.
const INPUT: usize = usize::MAX;

/// The gradients of some stages of block 1 of a tiny checkpoint, by the names of the tensors in the block.
fn check_window(folder: &str, stages: Range<usize>, file: &str) {
    let (_directory, decoder) = tiny(folder);
    let golden = Golden::open(&format!("window/{file}"));
    let block = decoder.load_block(1).expect("block");
    let trained = tensors_of(&block, stages.clone());
    let names: BTreeSet<String> = trained.iter().map(|&tensor| block.spec.tensors[tensor].name.clone()).collect();
    let given = golden.names().filter_map(|name| name.strip_prefix("grad.")).filter(|&name| name != "x");
    assert_eq!(names, given.map(str::to_owned).collect(), "{file}: what has a gradient");
    // with the input a leaf and with it a constant: the norms' gradients take different ways
    for input_trains in [true, false] {
        let gradients = window_gradients(&block, stages.clone(), (&decoder.rotary(24), &golden), input_trains, file);
        let of = |key: usize| gradients.of(key).unwrap_or_else(|| panic!("{file}: no gradient of {key}"));
        if input_trains {
            assert_close(of(INPUT), golden.get("grad.x"), 1e-4, &format!("{file} dx"));
        }
        let largest = trained.iter().flat_map(|&tensor| of(tensor).host()).fold(0f32, |most, g| most.max(g.abs()));
        for &tensor in &trained {
            let name = &block.spec.tensors[tensor].name;
            let want = golden.get(&format!("grad.{name}"));
            if name == BIAS_OF_KEYS && decoder.spec().rotary.is_empty() {
                let nothing = |gradient: &Tensor| gradient.host().iter().all(|g| g.abs() < 1e-6 * largest);
                assert!(nothing(of(tensor)) && nothing(want), "{file} {name}: {:?}", of(tensor).host());
            } else {
                let got = match block.spec.tensors[tensor].form {
                    Form::Transposed => of(tensor).transposed().expect("a matrix"),
                    Form::Plain | Form::LessOne => of(tensor).clone(),
                };
                assert_close(&got, want, 1e-4, &format!("{file} {name}, input trains: {input_trains}"));
            }
        }
    }
}

/// Tensors of these stages, in the order of the block.
fn tensors_of(block: &Block, stages: Range<usize>) -> BTreeSet<usize> {
    let branches = block.spec.stages[stages].iter().flat_map(|stage| &stage.branches);
    let of_linear = |&linear: &usize| {
        let linear = &block.spec.linears[linear];
        [Some(linear.weight), linear.bias].into_iter().flatten()
    };
    branches.flat_map(|branch| branch.linears.iter().flat_map(of_linear).chain(branch.others.iter().copied())).collect()
}

fn window_gradients(
    block: &Block,
    stages: Range<usize>,
    (rotary, golden): (&[RotaryTable], &Golden),
    input_trains: bool,
    what: &str,
) -> Gradients {
    let hidden = golden.get("x").width();
    let (x, target) = (golden.rows("x", hidden), golden.rows("target", hidden));
    let mut tape = Tape::new(Precision::F32);
    let tensors: Vec<Value> = block.tensors.iter().enumerate().map(|(key, tensor)| tape.leaf(key, tensor)).collect();
    let mut y = if input_trains { tape.leaf(INPUT, &x) } else { x.into() };
    let sequences = Sequences::new([24, 24]);
    let context = Context { sequences: &sequences, rotary };
    for stage in stages {
        y = block.stage(stage, &tensors, &mut tape, &y, context, &mut NoTap).expect("forward");
    }
    assert_close(y.tensor(), golden.get("output"), 1e-5, what);
    let loss = tape.squared_error(&y, &target, 1.0 / target.len() as f32).expect("loss");
    assert_close(loss.tensor(), golden.get("loss"), 1e-5, what);
    let mut gradients = Gradients::default();
    tape.backward(&loss, &mut gradients).expect("backward");
    gradients
}

#[test]
fn gradients_of_windows() {
    check_window("llama", 0..1, "attention");
    check_window("llama", 1..2, "mlp");
    check_window("llama", 0..2, "block");
}

#[test]
fn gradients_of_norms_of_heads() {
    check_window("qwen3", 0..1, "qwen3_attention");
}

#[test]
fn gradients_of_layer_norms_before_and_after() {
    check_window("opt", 0..1, "opt_attention");
    check_window("opt", 1..2, "opt_mlp");
    check_window("opt/post_norm", 0..1, "opt_post_norm_attention");
    check_window("opt/post_norm", 1..2, "opt_post_norm_mlp");
}

#[test]
fn gradients_of_branches_side_by_side() {
    check_window("gpt_neox", 0..1, "gpt_neox_block");
}

#[test]
fn gradients_of_other_blocks() {
    for family in
        ["bloom", "gpt2", "gpt_bigcode", "gemma2", "gemma3_text", "granite", "arcee", "phi3", "glm4", "nemotron"]
    {
        check_window(family, 0..2, &format!("{family}_block"));
    }
    check_window("olmo/clipped", 0..2, "olmo_clipped_block");
    // norms of heads that were turned before
    check_window("hunyuan_v1_dense", 0..2, "hunyuan_v1_dense_block");
    // a factor of the states
    check_window("gemma4_text", 0..2, "gemma4_text_block");
}

#[test]
fn gradients_of_experts() {
    for family in ["mixtral", "qwen2_moe", "glm4_moe", "granitemoeshared", "deepseek_v2", "deepseek_v3", "gpt_oss"] {
        check_window(family, 0..2, &format!("{family}_block"));
    }
    // keys that are values
    check_window("gemma4_text/experts", 0..2, "gemma4_experts_block");
}

#[test]
fn gradients_of_a_recurrence() {
    for family in ["mamba", "falcon_mamba", "mamba2"] {
        check_window(family, 0..1, &format!("{family}_block"));
    }
    check_window("falcon_h1", 0..2, "falcon_h1_block");
    check_window("falcon_h1/normed", 0..2, "falcon_h1_normed_block");
    check_window("lfm2", 0..2, "lfm2_block");
    check_window("qwen3_5_text", 0..2, "qwen3_5_text_block");
    check_window("qwen3_next", 0..2, "qwen3_next_block");
}

#[test]
fn gradients_of_a_norm_that_two_branches_read() {
    check_window("gptj", 0..1, "gptj_block");
    check_window("cohere", 0..1, "cohere_block");
    check_window("phi/normed", 0..1, "phi_normed_block");
    check_window("falcon/grouped", 0..1, "falcon_grouped_block");
}

/// Gives an optimiser of one tensor the golden's gradients, one step each; `after` sees the tensor.
fn descend(
    file: &str,
    (kind, weight_decay): (OptimizerKind, f32),
    (start, mask): (&Tensor, Option<Mask>),
    rate: &dyn Fn(usize) -> f32,
    after: &dyn Fn(usize, &Tensor),
) {
    let golden = Golden::open(file);
    let mut optimizer = Optimizer::new(kind, weight_decay);
    let key = optimizer.add(start.clone(), mask, 1.0);
    for step in 0..3 {
        let gradient = golden.get("grads").rows(step..step + 1).and_then(|g| g.reshape(start.shape()));
        let mut tape = Tape::new(Precision::F32);
        let weight = tape.leaf(key, optimizer.tensor(key));
        let mut gradients = Gradients::default();
        tape.backward_from(&weight, gradient.expect("a step"), &mut gradients).expect("backward");
        optimizer.step(&gradients, rate(step)).expect("step");
        after(step, optimizer.tensor(key));
    }
}

#[test]
fn adamw_on_a_mask() {
    let golden = Golden::open("window/adamw");
    let mask = Mask::new(20, golden.bytes("mask"));
    let start = (golden.get("start"), Some(mask));
    descend("window/adamw", (OptimizerKind::AdamW, 0.01), start, &|_| 1e-3, &|step, weight| {
        assert_close(weight, golden.get(&format!("result.{step}")), 1e-6, &format!("step {step}"));
    });
}

#[test]
fn adafactor_and_momentum() {
    let (file, golden) = ("window/optimizers", Golden::open("window/optimizers"));
    let start = golden.get("start");
    let mask = Mask::new(20, golden.bytes("mask"));
    let rate = |step| golden.vec(&format!("rate.{step}"))[0];
    descend(file, (OptimizerKind::Adafactor, 0.0), (start, None), &rate, &|step, weight| {
        let moved = |after: &Tensor| {
            let moved = after.host().iter().zip(start.host()).map(|(after, start)| after - start);
            Tensor::new(start.shape(), moved.collect())
        };
        assert_close(&moved(weight), &moved(golden.get(&format!("adafactor.{step}"))), 1e-4, "adafactor");
    });
    let mut masked = start.clone();
    lopper_kernels::apply_mask(masked.host_mut(), mask.as_slice());
    let masked = (&masked, Some(mask.clone()));
    descend(file, (OptimizerKind::Sgd, 0.0), masked.clone(), &|_| 1e-2, &|step, weight| {
        assert_close(weight, golden.get(&format!("sgd.{step}")), 1e-6, "sgd");
    });
    descend(file, (OptimizerKind::Adafactor, 0.0), masked, &|_| 1e-2, &|_, weight| {
        let zero = weight.host().iter().zip(mask.as_slice()).all(|(&w, &kept)| kept == 1 || w == 0.0);
        assert!(zero, "a pruned weight moved");
    });
}

#[test]
fn a_value_used_twice_gets_both_gradients() {
    let x = Tensor::new([1, 3], vec![1f32, -2.0, 0.5]);
    let ones = Value::from(Tensor::new([1, 3], vec![1.0; 3]));
    let (_, gradients) = both_ways(&[x], &Tensor::scalar(1.0), &|tape, v| {
        let y = tape.gated(Activation::Silu, &v[0], &v[0]).expect("op");
        tape.linear(&y, &ones, None, None).expect("op")
    });
    // d(x²·σ(x))/dx = 2xσ + x²σ(1 − σ)
    let exact = [1f64, -2.0, 0.5].map(|x| {
        let s = 1.0 / (1.0 + (-x).exp());
        (2.0 * x * s + x * x * s * (1.0 - s)) as f32
    });
    assert_close(&gradients[0], &Tensor::new([1, 3], exact.to_vec()), 1e-5, "used twice");
}
