//! Masks and compensations against goldens and exact references, and the properties every method must have.

use crate::golden;
use crate::layer;

use std::sync::Arc;

use golden::{Golden, distance, fixtures};
use layer::{exact_rows, golden_problem, half, layer, matrix, problem, solve, statistics};
use lopper::calibration::{InputStatistics, Needs};
use lopper::method::compensation::COMPENSATIONS;
use lopper::method::criterion::CRITERIA;
use lopper::method::{
    Compensation, Criterion, LayerProblem, Method, OutputError, Selection, SolutionFacts, SolverSettings,
};
use lopper::sparsity::{Mask, Pattern, Scope};
use lopper::tensor::Tensor;
use proptest::prelude::*;

#[test]
fn masks_are_those_of_the_formulas() {
    let ((weight, inputs), golden) = (golden_problem(), Golden::open("pruning/criteria"));
    let two_of_four: Pattern = "2:4".parse().expect("valid");
    for (name, criterion, pattern) in [
        ("wanda.50", "wanda", half(Scope::Row)),
        ("wanda.2of4", "wanda", two_of_four),
        ("magnitude.50", "magnitude", half(Scope::Matrix)),
    ] {
        let solution = solve(&weight, &inputs, &pattern, criterion, "none");
        assert_eq!(solution.mask.as_slice(), golden.bytes(name), "{name}");
    }
    let neurons = Pattern::inputs(16, 32, 1).expect("valid");
    for name in ["wanda", "flap"] {
        let selection = Selection::by_name(name, None).expect("known");
        let scores = selection.scores(&problem(&weight, &inputs, &half(Scope::Row))).expect("a score per weight");
        assert!(distance(scores.host(), &golden.vec(&format!("{name}.scores"))) < 1e-6, "{name}");
        let mask = solve(&weight, &inputs, &neurons, name, "none").mask;
        assert_eq!(&mask.as_slice()[..32], golden.bytes(&format!("{name}.neurons")), "{name}");
    }
}

