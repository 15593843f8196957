//! The divergence of a student's predictions from a teacher's (Hinton et al. 2015, arXiv 1503.02531):
//! `T²·Σ p·(log p − log q)` with `p = softmax(t/T)`, `q = softmax(z/T)`, and its gradient in z, `T·(q − p)`.

use crate::dispatch::{Tier, simd, tier};
use crate::math::{exp, larger, sum};
use rayon::prelude::*;

/// Elements summed in f32 before the sum goes on in f64.
const RUN: usize = 512;

simd! {
    fn sum_of_exponentials(row: &[f32], shift: f32, factor: f32) -> f64 {
        let mut total = 0.0;
        for run in row.chunks(RUN) {
            let mut sums = [0f32; 16];
            let chunks = run.chunks_exact(16);
            for x in chunks.remainder() {
                sums[0] += exp::<FUSED>((x - shift) * factor);
            }
            for chunk in chunks {
                for (lane, x) in sums.iter_mut().zip(chunk) {
                    *lane += exp::<FUSED>((x - shift) * factor);
                }
            }
            total += f64::from(sum(sums));
        }
        total
    }
    fn weighted_difference(student: &[f32], teacher: &[f32], logs: [f32; 2], factor: f32) -> f64 {
        let [of_student, of_teacher] = logs;
        let mut total = 0.0;
        for (student, teacher) in student.chunks(RUN).zip(teacher.chunks(RUN)) {
            let mut sums = [0f32; 16];
            for (student, teacher) in student.chunks(16).zip(teacher.chunks(16)) {
                for ((lane, z), t) in sums.iter_mut().zip(student).zip(teacher) {
                    let (log_q, log_p) = (z * factor - of_student, t * factor - of_teacher);
                    *lane += exp::<FUSED>(log_p) * (log_p - log_q);
                }
            }
            total += f64::from(sum(sums));
        }
        total
    }
    fn difference(student: &mut [f32], teacher: &[f32], logs: [f32; 2], factor: f32, scale: f32) {
        let [of_student, of_teacher] = logs;
        for (z, t) in student.iter_mut().zip(teacher) {
            *z = scale * (exp::<FUSED>(*z * factor - of_student) - exp::<FUSED>(t * factor - of_teacher));
        }
    }
}

/// log Σ exp(x/T).
fn log_sum(tier: Tier, row: &[f32], factor: f32) -> f32 {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, |largest, x| larger(x, largest));
    (sum_of_exponentials(tier, row, largest, factor).ln() + f64::from(largest) * f64::from(factor)) as f32
}

/// `divergence[r]` of the rows of `student` and `teacher`, both `[rows, classes]`, at this temperature.
///
/// # Panics
///
/// If the lengths contradict each other.
pub fn distillation(student: &[f32], teacher: &[f32], classes: usize, temperature: f32, divergence: &mut [f32]) {
    assert_eq!(student.len(), teacher.len(), "distillation: the slices differ in length");
    assert_eq!(student.len(), classes * divergence.len(), "distillation: logits are not [rows, classes]");
    let (tier, factor) = (tier(), temperature.recip());
    let rows = student.par_chunks(classes.max(1)).zip(teacher.par_chunks(classes.max(1)));
    divergence.par_iter_mut().zip(rows).for_each(|(divergence, (student, teacher))| {
        let logs = [student, teacher].map(|row| log_sum(tier, row, factor));
        let square = f64::from(temperature) * f64::from(temperature);
        *divergence = (square * weighted_difference(tier, student, teacher, logs, factor)) as f32;
    });
}

/// Replaces `student` by the gradient of `scale` times its divergences.
///
/// # Panics
///
/// As [`distillation`].
pub fn distillation_backward(student: &mut [f32], teacher: &[f32], classes: usize, temperature: f32, scale: f32) {
    assert_eq!(student.len(), teacher.len(), "distillation_backward: the slices differ in length");
    let (tier, factor) = (tier(), temperature.recip());
    let rows = student.par_chunks_mut(classes.max(1)).zip(teacher.par_chunks(classes.max(1)));
    rows.for_each(|(student, teacher)| {
        let logs = [&*student, teacher].map(|row| log_sum(tier, row, factor));
        difference(tier, student, teacher, logs, factor, scale * temperature);
    });
}
