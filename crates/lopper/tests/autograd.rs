//! Every op, fused and composed, against PyTorch's forward and backward; windows of a block against PyTorch's gradients.

mod golden;

use candle_core::{Tensor, Var};
use golden::{Golden, assert_close, tiny};
use lopper::autograd::optimizer::{Optimizer, OptimizerKind};
use lopper::autograd::{AdapterForm, AttentionLayout, Gradients, RotaryTable, Tape, Value};
use lopper::model::{Decoder, LinearId, LinearRole, NoTap, Part, Sequences};
use lopper::sparsity::Mask;
use lopper_kernels::Precision;

/// Runs `op` on the inputs both ways; output and gradients must be the golden's.
fn check(name: &str, inputs: &[(&str, Tensor)], op: &dyn Fn(&mut Tape, &[Value]) -> Value) {
    check_in("elementwise", name, inputs, op);
}

/// The same with a golden of another file.
fn check_in(file: &str, name: &str, inputs: &[(&str, Tensor)], op: &dyn Fn(&mut Tape, &[Value]) -> Value) {
    let golden = Golden::open(file);
    for composed in [false, true] {
        let mut tape = Tape::new(Precision::F32, inputs.iter().map(|(_, tensor)| tensor));
        if composed {
            tape = tape.composed();
        }
        let values: Vec<Value> = inputs.iter().map(|(_, tensor)| tape.value(tensor)).collect();
        let y = op(&mut tape, &values);
        let what = format!("{name} composed={composed}");
        assert_close(y.tensor(), golden.get(&format!("{name}.output")), 1e-5, &what);
        // the loss Σ y·dy has dy as its gradient with respect to y
        let upstream = golden.get(&format!("{name}.grad_output")).reshape(y.tensor().shape()).expect("same shape");
        let loss = tape.candle([&y], |[y]| (y * &upstream)?.sum_all()).expect("loss");
        let mut gradients = Gradients::default();
        tape.backward(&loss, &mut gradients).expect("backward");
        for (input, tensor) in inputs {
            let gradient = gradients.of(tensor).expect("a gradient");
            assert_close(gradient, golden.get(&format!("{name}.grad.{input}")), 2e-5, &format!("{what} d{input}"));
        }
    }
}

#[test]
fn rms_norm() {
    let golden = Golden::open("elementwise");
    let inputs = ["x", "weight"].map(|input| (input, golden.get(&format!("rms_norm.{input}")).clone()));
    check("rms_norm", &inputs, &|tape, v| tape.rms_norm(&v[0], &v[1], 1e-5).expect("op"));
}

#[test]
fn gated_silu() {
    let golden = Golden::open("elementwise");
    let inputs = ["gate", "up"].map(|input| (input, golden.get(&format!("gated_silu.{input}")).clone()));
    check("gated_silu", &inputs, &|tape, v| tape.gated_silu(&v[0], &v[1]).expect("op"));
}

#[test]
fn rotary() {
    let golden = Golden::open("elementwise");
    // the golden's table has a row per token: one sequence of 16 tokens with its own angles gives the same
    let table = RotaryTable { cos: golden.get("rotary.cos").clone(), sin: golden.get("rotary.sin").clone() };
    let inputs = [("x", golden.rows("rotary.x", 24))];
    check("rotary", &inputs, &|tape, v| tape.rotary(&v[0], 8, &[0, 16], &table).expect("op"));
}

#[test]
fn attention_with_and_without_window() {
    let golden = Golden::open("elementwise");
    let lengths: Vec<usize> = golden.ids("attention.lengths").into_iter().map(|n| n as usize).collect();
    let sequences = Sequences::new(lengths);
    let inputs = [("q", 32), ("k", 16), ("v", 16)].map(|(x, width)| (x, golden.rows(&format!("attention.{x}"), width)));
    let layout = |window| AttentionLayout { heads: 4, kv_heads: 2, head_dim: 8, scale: 8f32.sqrt().recip(), window };
    let run = |window| {
        let (layout, offsets) = (layout(window), sequences.offsets().to_vec());
        move |tape: &mut Tape, v: &[Value]| tape.attention([&v[0], &v[1], &v[2]], &layout, &offsets).expect("op")
    };
    check("attention", &inputs, &run(None));
    let windowed = Golden::open("elementwise");
    let mut tape = Tape::new(Precision::F32, inputs.iter().map(|(_, tensor)| tensor));
    let values: Vec<Value> = inputs.iter().map(|(_, tensor)| tape.value(tensor)).collect();
    let y = run(Some(13))(&mut tape, &values);
    assert_close(y.tensor(), windowed.get("attention_window.output"), 1e-5, "window");
    let upstream = golden.rows("attention.grad_output", 32);
    let loss = tape.candle([&y], |[y]| (y * &upstream)?.sum_all()).expect("loss");
    let mut gradients = Gradients::default();
    tape.backward(&loss, &mut gradients).expect("backward");
    for (input, tensor) in &inputs {
        let want = windowed.get(&format!("attention_window.grad.{input}"));
        assert_close(gradients.of(tensor).expect("a gradient"), want, 2e-5, &format!("window d{input}"));
    }
}

