//! The tape: values computed so far, and for each tracked one how to send its gradient back.

use std::collections::BTreeMap;

use lopper_kernels::{Precision, add_assign};

use super::op::{Inputs, Op};
use crate::error::Result;
use crate::tensor::{Tensor, misfit};

type Backward = Box<dyn FnOnce(Tensor, &mut Sink)>;

/// A tensor and, if a gradient is wanted for it, its place on the tape.
#[derive(Clone, Debug)]
pub struct Value {
    tensor: Tensor,
    node: Option<usize>,
}

impl Value {
    /// The numbers.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Whether a gradient will be asked for.
    pub fn is_tracked(&self) -> bool {
        self.node.is_some()
    }
}

impl From<Tensor> for Value {
    /// A constant.
    fn from(tensor: Tensor) -> Self {
        Self { tensor, node: None }
    }
}

impl From<&Tensor> for Value {
    /// A constant.
    fn from(tensor: &Tensor) -> Self {
        tensor.clone().into()
    }
}

/// Records a forward pass so that it can be run backward once.
pub struct Tape {
    /// `None` for a leaf.
    nodes: Vec<Option<Backward>>,
    /// Key and node of every leaf.
    leaves: Vec<(usize, usize)>,
    precision: Precision,
}

impl Tape {
    /// An empty tape; linear layers multiply in `precision`. Without leaves it records nothing.
    pub fn new(precision: Precision) -> Self {
        Self { nodes: Vec::new(), leaves: Vec::new(), precision }
    }

    /// How linear layers multiply.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// A tensor whose gradient is collected under `key`.
    pub fn leaf(&mut self, key: usize, tensor: &Tensor) -> Value {
        self.nodes.push(None);
        let node = self.nodes.len() - 1;
        self.leaves.push((key, node));
        Value { tensor: tensor.clone(), node: Some(node) }
    }

    /// Computes an op, and puts it on the tape if any input is tracked.
    pub(super) fn apply<const N: usize, O: Op<N>>(&mut self, op: O, inputs: [&Value; N]) -> Result<Value> {
        let (tensor, saved) = op.forward(inputs.map(Value::tensor))?;
        Ok(self.record(tensor, &inputs, |gradient, inputs| op.backward(saved, gradient, inputs)))
    }

    /// A value computed from `inputs`, with its way back if any of them is tracked.
    pub(super) fn record(
        &mut self,
        tensor: Tensor,
        inputs: &[&Value],
        backward: impl FnOnce(Tensor, &mut Inputs) + 'static,
    ) -> Value {
        if !inputs.iter().any(|input| input.is_tracked()) {
            return tensor.into();
        }
        let of = inputs.iter().map(|input| (input.node, input.tensor.shape().to_vec())).collect();
        self.nodes.push(Some(Box::new(move |gradient, sink| backward(gradient, &mut Inputs { sink, of }))));
        Value { tensor, node: Some(self.nodes.len() - 1) }
    }

    /// Runs backward from the scalar `loss`, adding the gradients of the leaves to `gradients`.
    ///
    /// # Errors
    /// If `loss` depends on no leaf.
    pub fn backward(self, loss: &Value, gradients: &mut Gradients) -> Result<()> {
        self.backward_from(loss, Tensor::scalar(1.0), gradients)
    }

    /// The same from a value of any shape, given its gradient: the tape of an earlier part of a computation goes on where that
    /// of a later part ended.
    ///
    /// # Errors
    /// If `y` depends on no leaf.
    pub fn backward_from(self, y: &Value, gradient: Tensor, gradients: &mut Gradients) -> Result<()> {
        let start = y.node.ok_or_else(|| misfit("backward from a value that depends on no leaf".into()))?;
        let mut sink = Sink((0..self.nodes.len()).map(|_| Slot::Empty).collect());
        for (key, node) in &self.leaves {
            if let Some(slot) = gradients.0.remove(key) {
                sink.0[*node] = slot;
            }
        }
        sink.0[start] = Slot::Filled(gradient);
        for (node, backward) in self.nodes.into_iter().enumerate().rev() {
            let Some(backward) = backward else { continue };
            if let Slot::Filled(gradient) = std::mem::replace(&mut sink.0[node], Slot::Empty) {
                backward(gradient, &mut sink);
            }
        }
        for (key, node) in self.leaves {
            gradients.0.insert(key, std::mem::replace(&mut sink.0[node], Slot::Empty));
        }
        Ok(())
    }
}

enum Slot {
    Empty,
    /// A buffer whose content may be overwritten.
    Stale(Tensor),
    Filled(Tensor),
}

/// Gradients of leaves by their keys. Its buffers are used again after [`Gradients::clear`].
#[derive(Default)]
pub struct Gradients(BTreeMap<usize, Slot>);

impl Gradients {
    /// The gradient of a leaf; `None` if the loss does not depend on it.
    pub fn of(&self, key: usize) -> Option<&Tensor> {
        match self.0.get(&key)? {
            Slot::Filled(gradient) => Some(gradient),
            Slot::Empty | Slot::Stale(_) => None,
        }
    }

    /// Takes the gradient of a leaf that will not be asked for again.
    pub fn take(&mut self, key: usize) -> Option<Tensor> {
        match self.0.remove(&key)? {
            Slot::Filled(gradient) => Some(gradient),
            Slot::Empty | Slot::Stale(_) => None,
        }
    }

    /// Multiplies every gradient.
    pub fn scale(&mut self, factor: f32) {
        for slot in self.0.values_mut() {
            if let Slot::Filled(gradient) = slot {
                gradient.host_mut().iter_mut().for_each(|g| *g *= factor);
            }
        }
    }

    /// Forgets the values and keeps the buffers.
    pub fn clear(&mut self) {
        for slot in self.0.values_mut() {
            if let Slot::Filled(buffer) = std::mem::replace(slot, Slot::Empty) {
                *slot = Slot::Stale(buffer);
            }
        }
    }
}

/// Where gradients arrive while the tape runs backward, one slot per node.
pub(super) struct Sink(Vec<Slot>);

impl Sink {
    /// Gives a node a gradient of its shape, which the caller owns alone.
    pub fn give(&mut self, node: usize, gradient: Tensor) {
        match &mut self.0[node] {
            Slot::Filled(sum) => add_assign(sum.host_mut(), gradient.host()),
            slot => *slot = Slot::Filled(gradient),
        }
    }

    /// Lets `f(buffer, accumulate)` overwrite the gradient of a node of this shape, or add to it, in place.
    pub fn with(&mut self, node: usize, shape: &[usize], f: impl FnOnce(&mut [f32], bool)) {
        let slot = &mut self.0[node];
        let (mut buffer, accumulate) = match std::mem::replace(slot, Slot::Empty) {
            Slot::Filled(sum) => (sum, true),
            Slot::Stale(buffer) => (buffer, false),
            Slot::Empty => (Tensor::zeros(shape), false),
        };
        f(buffer.host_mut(), accumulate);
        *slot = Slot::Filled(buffer);
    }
}