#[test]
fn joint_is_the_exact_optimum() {
    let ((weight, inputs), golden) = (golden_problem(), Golden::open("pruning/compensation"));
    let facts: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(fixtures().join("pruning/compensation.json")).expect("json"))
            .expect("json");
    let cases = [("wanda.50", "wanda", half(Scope::Row)), ("wanda.2of4", "wanda", "2:4".parse().expect("valid"))];
    for (name, criterion, pattern) in cases {
        let solution = solve(&weight, &inputs, &pattern, criterion, "joint");
        assert!(distance(solution.weight.host(), &golden.vec(&format!("joint.{name}"))) < 1e-3, "{name}");
        let exact = |kind: &str| facts[name][kind]["relative_output_error"].as_f64().expect("number");
        let after = solution.facts.error_compensated.expect("Gram was given");
        assert!((after - exact("joint")).abs() < 1e-3 * exact("joint"), "{name}: {after} against {}", exact("joint"));
        let before = solution.facts.error_pruned.expect("Gram was given");
        assert!((before - exact("masked")).abs() < 1e-4 * exact("masked"), "{name}: {before}");
        let sweep = OutputError::new(&weight, inputs.gram.as_ref().expect("Gram"))
            .relative(&matrix(32, golden.vec(&format!("sweep.{name}"))));
        assert!(after < sweep && sweep < before, "{name}: joint ≤ sweep ≤ none");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn every_method_obeys_the_pattern_and_repair_never_hurts((weight, inputs) in layer(), sparsity in 0.0..1.0f64) {
        let (columns, inputs) = (weight.width(), statistics(&inputs));
        let patterns = [
            Pattern::unstructured(sparsity, Scope::Row).expect("valid"),
            Pattern::unstructured(sparsity, Scope::Matrix).expect("valid"),
            "2:4".parse().expect("valid"),
            "1:4".parse().expect("valid"),
            Pattern::inputs(columns - Pattern::pruned_of(sparsity, columns), columns, 1).expect("valid"),
            Pattern::outputs(weight.len() / columns / 2 + 1, weight.len() / columns).expect("valid"),
        ];
        for pattern in &patterns {
            let selection = |name| Selection::by_name(name, None).expect("its own order");
            for criterion in CRITERIA.iter().filter(|criterion| selection(criterion.name).check(pattern).is_ok()) {
                let plain = solve(&weight, &inputs, pattern, criterion.name, "none");
                let asked = match *pattern {
                    Pattern::Unstructured { scope: Scope::Matrix, .. } => Pattern::pruned_of(sparsity, weight.len()),
                    Pattern::Unstructured { .. } => Pattern::pruned_of(sparsity, columns) * weight.len() / columns,
                    Pattern::NofM { keep, of } | Pattern::Inputs { keep, of, .. } | Pattern::Outputs { keep, of } => weight.len() / of * (of - keep),
                };
                prop_assert_eq!(plain.mask.pruned(), asked);
                for compensation in COMPENSATIONS {
                    let solution = solve(&weight, &inputs, pattern, criterion.name, compensation.name);
                    if selection(criterion.name).is_static() {
                        prop_assert_eq!(&solution.mask, &plain.mask);
                    }
                    prop_assert_eq!(pattern.violation(solution.weight.host(), columns), None);
                    let kept = solution.mask.as_slice();
                    prop_assert!(solution.weight.host().iter().zip(kept).all(|(w, &k)| w.is_finite() && (k == 1 || *w == 0.0)));
                    let gram = inputs.gram.as_ref().expect("Gram");
                    let masked = matrix(columns, weight.host().iter().zip(kept).map(|(w, &kept)| w * f32::from(kept)).collect());
                    let [before, after] = [&masked, &solution.weight].map(|w| OutputError::new(&weight, gram).relative(w));
                    prop_assert!(after <= before + 1e-6, "{} {}: {after} after {before}", criterion.name, compensation.name);
                }
            }
        }
    }

    #[test]
    fn joint_equals_the_exact_solution((weight, inputs) in layer()) {
        let (columns, inputs) = (weight.width(), statistics(&inputs));
        let solution = solve(&weight, &inputs, &half(Scope::Row), "wanda", "joint");
        let gram = inputs.gram.as_ref().expect("Gram");
        let exact = exact_rows(&weight, solution.mask.as_slice(), &inputs, 0.01);
        let damped = |candidate: &Tensor| {
            let difference: Vec<f32> = weight.host().iter().zip(candidate.host()).map(|(w, c)| w - c).collect();
            let penalty = 0.01 * gram.mean_diagonal() * difference.iter().map(|&d| f64::from(d) * f64::from(d)).sum::<f64>();
            let scale: f64 = {
                let g = gram.damped(0.0).into_vec();
                weight.host().chunks(columns).map(|w| (0..columns).map(|i| (0..columns).map(|j| f64::from(w[i] * g[i * columns + j]) * f64::from(w[j])).sum::<f64>()).sum::<f64>()).sum()
            };
            OutputError::new(&weight, gram).relative(candidate) * scale + penalty
        };
        let (got, best) = (damped(&solution.weight), damped(&exact));
        prop_assert!(got <= best * 1.001 + 1e-6, "{got} against the optimum {best}");
    }

    #[test]
    fn zero_sparsity_is_the_identity((weight, inputs) in layer()) {
        let inputs = statistics(&inputs);
        for scope in [Scope::Row, Scope::Matrix] {
            let solution = solve(&weight, &inputs, &Pattern::unstructured(0.0, scope).expect("valid"), "wanda", "joint");
            prop_assert_eq!(&solution.weight, &weight);
        }
    }
}

#[test]
fn dead_inputs_are_pruned_first() {
    let weight = matrix(4, vec![9.0, 1.0, 8.0, 2.0]);
    let inputs = statistics(&matrix(4, vec![0.0, 1.0, 0.0, 1.0, 0.0, 2.0, 0.0, -1.0]));
    for pattern in [half(Scope::Row), "2:4".parse().expect("valid")] {
        let solution = solve(&weight, &inputs, &pattern, "wanda", "joint");
        assert_eq!(solution.mask.as_slice(), [0, 1, 0, 1]);
        assert_eq!(solution.facts.error_compensated, Some(0.0));
    }
}

