//! What goes by the inverse Hessian: against goldens of the authors' algorithms, naive references in f64, and the identities of
//! arXiv 2410.15567.

use crate::golden;
use crate::layer;

use golden::{Golden, distance};
use layer::{exact_rows, golden_problem, half, layer, matrix, problem, solve_exactly, statistics};
use lopper::calibration::{InputStatistics, Needs};
use lopper::method::compensation::COMPENSATIONS;
use lopper::method::criterion::CRITERIA;
use lopper::method::{LayerProblem, LayerSolution, Method, Order, OutputError, Selection, SolverSettings};
use lopper::sparsity::{Pattern, Scope};
use lopper::tensor::Tensor;
use proptest::prelude::*;

/// A method and how it is set.
#[derive(Clone, Copy)]
struct Trial<'a> {
    criterion: &'a str,
    compensation: &'a str,
    order: Option<Order>,
    settings: SolverSettings,
}

fn method<'a>(criterion: &'a str, compensation: &'a str) -> Trial<'a> {
    Trial { criterion, compensation, order: None, settings: SolverSettings::default() }
}

impl Trial<'_> {
    fn blocks_of(self, column_block: usize) -> Self {
        Self { settings: SolverSettings { column_block, ..self.settings }, ..self }
    }

    fn solve(self, weight: &Tensor, inputs: &InputStatistics, pattern: &Pattern) -> LayerSolution {
        let method = Method::by_name(self.criterion, self.compensation, self.order).expect("known");
        let problem = LayerProblem { settings: self.settings, ..problem(weight, inputs, pattern) };
        method.solve(&problem).expect("its parts fit")
    }
}

fn groups(text: &str) -> Pattern {
    text.parse().expect("valid")
}

#[test]
fn sparsegpt_is_the_authors_algorithm() {
    let ((weight, inputs), golden) = (golden_problem(), Golden::open("pruning/sparsegpt"));
    for (name, pattern) in [("50", half(Scope::Matrix)), ("2of4", groups("2:4"))] {
        for block in [128, 8] {
            let solution = method("sparsegpt", "sweep").blocks_of(block).solve(&weight, &inputs, &pattern);
            assert_eq!(solution.mask.as_slice(), golden.bytes(&format!("mask.{name}.{block}")), "{name} {block}");
            assert!(
                distance(solution.weight.host(), &golden.vec(&format!("weight.{name}.{block}"))) < 1e-4,
                "{name} {block}"
            );
        }
    }
}

#[test]
fn masks_are_those_of_the_formulas() {
    let ((weight, inputs), golden) = (golden_problem(), Golden::open("pruning/criteria"));
    for (name, criterion, pattern) in [
        ("ria.50", "ria", half(Scope::Row)),
        ("obs.50", "obs", half(Scope::Row)),
        ("obs.2of4", "obs", groups("2:4")),
        ("mrp.2of4", "mrp", groups("2:4")),
        ("mrp.4of8", "mrp", groups("4:8")),
    ] {
        let solution = method(criterion, "none").solve(&weight, &inputs, &pattern);
        assert_eq!(solution.mask.as_slice(), golden.bytes(name), "{name}");
    }
    for name in ["ria", "obs"] {
        let selection = Selection::by_name(name, None).expect("known");
        let scores = selection.scores(&problem(&weight, &inputs, &half(Scope::Row))).expect("a score per weight");
        assert!(distance(scores.host(), &golden.vec(&format!("{name}.scores"))) < 1e-5, "{name}");
    }
}

#[test]
fn sweep_is_the_authors_update_on_a_given_mask() {
    let ((weight, inputs), golden) = (golden_problem(), Golden::open("pruning/compensation"));
    for (name, criterion, pattern) in [
        ("wanda.50", "wanda", half(Scope::Row)),
        ("wanda.2of4", "wanda", groups("2:4")),
        ("magnitude.50", "magnitude", half(Scope::Matrix)),
    ] {
        for block in [8, 12, 32, 128] {
            let solution = method(criterion, "sweep").blocks_of(block).solve(&weight, &inputs, &pattern);
            assert!(distance(solution.weight.host(), &golden.vec(&format!("sweep.{name}"))) < 1e-4, "{name} {block}");
        }
    }
}

/// The damped H [n, n] in f64, as the statistics have it.
fn hessian(inputs: &InputStatistics) -> Vec<f64> {
    let (n, gram) = (inputs.squares.len(), inputs.gram.as_ref().expect("Gram"));
    let damping = inputs.inverse.as_ref().expect("positive definite").damping();
    (0..n * n).map(|ij| gram.get(ij / n, ij % n) + if ij % (n + 1) == 0 { damping } else { 0.0 }).collect()
}

