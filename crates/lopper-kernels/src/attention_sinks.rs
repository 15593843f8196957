//! Gradient of the sinks of attention.
//!
//! A sink takes the share `p[t] = exp(sink − ℓ[t])` of a query's softmax and has no value, so the gradient of its score is `p[t]·(0 − D[t])`
//! with `D = rowsum(dO∘O)`, as that of any other score in [`crate::attention_backward`].

use crate::attention_backward::pull_of;
use crate::attention_shape::AttentionShape;
use crate::dispatch::tier;
use rayon::prelude::*;

/// Gradient of [`crate::attention`] with respect to its sinks, `−Σ_t exp(sink − ℓ[t])·D[t]`, summed in f64; overwrites `d_sinks` `[heads]`.
///
/// `out` and `log_sum_exp` are what the forward pass wrote, `d_out` is `[tokens, heads·head_dim]`.
///
/// # Panics
///
/// If there are no sinks, or the lengths contradict the shape.
pub fn attention_sinks_backward(
    shape: &AttentionShape,
    out: &[f32],
    log_sum_exp: &[f32],
    d_out: &[f32],
    d_sinks: &mut [f32],
) {
    let (heads, d, entries) = (shape.heads, shape.head_dim, shape.tokens() * shape.heads);
    assert!(shape.sinks.len() == heads && d_sinks.len() == heads, "attention_sinks_backward: sinks are not [heads]");
    assert_eq!(log_sum_exp.len(), entries, "attention_sinks_backward: log_sum_exp is not [tokens, heads]");
    let lengths = [out.len(), d_out.len()];
    assert!(lengths == [entries * d; 2], "attention_sinks_backward: out and d_out are not [tokens, heads·head_dim]");
    let tier = tier();
    d_sinks.par_iter_mut().zip(shape.sinks).enumerate().for_each(|(head, (d_sink, sink))| {
        let of_token = |entry: usize| {
            let of = entry * d..(entry + 1) * d;
            let pull = pull_of(tier, &out[of.clone()], &d_out[of]);
            f64::from(sink - log_sum_exp[entry]).exp() * f64::from(pull)
        };
        *d_sink = -(head..entries).step_by(heads).map(of_token).sum::<f64>() as f32;
    });
}