/// A weight [d_out, 8] of which the inputs are as at random, but for one that is always zero, and the same without that input.
fn with_a_dead_input(dead: usize) -> [(Tensor, InputStatistics); 2] {
    let draw = |i: usize, salt: usize| ((i * i * 7919 + salt) % 1009) as f32 / 504.5 - 1.0;
    let weight: Vec<f32> = (0..5 * 8).map(|i| draw(i, 3)).collect();
    let read: Vec<f32> = (0..40 * 8).map(|i| if i % 8 == dead { 0.0 } else { draw(i, 11) }).collect();
    let without =
        |numbers: &[f32]| numbers.iter().enumerate().filter(|(i, _)| i % 8 != dead).map(|(_, &x)| x).collect();
    [(8, weight.clone(), read.clone()), (7, without(&weight), without(&read))].map(|(columns, weight, read)| {
        let mut inputs = InputStatistics::new(columns, Needs::Gram);
        inputs.add(&read);
        inputs.finish(0.0);
        (matrix(columns, weight), inputs)
    })
}

#[test]
fn without_damping_a_dead_input_stays_and_the_others_are_solved() {
    let (dead, pattern) = (3, half(Scope::Row));
    let [(weight, inputs), (rest, inputs_of_rest)] = with_a_dead_input(dead);
    let settings = SolverSettings { damping: Some(0.0), ..SolverSettings::default() };
    let [whole, rest] = [(&weight, &inputs), (&rest, &inputs_of_rest)]
        .map(|(weight, inputs)| LayerProblem { settings, ..problem(weight, inputs, &pattern) });
    // the dead input is kept by some rows and pruned by others
    let kept: Vec<u8> = (0..5 * 8).map(|i| u8::from((i * 5 + i / 8) % 3 != 0)).collect();
    let kept_of_rest: Vec<u8> = kept.iter().enumerate().filter(|(i, _)| i % 8 != dead).map(|(_, &kept)| kept).collect();
    let column: Vec<u8> = kept.iter().skip(dead).step_by(8).copied().collect();
    assert!(column.contains(&0) && column.contains(&1), "{column:?}");
    let exact = Compensation::by_name("exact").expect("known");
    let want = exact.repair(&rest, &Mask::new(7, kept_of_rest), &mut SolutionFacts::default()).expect("solved");
    for name in ["joint", "exact"] {
        let mut facts = SolutionFacts::default();
        let compensation = Compensation::by_name(name).expect("known");
        let got = compensation.repair(&whole, &Mask::new(8, kept.clone()), &mut facts).expect("solved");
        assert_eq!(facts.warning, None, "{name}");
        let others: Vec<f32> = got.host().iter().enumerate().filter(|(i, _)| i % 8 != dead).map(|(_, &w)| w).collect();
        assert!(distance(&others, want.host()) < 1e-3, "{name}: {}", distance(&others, want.host()));
        for (row, &kept) in column.iter().enumerate() {
            let place = row * 8 + dead;
            let stays = if kept == 1 { weight.host()[place] } else { 0.0 };
            assert_eq!(got.host()[place].to_bits(), stays.to_bits(), "{name}: row {row} moved");
        }
    }
}

#[test]
fn a_factorisation_that_fails_adds_to_what_was_said_before() {
    // four inputs that say the same: the Gram matrix is exactly singular
    let weight = matrix(4, vec![1.0, 2.0, 3.0, 4.0]);
    let mut inputs = InputStatistics::new(4, Needs::Gram);
    inputs.add(&[2.0; 4]);
    inputs.finish(0.0);
    let (pattern, settings) = (half(Scope::Row), SolverSettings { damping: Some(0.0), ..SolverSettings::default() });
    let problem = LayerProblem { settings, ..problem(&weight, &inputs, &pattern) };
    let mut facts = SolutionFacts { warning: Some("said before".into()), ..SolutionFacts::default() };
    let exact = Compensation::by_name("exact").expect("known");
    assert!(exact.repair(&problem, &Mask::new(4, vec![0, 0, 1, 1]), &mut facts).is_none());
    let warning = facts.warning.expect("it failed");
    assert!(warning.contains("said before") && warning.contains("no Cholesky factor"), "{warning}");
}