/// The inverse of a matrix [n, n], a column at a time.
fn inverse(a: &[f64], n: usize) -> Vec<f64> {
    let column = |j: usize| solve_exactly(a, &(0..n).map(|i| f64::from(u8::from(i == j))).collect::<Vec<_>>());
    (0..n).flat_map(column).collect()
}

/// Rows and columns `members` of a matrix [n, n].
fn block(a: &[f64], n: usize, members: &[usize]) -> Vec<f64> {
    members.iter().flat_map(|&i| members.iter().map(move |&j| a[i * n + j])).collect()
}

/// `½ w_P [(H⁻¹)_PP]⁻¹ w_Pᵀ`, or 0 for no weights.
fn removal_loss(inverse: &[f64], n: usize, w: &[f64], members: &[usize]) -> f64 {
    if members.is_empty() {
        return 0.0;
    }
    let right: Vec<f64> = members.iter().map(|&j| w[j]).collect();
    let solved = solve_exactly(&block(inverse, n, members), &right);
    0.5 * right.iter().zip(solved).map(|(w, x)| w * x).sum::<f64>()
}

/// `½ δHδᵀ`
fn true_loss(h: &[f64], n: usize, delta: &[f64]) -> f64 {
    0.5 * (0..n).map(|i| delta[i] * (0..n).map(|j| h[i * n + j] * delta[j]).sum::<f64>()).sum::<f64>()
}

/// Which of the rest is pruned next, by the definition: mask and update of the walk in f64, with explicit inverses of what remains
/// of H, column by column. `choose` gets the group's first column, the row as it is, and the inverse [n − first, n − first].
fn naive_walk(
    weight: &[f32],
    h: &[f64],
    n: usize,
    of: usize,
    choose: impl Fn(usize, &[f64], &[f64]) -> Vec<usize>,
) -> (Vec<u8>, Vec<f64>) {
    let (mut kept, mut out) = (Vec::new(), Vec::new());
    for row in weight.chunks(n) {
        let mut w: Vec<f64> = row.iter().map(|&w| f64::from(w)).collect();
        let mut mask = vec![1u8; n];
        for first in (0..n).step_by(of) {
            let rest = |from: usize| inverse(&block(h, n, &(from..n).collect::<Vec<_>>()), n - from);
            for j in choose(first, &w, &rest(first)) {
                mask[j] = 0;
            }
            for j in first..first + of {
                if mask[j] == 0 {
                    let inverse = rest(j);
                    let error = w[j] / inverse[0];
                    (j..n).for_each(|k| w[k] -= error * inverse[k - j]);
                    w[j] = 0.0;
                }
            }
        }
        kept.extend(mask);
        out.extend(w);
    }
    (kept, out)
}

/// The `pruned` cheapest of a group, or the cheapest subset, when what lies to the left is frozen.
fn choose_by(
    solution: &'static str,
    n: usize,
    of: usize,
    pruned: usize,
) -> impl Fn(usize, &[f64], &[f64]) -> Vec<usize> {
    move |first, w, inverse| {
        let width = n - first;
        let subsets = (0..1u32 << of).filter(|bits| bits.count_ones() as usize == pruned);
        let members = |bits: u32| (0..of).filter(move |j| bits >> j & 1 == 1).collect::<Vec<_>>();
        let loss = |bits: u32| match solution {
            "M" => removal_loss(inverse, width, &w[first..], &members(bits)),
            _ => members(bits).iter().map(|&j| w[first + j] * w[first + j] / inverse[j * width + j]).sum(),
        };
        let best = subsets.min_by(|&a, &b| loss(a).total_cmp(&loss(b))).expect("a subset");
        members(best).into_iter().map(|j| first + j).collect()
    }
}

#[test]
fn mrp_with_the_sweep_is_the_naive_walk() {
    let (weight, inputs) = golden_problem();
    let (n, h) = (32, hessian(&inputs));
    for (criterion, solution) in [("mrp", "M"), ("obs", "S")] {
        for (pattern, of, pruned) in [("2:4", 4, 2), ("1:4", 4, 3), ("4:8", 8, 4)] {
            let (kept, naive) = naive_walk(weight.host(), &h, n, of, choose_by(solution, n, of, pruned));
            let ours = Trial { order: Some(Order::Blocks), ..method(criterion, "sweep") }.blocks_of(16);
            let ours = ours.solve(&weight, &inputs, &groups(pattern));
            assert_eq!(ours.mask.as_slice(), kept, "{criterion} {pattern}");
            let naive: Vec<f32> = naive.into_iter().map(|w| w as f32).collect();
            assert!(distance(ours.weight.host(), &naive) < 1e-4, "{criterion} {pattern}");
        }
    }
}