#[test]
fn losses() {
    let golden = Golden::open("elementwise");
    let (target, logits) = (golden.get("mse.target").clone(), golden.get("cross_entropy.input").clone());
    let mean = 1.0 / target.elem_count() as f32;
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

/// The gradient of a sum against differences of it, for each entry of each input.
fn check_differences(inputs: &[Tensor], op: &dyn Fn(&mut Tape, &[Value]) -> Value, what: &str) {
    let upstream =
        Tensor::arange(0f32, 35.0, &candle_core::Device::Cpu).and_then(|t| t.reshape((5, 7))).expect("tensor");
    for composed in [false, true] {
        let run = |inputs: &[Tensor]| {
            let mut tape = Tape::new(Precision::F32, inputs);
            if composed {
                tape = tape.composed();
            }
            let values: Vec<Value> = inputs.iter().map(|tensor| tape.value(tensor)).collect();
            let y = op(&mut tape, &values);
            let loss = tape.candle([&y], |[y]| (y * &upstream)?.sum_all()).expect("loss");
            (f64::from(loss.tensor().to_scalar::<f32>().expect("a number")), tape, loss)
        };
        let (_, tape, loss) = run(inputs);
        let mut gradients = Gradients::default();
        tape.backward(&loss, &mut gradients).expect("backward");
        for (place, input) in inputs.iter().enumerate() {
            let data = golden::vec(input);
            let differences: Vec<f32> = (0..data.len())
                .map(|entry| {
                    let [high, low] = [0.05, -0.05].map(|step| {
                        let (mut inputs, mut data) = (inputs.to_vec(), data.clone());
                        data[entry] += step;
                        inputs[place] = Tensor::from_vec(data, input.shape(), input.device()).expect("tensor");
                        run(&inputs).0
                    });
                    ((high - low) / 0.1) as f32
                })
                .collect();
            let want = Tensor::from_vec(differences, input.shape(), input.device()).expect("tensor");
            // the op is linear in each input: only rounding remains
            assert_close(gradients.of(input).expect("a gradient"), &want, 2e-4, &format!("{what} {place} {composed}"));
        }
    }
}

#[test]
fn adapters() {
    let device = candle_core::Device::Cpu;
    let random = |rows: usize, columns: usize, seed: usize| {
        let data: Vec<f32> =
            (0..rows * columns).map(|i| ((i * 7919 + seed * 104_729) % 1000) as f32 / 500.0 - 1.0).collect();
        Tensor::from_vec(data, (rows, columns), &device).expect("tensor")
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

/// Gradients of a window of block 1 of the tiny llama, by names of the file.
fn check_window(file: &str, parts: &[Part]) {
    let (_directory, decoder) = tiny("llama");
    let golden = Golden::open(&format!("window/{file}"));
    let block = decoder.load_block(1).expect("block");
    let (x, target) = (golden.rows("x", 32), golden.rows("target", 32));
    let rotary = decoder.rotary(24).expect("table");
    // with the input a leaf and with it a constant: the norms' gradients take different ways
    for (composed, input_trains) in [(false, true), (false, false), (true, true)] {
        let mut trained = if input_trains { vec![x.clone()] } else { vec![] };
        trained.extend(parts.iter().map(|&part| block.norm(part).weight.clone()));
        trained.extend(
            LinearRole::ALL
                .iter()
                .filter(|role| parts.contains(&role.part()))
                .map(|&role| block.linear(role).weight.clone()),
        );
        let mut tape = Tape::new(Precision::F32, &trained);
        if composed {
            tape = tape.composed();
        }
        let mut y = tape.value(&x);
        for &part in parts {
            y = block
                .forward_part(part, &mut tape, &y, &Sequences::new([24, 24]), &rotary, &mut NoTap)
                .expect("forward");
        }
        assert_close(y.tensor(), golden.get("output"), 1e-5, file);
        let loss = tape.squared_error(&y, &target, 1.0 / target.elem_count() as f32).expect("loss");
        assert_close(loss.tensor(), golden.get("loss"), 1e-5, file);
        let mut gradients = Gradients::default();
        tape.backward(&loss, &mut gradients).expect("backward");
        let inside = |name: String| format!("grad.{}", name.trim_start_matches("model.layers.1."));
        if input_trains {
            assert_close(gradients.of(&x).expect("dx"), golden.get("grad.x"), 1e-4, file);
        }
        for &part in parts {
            let name = inside(Decoder::norm_name(1, part));
            assert_close(gradients.of(&block.norm(part).weight).expect("gradient"), golden.get(&name), 1e-4, &name);
        }
        for role in LinearRole::ALL.into_iter().filter(|role| parts.contains(&role.part())) {
            let name = inside(Decoder::weight_name(LinearId { block: 1, role }));
            assert_close(gradients.of(&block.linear(role).weight).expect("gradient"), golden.get(&name), 1e-4, &name);
        }
    }
}

#[test]
fn gradients_of_windows() {
    check_window("attention", &[Part::Attention]);
    check_window("mlp", &[Part::Mlp]);
    check_window("block", &[Part::Attention, Part::Mlp]);
}

#[test]
fn adamw_on_a_mask() {
    let golden = Golden::open("window/adamw");
    let weight = Var::from_tensor(golden.get("start")).expect("variable");
    let mut optimizer = Optimizer::new(OptimizerKind::AdamW, 0.01);
    optimizer.add(&weight, Some(Mask::new(20, golden.bytes("mask"))), 1.0).expect("moments");
    for step in 0..3 {
        let gradient = golden.get("grads").get(step).expect("a step");
        let mut tape = Tape::new(Precision::F32, [weight.as_tensor()]);
        let value = tape.value(weight.as_tensor());
        let loss = tape.candle([&value], |[w]| (w * &gradient)?.sum_all()).expect("loss");
        let mut gradients = Gradients::default();
        tape.backward(&loss, &mut gradients).expect("backward");
        optimizer.step(&gradients, 1e-3).expect("step");
        let want = golden.get(&format!("result.{step}"));
        assert_close(weight.as_tensor(), want, 1e-6, &format!("step {step}"));
    }
}

/// Gives an optimiser of one weight the golden's gradients, one step each; `after` sees the weight.
fn descend(
    kind: OptimizerKind,
    weight: &Var,
    mask: Option<Mask>,
    rate: &dyn Fn(usize) -> f32,
    after: &dyn Fn(usize, &Tensor),
) {
    let golden = Golden::open("window/optimizers");
    let mut optimizer = Optimizer::new(kind, 0.0);
    optimizer.add(weight, mask, 1.0).expect("state");
    for step in 0..3 {
        let gradient = golden.get("grads").get(step).expect("a step");
        let mut tape = Tape::new(Precision::F32, [weight.as_tensor()]);
        let value = tape.value(weight.as_tensor());
        let loss = tape.candle([&value], |[w]| (w * &gradient)?.sum_all()).expect("loss");
        let mut gradients = Gradients::default();
        tape.backward(&loss, &mut gradients).expect("backward");
        optimizer.step(&gradients, rate(step)).expect("step");
        after(step, weight.as_tensor());
    }
}

#[test]
fn adafactor_and_momentum() {
    let golden = Golden::open("window/optimizers");
    let start = golden.get("start");
    let mask = Mask::new(20, golden.bytes("mask"));
    let weight = Var::from_tensor(start).expect("variable");
    let rate = |step| golden.vec(&format!("rate.{step}"))[0];
    descend(OptimizerKind::Adafactor, &weight, None, &rate, &|step, weight| {
        let moved = |after: &Tensor| (after - start).expect("same shape");
        assert_close(&moved(weight), &moved(golden.get(&format!("adafactor.{step}"))), 1e-4, "adafactor");
    });
    let masked = mask.to_tensor(start.device()).and_then(|mask| start * mask.to_dtype(start.dtype())?).expect("masked");
    let weight = Var::from_tensor(&masked).expect("variable");
    descend(OptimizerKind::Sgd, &weight, Some(mask.clone()), &|_| 1e-2, &|step, weight| {
        assert_close(weight, golden.get(&format!("sgd.{step}")), 1e-6, "sgd");
    });
    let weight = Var::from_tensor(&masked).expect("variable");
    descend(OptimizerKind::Adafactor, &weight, Some(mask.clone()), &|_| 1e-2, &|_, weight| {
        let zero = golden::vec(weight).iter().zip(mask.as_slice()).all(|(&w, &kept)| kept == 1 || w == 0.0);
        assert!(zero, "a pruned weight moved");
    });
}

#[test]
fn a_value_used_twice_gets_both_gradients() {
    let x = Tensor::new(&[[1f32, -2.0, 0.5]], &candle_core::Device::Cpu).expect("tensor");
    let mut tape = Tape::new(Precision::F32, [&x]);
    let v = tape.value(&x);
    let y = tape.gated_silu(&v, &v).expect("op");
    let y =
        tape.linear(&y, &Tensor::ones((1, 3), x.dtype(), x.device()).expect("ones").into(), None, None).expect("op");
    let loss = tape.candle([&y], |[y]| y.sum_all()).expect("loss");
    let mut gradients = Gradients::default();
    tape.backward(&loss, &mut gradients).expect("backward");
    // d(x²·σ(x))/dx = 2xσ + x²σ(1 − σ)
    let exact = [1f64, -2.0, 0.5].map(|x| {
        let s = 1.0 / (1.0 + (-x).exp());
        (2.0 * x * s + x * x * s * (1.0 - s)) as f32
    });
    let exact = Tensor::new(&exact, x.device()).expect("tensor");
    assert_close(gradients.of(&x).expect("gradient"), &exact, 1e-5, "used twice");
}