/// A criterion of one's own: what `give` gives.
struct Own<F>(Needs, F);

impl<F: Fn(&LayerProblem) -> Tensor + Send + Sync> Criterion for Own<F> {
    fn name(&self) -> &'static str {
        "own"
    }

    fn needs(&self) -> Needs {
        self.0
    }

    fn scores(&self, problem: &LayerProblem) -> Tensor {
        (self.1)(problem)
    }
}

fn by(criterion: impl Criterion + 'static, compensation: &str) -> Method {
    let compensation = Compensation::by_name(compensation).expect("known");
    Method { selection: Selection::Scores(Arc::new(criterion)), compensation }
}

#[test]
fn a_criterion_of_ones_own_solves_as_a_named_one() {
    let (weight, inputs) = golden_problem();
    for pattern in [half(Scope::Row), half(Scope::Matrix), "2:4".parse().expect("valid")] {
        for compensation in COMPENSATIONS {
            let magnitude = Own(Needs::Nothing, |problem: &LayerProblem| problem.score(|w, _| w.abs()));
            let own = by(magnitude, compensation.name).solve(&problem(&weight, &inputs, &pattern)).expect("fits");
            let named = solve(&weight, &inputs, &pattern, "magnitude", compensation.name);
            assert_eq!((own.mask, own.weight), (named.mask, named.weight), "{} {pattern}", compensation.name);
        }
    }
}