#[test]
fn the_formula_is_the_loss_and_the_order_of_removal_does_not_matter() {
    let (weight, inputs) = golden_problem();
    let (n, h) = (32, hessian(&inputs));
    let full = inverse(&h, n);
    let solution = method("wanda", "exact").solve(&weight, &inputs, &half(Scope::Row));
    for (row, (w, kept)) in weight.host().chunks(n).zip(solution.mask.as_slice().chunks(n)).enumerate() {
        let w: Vec<f64> = w.iter().map(|&w| f64::from(w)).collect();
        let pruned: Vec<usize> = (0..n).filter(|&j| kept[j] == 0).collect();
        let delta: Vec<f64> = (0..n).map(|j| f64::from(solution.weight.host()[row * n + j]) - w[j]).collect();
        let (formula, loss) = (removal_loss(&full, n, &w, &pruned), true_loss(&h, n, &delta));
        assert!((formula - loss).abs() < 1e-4 * loss, "row {row}: {formula} against {loss}");
        // removed one by one, from last to first, with the inverse brought down after each
        let (mut moved, mut a) = (w.clone(), full.clone());
        for &p in pruned.iter().rev() {
            let error = moved[p] / a[p * n + p];
            let line: Vec<f64> = a[p * n..(p + 1) * n].to_vec();
            (0..n).for_each(|j| moved[j] -= error * line[j]);
            (0..n * n).for_each(|ij| a[ij] -= line[ij / n] * line[ij % n] / line[p]);
        }
        let closed: Vec<f64> = solution.weight.host()[row * n..(row + 1) * n].iter().map(|&w| f64::from(w)).collect();
        let gap: f64 = moved.iter().zip(&closed).map(|(a, b)| (a - b) * (a - b)).sum();
        assert!(gap.sqrt() < 1e-5 * w.iter().map(|w| w * w).sum::<f64>().sqrt(), "row {row}");
    }
}

/// All methods whose criterion goes by the inverse Hessian, in each order and with each pattern that it knows.
fn walks() -> Vec<(Trial<'static>, Pattern)> {
    let patterns = [half(Scope::Row), half(Scope::Matrix), groups("2:4"), groups("3:4"), groups("1:8")];
    let mut all = Vec::new();
    for criterion in CRITERIA {
        for order in [None, Some(Order::Whole), Some(Order::Blocks)] {
            let Ok(selection) = criterion.selection(order) else { continue };
            let inverts = selection.needs() == Needs::InverseHessian;
            for &pattern in patterns.iter().filter(|pattern| inverts && selection.check(pattern).is_ok()) {
                let trial = |name| (Trial { order, ..method(criterion.name, name) }, pattern);
                all.extend(COMPENSATIONS.iter().map(|compensation| trial(compensation.name)));
            }
        }
    }
    all
}

#[test]
fn shapes_at_the_edge() {
    // one row; fewer tokens than inputs; all inputs dead; rows that no block divides
    for (rows, columns, tokens, scale) in [(1, 8, 40, 1.0f32), (5, 24, 3, 1.0), (3, 16, 9, 0.0), (7, 40, 90, 1.0)] {
        let draw = |i: usize, salt: usize| ((i * 7919 + salt) % 1009) as f32 / 504.5 - 1.0;
        let weight = matrix(columns, (0..rows * columns).map(|i| draw(i, 3)).collect());
        let inputs = (0..tokens * columns).map(|i| scale * draw(i * i, 11)).collect();
        let inputs = statistics(&matrix(columns, inputs));
        for (walk, pattern) in walks() {
            let solution = walk.blocks_of(12).solve(&weight, &inputs, &pattern);
            let name = format!("{} {} {pattern} {rows}×{columns}", walk.criterion, walk.compensation);
            assert_eq!(pattern.violation(solution.weight.host(), columns), None, "{name}");
            let count = match pattern {
                Pattern::NofM { keep, of } | Pattern::Inputs { keep, of, .. } | Pattern::Outputs { keep, of } => {
                    weight.len() / of * (of - keep)
                }
                Pattern::Unstructured { scope: Scope::Matrix, .. } => weight.len() / 2,
                Pattern::Unstructured { .. } => columns / 2 * rows,
            };
            assert_eq!(solution.mask.pruned(), count, "{name}");
            assert!(solution.weight.is_finite(), "{name}");
            assert_eq!(solution.facts.warning.is_some(), scale == 0.0, "{name}: {:?}", solution.facts.warning);
        }
    }
}

