//! The divergence of a student against its definition in f64, on every tier, for any number of threads.

use lopper_kernels::dispatch::{Tier, with_tier};
use lopper_kernels::{distillation, distillation_backward};

const ROWS: usize = 5;
const CLASSES: usize = 1037;
const TEMPERATURE: f32 = 2.0;

fn logits(seed: usize) -> Vec<f32> {
    (0..ROWS * CLASSES).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 100.0 - 10.0).collect()
}

fn softmax(row: &[f32]) -> Vec<f64> {
    let powers: Vec<f64> = row.iter().map(|&x| (f64::from(x) / f64::from(TEMPERATURE)).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// Divergences, and the gradient of three times their sum.
fn found() -> (Vec<f32>, Vec<f32>) {
    let (mut student, teacher, mut divergence) = (logits(1), logits(2), vec![0.0; ROWS]);
    distillation(&student, &teacher, CLASSES, TEMPERATURE, &mut divergence);
    distillation_backward(&mut student, &teacher, CLASSES, TEMPERATURE, 3.0);
    (divergence, student)
}

#[test]
fn is_its_definition_on_every_tier() {
    let (student, teacher) = (logits(1), logits(2));
    for tier in Tier::available() {
        let (divergence, gradient) = with_tier(tier, found);
        for (row, &divergence) in divergence.iter().enumerate() {
            let range = row * CLASSES..(row + 1) * CLASSES;
            let (q, p) = (softmax(&student[range.clone()]), softmax(&teacher[range.clone()]));
            let want = 4.0 * p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum::<f64>();
            assert!((f64::from(divergence) - want).abs() < 1e-5 * want, "{tier:?}: {divergence} for {want}");
            for ((g, q), p) in gradient[range].iter().zip(&q).zip(&p) {
                let want = 3.0 * f64::from(TEMPERATURE) * (q - p);
                assert!((f64::from(*g) - want).abs() < 1e-7, "{tier:?}: {g} for {want}");
            }
        }
    }
}

#[test]
fn gives_the_same_bits_for_any_number_of_threads() {
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let (divergence, gradient) = pool.install(found);
        divergence.into_iter().chain(gradient).map(f32::to_bits).collect::<Vec<_>>()
    };
    assert_eq!(run(1), run(3));
}
