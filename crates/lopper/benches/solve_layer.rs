//! Solving one layer problem by each method, with the ratio to SparseGPT the authors' way in PyTorch, measured in the same run.
//!
//! `LOPPER_PYTHON=~/goldens/bin/python cargo bench -p lopper --bench solve_layer [-- 4096]`
//!
//! Shapes are those of SmolLM2's feed-forward layer; with an argument also a square of that size. From weight and Gram matrix to pruned
//! and compensated weight: factorisation, choice, moves. Without `LOPPER_PYTHON` (a Python that has torch) only our own times are
//! printed. Rounds of both take turns.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use lopper::calibration::{InputStatistics, Needs};
use lopper::method::{LayerProblem, Method, Order, SolverSettings};
use lopper::sparsity::{Pattern, Scope};
use lopper::tensor::Tensor;

const ROUNDS: usize = 3;

/// Name, criterion, compensation, order.
const METHODS: &[(&str, &str, &str, Option<Order>)] = &[
    ("sparsegpt", "sparsegpt", "sweep", None),
    ("mrp-ss", "obs", "sweep", Some(Order::Blocks)),
    ("mrp-ms", "mrp", "sweep", None),
    ("mrp mask", "mrp", "none", None),
    ("wanda, sweep", "wanda", "sweep", None),
    ("wanda, joint", "wanda", "joint", None),
    ("mrp-mm", "mrp", "joint", None),
];

fn main() {
    let square = std::env::args().skip(1).find_map(|argument| argument.parse::<usize>().ok());
    let mut shapes = vec![(1536, 576), (576, 1536)];
    shapes.extend(square.map(|n| (n, n)));
    for (rows, columns) in shapes {
        for pattern in ["50", "2:4"] {
            compare(rows, columns, pattern);
        }
    }
}

fn compare(rows: usize, columns: usize, name: &str) {
    let pattern = name.parse().unwrap_or(Pattern::Unstructured { sparsity: 0.5, scope: Scope::Matrix });
    let (weight, inputs) = problem(rows, columns);
    let mut ours = vec![Vec::new(); METHODS.len()];
    let mut peer = Vec::new();
    for _ in 0..ROUNDS {
        for (&(_, criterion, compensation, order), times) in METHODS.iter().zip(&mut ours) {
            let method = Method::by_name(criterion, compensation, order).expect("known");
            // the joint walk of a large square takes minutes, and says nothing that its parts do not
            let affordable = compensation != "joint" || criterion != "mrp" || rows * columns <= 1 << 20;
            if affordable && method.selection.check(&pattern).is_ok() {
                times.push(seconds(&method, &weight, &inputs, &pattern));
            }
        }
        if let Some(python) = std::env::var_os("LOPPER_PYTHON") {
            peer.push(measure_peer(Path::new(&python), [rows, columns], name));
        }
    }
    let peer = peer.into_iter().fold(f64::INFINITY, f64::min);
    println!(
        "[{rows}, {columns}] {name}: best of {ROUNDS} in ms; SparseGPT in PyTorch {:.1} (ratio of ours to it)",
        peer * 1e3
    );
    for ((name, ..), times) in METHODS.iter().zip(&ours).filter(|(_, times)| !times.is_empty()) {
        let best = times.iter().copied().fold(f64::INFINITY, f64::min);
        println!("  {name:14} {:>9.1}  ({:.3})", best * 1e3, best / peer);
    }
}

/// Factorisation, where the method needs it, choice and moves; not the errors that a run reports beside them.
fn seconds(method: &Method, weight: &Tensor, inputs: &InputStatistics, pattern: &Pattern) -> f64 {
    let mut inputs = inputs.clone();
    let start = Instant::now();
    if method.needs() == Needs::InverseHessian {
        inputs.finish(0.01);
    }
    let problem = LayerProblem { weight, inputs: &inputs, pattern, seed: 0, settings: SolverSettings::default() };
    let (mask, repaired, _) = method.choose_and_repair(&problem).expect("its parts fit");
    let taken = start.elapsed().as_secs_f64();
    let repaired = repaired.unwrap_or_else(|| mask.apply(weight.clone()));
    assert!(pattern.violation(repaired.host(), weight.width()).is_none());
    taken
}

/// Weight [rows, columns] and the Gram matrix of correlated inputs.
fn problem(rows: usize, columns: usize) -> (Tensor, InputStatistics) {
    let mut state = 1u64;
    let mut draw = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 40) as f32 / 8_388_608.0 - 1.0
    };
    let weight = Tensor::new([rows, columns], (0..rows * columns).map(|_| draw()).collect());
    let mut inputs = InputStatistics::new(columns, Needs::InverseHessian);
    for _ in 0..2 {
        let x: Vec<f32> = (0..columns)
            .flat_map(|_| {
                let shared = draw();
                (0..columns).map(|_| draw() + shared).collect::<Vec<_>>()
            })
            .collect();
        inputs.add(&x);
    }
    (weight, inputs)
}

fn measure_peer(python: &Path, shape: [usize; 2], pattern: &str) -> f64 {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/peer/solve_layer.py");
    let [rows, columns] = shape.map(|n| n.to_string());
    let arguments =
        ["--threads", &threads.to_string(), "--shape", &rows, &columns, "--pattern", pattern, "--rounds", "2"];
    let output = Command::new(python).arg(script).args(arguments).output().expect("LOPPER_PYTHON runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let row: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a JSON line");
    let seconds = row["seconds"].as_array().expect("seconds").iter().filter_map(serde_json::Value::as_f64);
    seconds.fold(f64::INFINITY, f64::min)
}