#[test]
fn a_criterion_is_not_asked_where_nothing_is_known() {
    let (weight, inputs) = golden_problem();
    let (pattern, unseen) = (half(Scope::Row), InputStatistics::unseen(32));
    for needs in [Needs::Gram, Needs::InverseHessian] {
        let own = Own(needs, |problem: &LayerProblem| {
            assert!(problem.inputs.gram.is_some());
            problem.score(|w, _| w.abs())
        });
        let method = by(own, "none");
        let known = method.solve(&problem(&weight, &inputs, &pattern)).expect("fits");
        assert_eq!(known.facts.warning, None);
        let unknown = method.solve(&problem(&weight, &unseen, &pattern)).expect("fits");
        let warning = unknown.facts.warning.expect("nothing is known");
        assert!(warning.contains("no calibration data") && warning.contains("instead"), "{warning}");
        assert_eq!(pattern.violation(unknown.weight.host(), 32), None);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (weight, inputs) = golden_problem();
    let narrow = InputStatistics::unseen(16);
    let (row, of_five) = (half(Scope::Row), "2:5".parse().expect("valid"));
    let whole = || by(Own(Needs::Nothing, |problem: &LayerProblem| problem.score(|w, _| w)), "none");
    let short = by(Own(Needs::Nothing, |_: &LayerProblem| Tensor::zeros([1, 32])), "none");
    let mrp = Method::by_name("mrp", "none", None).expect("known");
    let (vector, empty) = (Tensor::zeros([32]), Tensor::zeros([0, 32]));
    for (method, weight, inputs, pattern, expected) in [
        (whole(), &weight, &narrow, &row, "16 inputs"),
        (whole(), &weight, &inputs, &of_five, "2:5"),
        (whole(), &vector, &inputs, &row, "no matrix"),
        (whole(), &empty, &inputs, &row, "[0, 32]"),
        (short, &weight, &inputs, &row, "[1, 32]"),
        (mrp, &weight, &inputs, &row, "N:M"),
    ] {
        let error = method.solve(&problem(weight, inputs, pattern)).err().expect("refused").to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn the_cost_of_a_compensation_is_its_products_with_the_gram_matrix() {
    let settings = SolverSettings { iterations: 20, ..SolverSettings::default() };
    let costs = ["joint", "exact", "sweep", "none"]
        .map(|name| Compensation::by_name(name).expect("known").cost([10, 48], &settings, false));
    let products = [21.0, 1.0, 0.5, 0.0];
    for (cost, products) in costs.iter().zip(products) {
        assert!((cost - products * 2.0 * 10.0 * 48.0 * 48.0).abs() < 1e-9, "{costs:?}");
    }
}

/// Rows [tokens, d_in] of correlated inputs: a few directions that all inputs share, and noise.
fn correlated(tokens: usize, columns: usize, seed: usize) -> Vec<f32> {
    let draw = |i: usize, seed: usize| (((i + 1) * 7919 + seed * 104_729) * 48_271 % 65_537) as f32 / 32_768.5 - 1.0;
    let direction = |d: usize, j: usize| draw(d * columns + j, 3);
    let token = |t: usize| {
        let strength: [f32; 4] = std::array::from_fn(|d| draw(t * 4 + d, seed));
        (0..columns).map(move |j| {
            let shared: f32 = strength.iter().enumerate().map(|(d, strength)| strength * direction(d, j)).sum();
            shared + 0.5 * draw(t * columns + j, seed + 1)
        })
    };
    (0..tokens).flat_map(token).collect()
}

/// A weight [8, 32] and statistics of so many tokens, with others held out.
fn with_held_out(tokens: usize) -> (Tensor, InputStatistics) {
    let mut inputs = InputStatistics::new(32, Needs::Gram);
    inputs.add(&correlated(tokens, 32, 11));
    inputs.hold_out(&correlated(500, 32, 23));
    inputs.finish(0.0);
    (matrix(32, correlated(8, 32, 51)), inputs)
}

#[test]
fn damping_is_what_serves_held_out_inputs_best() {
    let mut found = Vec::new();
    for tokens in [12, 40, 4000] {
        let ((weight, inputs), pattern) = (with_held_out(tokens), half(Scope::Row));
        let solution = solve(&weight, &inputs, &pattern, "wanda", "joint");
        let held_out = OutputError::new(&weight, inputs.held_out.as_ref().expect("held out"));
        let [pruned, compensated] =
            [solution.facts.held_out_pruned, solution.facts.held_out_compensated].map(|error| error.expect("judged"));
        assert!(
            (held_out.relative(&solution.weight) - compensated).abs() < 1e-12,
            "what was kept is what was measured"
        );
        assert!((held_out.relative(&solution.mask.apply(weight.clone())) - pruned).abs() < 1e-12);
        let exact = [10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003]
            .map(|share| held_out.relative(&exact_rows(&weight, solution.mask.as_slice(), &inputs, share)));
        let best = exact.iter().copied().fold(f64::INFINITY, f64::min);
        assert!(compensated < 1.02 * best, "{tokens} tokens: {compensated} where the exact path has {exact:?}");
        assert!(compensated < pruned, "{tokens} tokens: {compensated}, masked {pruned}");
        let gram = inputs.gram.as_ref().expect("Gram");
        found.push(solution.facts.damping.expect("found") / (2.0 * gram.mean_diagonal()));
        // the papers' share fits twelve tokens
        assert!(tokens > 12 || compensated < 0.9 * exact[6], "{compensated} against {}", exact[6]);
    }
    assert!(found[0] >= found[1] && found[1] > found[2], "less text, more damping: {found:?}");
}

#[test]
fn where_no_compensation_serves_held_out_inputs_the_mask_is_left_alone() {
    let (weight, mut inputs) = with_held_out(40);
    inputs.held_out = None;
    // each of these has one input alone: nothing can stand in for it
    (0..32).for_each(|j| inputs.hold_out(&std::array::from_fn::<f32, 32, _>(|i| f32::from(u8::from(i == j)))));
    inputs.finish(0.0);
    let pattern = half(Scope::Row);
    let solution = solve(&weight, &inputs, &pattern, "wanda", "joint");
    assert!(solution.weight == solution.mask.apply(weight.clone()));
    assert_eq!((solution.facts.held_out_compensated, solution.facts.damping), (solution.facts.held_out_pruned, None));
    // what is asked for is done all the same
    let settings = SolverSettings { damping: Some(0.01), ..SolverSettings::default() };
    let problem = LayerProblem { settings, ..problem(&weight, &inputs, &pattern) };
    let asked = Method::by_name("wanda", "joint", None).expect("known").solve(&problem).expect("its parts fit");
    assert!(asked.weight != solution.weight && asked.facts.held_out_pruned.is_none());
}
