//! An op forward and backward.

use lopper::autograd::{Gradients, Tape, Value};
use lopper::tensor::Tensor;
use lopper_kernels::Precision;

/// A function of some values on the tape.
pub type Op<'a> = &'a dyn Fn(&mut Tape, &[Value]) -> Value;

/// What an op gives for `inputs`, and what it sends back to each of them for the gradient `upstream` of its output.
pub fn both_ways(inputs: &[Tensor], upstream: &Tensor, op: Op) -> (Tensor, Vec<Tensor>) {
    let mut tape = Tape::new(Precision::F32);
    let values: Vec<Value> = inputs.iter().enumerate().map(|(key, input)| tape.leaf(key, input)).collect();
    let y = op(&mut tape, &values);
    let upstream = upstream.clone().reshape(y.tensor().shape()).expect("as many");
    let mut gradients = Gradients::default();
    tape.backward_from(&y, upstream, &mut gradients).expect("backward");
    let of = (0..inputs.len()).map(|key| gradients.take(key).expect("a gradient")).collect();
    (y.tensor().clone(), of)
}

/// What an op gives where nothing trains.
pub fn forward(inputs: &[Tensor], op: Op) -> Tensor {
    let mut tape = Tape::new(Precision::F32);
    let values: Vec<Value> = inputs.iter().map(Value::from).collect();
    let y = op(&mut tape, &values);
    assert!(!y.is_tracked());
    y.tensor().clone()
}
