//! A norm as a family describes it.

use super::block_spec::{BlockSpec, Kind, TensorSpec};
use super::form::Form;
use super::program::{NormKind, Operation};

/// A norm.
#[derive(Clone, Copy, Debug)]
pub struct Norm {
    pub kind: NormKind,
    pub epsilon: f32,
    /// Whether it has a weight.
    pub weight: bool,
    /// Whether it has a bias.
    pub bias: bool,
    /// How the file holds the weight.
    pub form: Form,
}

impl Norm {
    /// Root-mean-square, with a weight.
    pub fn rms(epsilon: f32) -> Self {
        Self { kind: NormKind::Rms, epsilon, weight: true, bias: false, form: Form::Plain }
    }

    /// Mean and deviation, with weight and bias.
    pub fn layer(epsilon: f32) -> Self {
        Self { kind: NormKind::Layer, epsilon, weight: true, bias: true, form: Form::Plain }
    }
}

/// Adds the tensors of a norm, unless another branch has added them; returns the operation and their places.
pub(super) fn add_norm(spec: &mut BlockSpec, norm: Norm, name: &str, width: usize) -> (Operation, Vec<usize>) {
    let mut add = |part: &str, form| {
        let name = format!("{name}.{part}");
        spec.tensors.iter().position(|tensor| tensor.name == name).unwrap_or_else(|| {
            spec.tensors.push(TensorSpec { name, shape: vec![width], kind: Kind::Norm, form, rows: None });
            spec.tensors.len() - 1
        })
    };
    let Norm { kind, epsilon, .. } = norm;
    let weight = norm.weight.then(|| add("weight", norm.form));
    let bias = norm.bias.then(|| add("bias", Form::Plain));
    let tensors = weight.into_iter().chain(bias).collect();
    (Operation::Norm { kind, weight, bias, width, epsilon }, tensors)
}