#[test]
fn inputs_that_are_no_numbers_leave_a_masked_layer_and_a_warning() {
    let columns = 16;
    let weight = matrix(columns, (0..3 * columns).map(|i| ((i * 7919) % 1009) as f32 / 504.5 - 1.0).collect());
    for poison in [f32::NAN, f32::INFINITY, 1e30] {
        let mut inputs: Vec<f32> = (0..40 * columns).map(|i| ((i * 104_729) % 997) as f32 / 498.5 - 1.0).collect();
        inputs[5 * columns + 3] = poison;
        let inputs = statistics(&matrix(columns, inputs));
        for (walk, pattern) in walks() {
            let solution = walk.solve(&weight, &inputs, &pattern);
            let name = format!("{} {} {pattern} {poison}", walk.criterion, walk.compensation);
            assert!(solution.facts.warning.is_some(), "{name}");
            assert_eq!(pattern.violation(solution.weight.host(), columns), None, "{name}");
            assert_eq!(solution.weight, solution.mask.apply(weight.clone()), "{name}: something moved");
        }
    }
}

#[test]
fn threads_change_nothing() {
    let (weight, inputs) = golden_problem();
    for (walk, pattern) in walks() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| walk.blocks_of(8).solve(&weight, &inputs, &pattern).weight)
        };
        assert_eq!(run(1), run(3), "{} {} {pattern}", walk.criterion, walk.compensation);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn exact_is_the_optimum_and_joint_is_at_it_and_below_the_sweep((weight, inputs) in layer()) {
        let (columns, inputs) = (weight.width(), statistics(&inputs));
        let h = hessian(&inputs);
        let damped = |candidate: &Tensor| -> f64 {
            let (candidate, weight) = (candidate.host(), weight.host());
            let delta = |row: usize| (0..columns).map(|j| f64::from(candidate[row * columns + j]) - f64::from(weight[row * columns + j])).collect::<Vec<_>>();
            (0..weight.len() / columns).map(|row| true_loss(&h, columns, &delta(row))).sum()
        };
        for pattern in [half(Scope::Row), groups("2:4")] {
            let [none, sweep, joint, exact] = ["none", "sweep", "joint", "exact"].map(|name| method("wanda", name).solve(&weight, &inputs, &pattern));
            let best = damped(&exact_rows(&weight, exact.mask.as_slice(), &inputs, 0.01));
            prop_assert!(damped(&exact.weight) <= best * (1.0 + 1e-4) + 1e-6);
            prop_assert!(damped(&joint.weight) <= best * 1.001 + 1e-6);
            prop_assert!(damped(&joint.weight) <= damped(&sweep.weight) * 1.001 + 1e-6);
            prop_assert!(damped(&sweep.weight) >= best * (1.0 - 1e-4) - 1e-6 && damped(&none.weight) >= best * (1.0 - 1e-4) - 1e-6);
        }
    }

    #[test]
    fn refinement_lowers_the_error_and_keeps_the_pattern((weight, inputs) in layer(), sparsity in 0.1..0.9f64, budget in 1usize..20) {
        let (columns, inputs) = (weight.width(), statistics(&inputs));
        let error = OutputError::new(&weight, inputs.gram.as_ref().expect("Gram"));
        for pattern in [Pattern::unstructured(sparsity, Scope::Row).expect("valid"), groups("2:4"), groups("1:4")] {
            for criterion in ["wanda", "magnitude", "random"] {
                let plain = method(criterion, "none");
                let refined = Trial { settings: SolverSettings { swaps: budget, ..plain.settings }, ..plain };
                let [plain, refined] = [plain, refined].map(|method| method.solve(&weight, &inputs, &pattern));
                prop_assert_eq!(pattern.violation(refined.weight.host(), columns), None);
                prop_assert_eq!(plain.mask.pruned(), refined.mask.pruned());
                let [before, after] = [&plain, &refined].map(|solution| error.relative(&solution.weight));
                let swaps = refined.facts.swaps.expect("refined");
                prop_assert!(swaps <= budget * weight.len() / columns);
                prop_assert!(after <= before * (1.0 + 1e-4) + 1e-6, "{criterion}: {after} after {before} with {swaps} swaps");
                prop_assert_eq!(swaps == 0, plain.mask == refined.mask);
            }
        }
    }
}

#[test]
fn refinement_finds_what_a_single_swap_can_gain() {
    // two inputs that say the same: keeping one of them is enough, which no score of single weights sees
    let weight = matrix(4, vec![1.0, -1.0, 0.9, 0.2]);
    let inputs = (0..50)
        .flat_map(|t| {
            let x = (t * 37 % 19) as f32 - 9.0;
            [x, x, (t * 53 % 23) as f32 - 11.0, 1.0]
        })
        .collect();
    let inputs = statistics(&matrix(4, inputs));
    let plain = method("magnitude", "none");
    let refined = Trial { settings: SolverSettings { swaps: 4, ..plain.settings }, ..plain };
    assert_eq!(plain.solve(&weight, &inputs, &half(Scope::Row)).mask.as_slice(), [1, 1, 0, 0]);
    // without either of the first two the output is as with both
    assert_eq!(refined.solve(&weight, &inputs, &half(Scope::Row)).mask.as_slice(), [0, 0, 1, 1]);
}
