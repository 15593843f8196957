//! Masks and compensations against goldens and exact references, and the properties every method must have.

mod golden;
mod layer;

use golden::{Golden, distance, fixtures};
use layer::{exact_rows, golden_problem, half, layer, problem, solve, statistics};
use lopper::method::OutputError;
use lopper::method::compensation::COMPENSATIONS;
use lopper::method::criterion::{CRITERIA, Criterion};
use lopper::sparsity::{Pattern, Scope};
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
    let criterion = Criterion::by_name("wanda").expect("known");
    let pattern = half(Scope::Row);
    let problem = problem(&weight, &inputs, &pattern);
    assert!(distance(&criterion.scores(&problem).expect("a score per weight"), &golden.vec("wanda.scores")) < 1e-6);
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
        assert!(distance(&solution.weight, &golden.vec(&format!("joint.{name}"))) < 1e-3, "{name}");
        let exact = |kind: &str| facts[name][kind]["relative_output_error"].as_f64().expect("number");
        let after = solution.facts.error_compensated.expect("Gram was given");
        assert!((after - exact("joint")).abs() < 1e-3 * exact("joint"), "{name}: {after} against {}", exact("joint"));
        let before = solution.facts.error_pruned.expect("Gram was given");
        assert!((before - exact("masked")).abs() < 1e-4 * exact("masked"), "{name}: {before}");
        let sweep = OutputError::new(&weight, inputs.gram.as_ref().expect("Gram"))
            .relative(&golden.vec(&format!("sweep.{name}")));
        assert!(after < sweep && sweep < before, "{name}: joint ≤ sweep ≤ none");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn every_method_obeys_the_pattern_and_repair_never_hurts((weight, inputs, columns) in layer(), sparsity in 0.0..1.0f64) {
        let inputs = statistics(&inputs, columns);
        let patterns = [
            Pattern::unstructured(sparsity, Scope::Row).expect("valid"),
            Pattern::unstructured(sparsity, Scope::Matrix).expect("valid"),
            "2:4".parse().expect("valid"),
            "1:4".parse().expect("valid"),
        ];
        for pattern in &patterns {
            for criterion in CRITERIA.iter().filter(|criterion| criterion.check(pattern, None).is_ok()) {
                let plain = solve(&weight, &inputs, pattern, criterion.name, "none");
                let asked = match *pattern {
                    Pattern::Unstructured { scope: Scope::Matrix, .. } => Pattern::pruned_of(sparsity, weight.len()),
                    Pattern::Unstructured { .. } => Pattern::pruned_of(sparsity, columns) * weight.len() / columns,
                    Pattern::NofM { keep, of } => weight.len() / of * (of - keep),
                };
                prop_assert_eq!(plain.mask.pruned(), asked);
                for compensation in COMPENSATIONS {
                    let solution = solve(&weight, &inputs, pattern, criterion.name, compensation.name);
                    if criterion.is_static() {
                        prop_assert_eq!(&solution.mask, &plain.mask);
                    }
                    prop_assert_eq!(pattern.violation(&solution.weight, columns), None);
                    let kept = solution.mask.as_slice();
                    prop_assert!(solution.weight.iter().zip(kept).all(|(w, &k)| w.is_finite() && (k == 1 || *w == 0.0)));
                    let gram = inputs.gram.as_ref().expect("Gram");
                    let masked: Vec<f32> = weight.iter().zip(kept).map(|(w, &kept)| w * f32::from(kept)).collect();
                    let [before, after] = [&masked, &solution.weight].map(|w| OutputError::new(&weight, gram).relative(w));
                    prop_assert!(after <= before + 1e-6, "{} {}: {after} after {before}", criterion.name, compensation.name);
                }
            }
        }
    }

    #[test]
    fn joint_equals_the_exact_solution((weight, inputs, columns) in layer()) {
        let inputs = statistics(&inputs, columns);
        let solution = solve(&weight, &inputs, &half(Scope::Row), "wanda", "joint");
        let gram = inputs.gram.as_ref().expect("Gram");
        let exact = exact_rows(&weight, solution.mask.as_slice(), &inputs);
        let damped = |candidate: &[f32]| {
            let difference: Vec<f32> = weight.iter().zip(candidate).map(|(w, c)| w - c).collect();
            let penalty = 0.01 * gram.mean_diagonal() * difference.iter().map(|&d| f64::from(d) * f64::from(d)).sum::<f64>();
            let scale: f64 = {
                let g = gram.damped(0.0);
                weight.chunks(columns).map(|w| (0..columns).map(|i| (0..columns).map(|j| f64::from(w[i] * g[i * columns + j]) * f64::from(w[j])).sum::<f64>()).sum::<f64>()).sum()
            };
            OutputError::new(&weight, gram).relative(candidate) * scale + penalty
        };
        let (got, best) = (damped(&solution.weight), damped(&exact));
        prop_assert!(got <= best * 1.001 + 1e-6, "{got} against the optimum {best}");
    }

    #[test]
    fn zero_sparsity_is_the_identity((weight, inputs, columns) in layer()) {
        let inputs = statistics(&inputs, columns);
        for scope in [Scope::Row, Scope::Matrix] {
            let solution = solve(&weight, &inputs, &Pattern::unstructured(0.0, scope).expect("valid"), "wanda", "joint");
            prop_assert_eq!(&solution.weight, &weight);
        }
    }
}

#[test]
fn dead_inputs_are_pruned_first() {
    let (weight, columns) = ([9.0, 1.0, 8.0, 2.0], 4);
    let inputs = statistics(&[0.0, 1.0, 0.0, 1.0, 0.0, 2.0, 0.0, -1.0], columns);
    for pattern in [half(Scope::Row), "2:4".parse().expect("valid")] {
        let solution = solve(&weight, &inputs, &pattern, "wanda", "joint");
        assert_eq!(solution.mask.as_slice(), [0, 1, 0, 1]);
        assert_eq!(solution.facts.error_compensated, Some(0.0));
    }
}
