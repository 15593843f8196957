//! The tape: values computed so far, and for each tracked one how to send its gradient back.

use std::collections::HashMap;

use candle_core::{Result, Tensor, TensorId, Var, bail};
use lopper_kernels::{Precision, add_assign};

use super::storage::{fill, read, write};

type Backward = Box<dyn FnOnce(Tensor, &mut Sink) -> Result<()>>;

/// A tensor and, if a gradient is wanted for it, its place on the tape.
#[derive(Clone, Debug)]
pub struct Value {
    tensor: Tensor,
    node: Option<usize>,
}

impl Value {
    /// The number behind the name.
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
    leaves: HashMap<TensorId, usize>,
    /// What stands in for a tensor.
    bound: HashMap<TensorId, Value>,
    precision: Precision,
    fused: bool,
}

impl Tape {
    /// A tape on which the `trained` tensors are leaves; linear layers multiply in `precision`.
    pub fn new<'a>(precision: Precision, trained: impl IntoIterator<Item = &'a Tensor>) -> Self {
        let mut tape =
            Self { nodes: Vec::new(), leaves: HashMap::new(), bound: HashMap::new(), precision, fused: true };
        for tensor in trained {
            tape.leaf(tensor);
        }
        tape
    }

    /// A tape that records nothing.
    pub fn inference(precision: Precision) -> Self {
        Self::new(precision, [])
    }

    /// The same, but every op runs as a composition of candle's ops: the reference, and the way on devices without kernels.
    #[must_use]
    pub fn composed(mut self) -> Self {
        self.fused = false;
        self
    }

    /// How linear layers multiply.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Whether `x` is where the fused kernels can reach it.
    pub(super) fn is_fused(&self, x: &Value) -> bool {
        self.fused && x.tensor.device().is_cpu()
    }

    /// A tensor as a value: what it is bound to; else tracked if it is one of the trained ones; else a constant.
    pub fn value(&self, tensor: &Tensor) -> Value {
        if let Some(value) = self.bound.get(&tensor.id()) {
            return value.clone();
        }
        Value { tensor: tensor.clone(), node: self.leaves.get(&tensor.id()).copied() }
    }

    /// Makes a tensor a leaf: a gradient for it is collected.
    pub fn leaf(&mut self, tensor: &Tensor) -> Value {
        let node = *self.leaves.entry(tensor.id()).or_insert_with(|| {
            self.nodes.push(None);
            self.nodes.len() - 1
        });
        Value { tensor: tensor.clone(), node: Some(node) }
    }

    /// From now on whoever asks for `tensor` gets `value`: an adapted weight in place of the weight.
    pub fn bind(&mut self, tensor: &Tensor, value: Value) {
        self.bound.insert(tensor.id(), value);
    }

    /// Puts the result of an op on the tape. `backward` receives the gradient of `tensor`, which it owns alone.
    /// When no input is tracked nothing is recorded.
    pub(super) fn push(
        &mut self,
        tensor: Tensor,
        inputs: &[&Value],
        backward: impl FnOnce(Tensor, &mut Sink) -> Result<()> + 'static,
    ) -> Value {
        if !inputs.iter().any(|input| input.is_tracked()) {
            return tensor.into();
        }
        self.nodes.push(Some(Box::new(backward)));
        Value { tensor, node: Some(self.nodes.len() - 1) }
    }

    /// Any function written with candle's own differentiable ops, as one node of this tape.
    ///
    /// # Errors
    /// Those of the ops used.
    pub fn candle<const N: usize>(
        &mut self,
        inputs: [&Value; N],
        f: impl FnOnce([Tensor; N]) -> Result<Tensor>,
    ) -> Result<Value> {
        if !inputs.iter().any(|input| input.is_tracked()) {
            // of variables, candle would keep the graph
            return Ok(f(inputs.map(|input| input.tensor.detach()))?.into());
        }
        let mut variables = Vec::with_capacity(N);
        for input in inputs {
            variables.push(Var::from_tensor(&input.tensor.detach())?);
        }
        let y = f(std::array::from_fn(|i| variables[i].as_tensor().clone()))?;
        let owned = inputs.map(Value::clone);
        Ok(self.push(y.detach(), &inputs, move |dy, sink| {
            let mut gradients = (y * dy)?.sum_all()?.backward()?;
            for (input, variable) in owned.iter().zip(&variables) {
                if let Some(gradient) = gradients.remove(variable) {
                    sink.give(input, gradient)?;
                }
            }
            Ok(())
        }))
    }

    /// Runs backward from the scalar `loss`, adding the gradients of the leaves to `gradients`.
    ///
    /// # Errors
    /// If `loss` depends on no leaf, or an op fails.
    pub fn backward(self, loss: &Value, gradients: &mut Gradients) -> Result<()> {
        let one = loss.tensor.ones_like()?;
        self.backward_from(loss, one, gradients)
    }

    /// The same from a value of any shape, given its gradient: the tape of an earlier part of a computation goes on where that
    /// of a later part ended.
    ///
    /// # Errors
    /// If `y` depends on no leaf, or an op fails.
    pub fn backward_from(self, y: &Value, gradient: Tensor, gradients: &mut Gradients) -> Result<()> {
        let Some(start) = y.node else { bail!("backward from a value that depends on no leaf") };
        let mut sink = Sink((0..self.nodes.len()).map(|_| Slot::Empty).collect());
        for (id, &node) in &self.leaves {
            if let Some(slot) = gradients.0.remove(id) {
                sink.0[node] = slot;
            }
        }
        sink.0[start] = Slot::Filled(gradient);
        for (node, backward) in self.nodes.into_iter().enumerate().rev() {
            let Some(backward) = backward else { continue };
            if let Slot::Filled(gradient) = std::mem::replace(&mut sink.0[node], Slot::Empty) {
                backward(gradient, &mut sink)?;
            }
        }
        for (id, node) in self.leaves {
            gradients.0.insert(id, std::mem::replace(&mut sink.0[node], Slot::Empty));
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

/// Gradients of the leaves. Its buffers are used again after [`Gradients::clear`].
#[derive(Default)]
pub struct Gradients(HashMap<TensorId, Slot>);

impl Gradients {
    /// The gradient of a leaf; `None` if the loss does not depend on it.
    pub fn of(&self, leaf: &Tensor) -> Option<&Tensor> {
        match self.0.get(&leaf.id())? {
            Slot::Filled(gradient) => Some(gradient),
            _ => None,
        }
    }

    /// Takes the gradient of a leaf that will not be asked for again.
    pub fn take(&mut self, leaf: &Tensor) -> Option<Tensor> {
        match self.0.remove(&leaf.id())? {
            Slot::Filled(gradient) => Some(gradient),
            _ => None,
        }
    }

    /// Multiplies every gradient.
    ///
    /// # Errors
    /// If memory is short.
    pub fn scale(&mut self, factor: f32) -> Result<()> {
        for slot in self.0.values_mut() {
            let Slot::Filled(gradient) = slot else { continue };
            if gradient.device().is_cpu() {
                write(gradient, |gradient| gradient.iter_mut().for_each(|g| *g *= factor))?;
            } else {
                *gradient = (&*gradient * f64::from(factor))?;
            }
        }
        Ok(())
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
    /// Gives `to` a gradient of its shape, which the caller owns alone.
    pub fn give(&mut self, to: &Value, gradient: Tensor) -> Result<()> {
        let Some(node) = to.node else { return Ok(()) };
        let slot = &mut self.0[node];
        if let Slot::Filled(sum) = slot {
            if sum.device().is_cpu() && sum.is_contiguous() && gradient.is_contiguous() {
                read([&gradient], |[gradient]| write(sum, |sum| add_assign(sum, gradient)))??;
            } else {
                *slot = Slot::Filled((&*sum + gradient)?);
            }
        } else {
            *slot = Slot::Filled(gradient);
        }
        Ok(())
    }

    /// Lets `f(buffer, accumulate)` overwrite or add to the gradient of `to`, in place. CPU only.
    pub fn with(&mut self, to: &Value, f: impl FnOnce(&mut [f32], bool)) -> Result<()> {
        let Some(node) = to.node else { return Ok(()) };
        let slot = &mut self.0[node];
        match std::mem::replace(slot, Slot::Empty) {
            Slot::Filled(sum) => {
                write(&sum, |sum| f(sum, true))?;
                *slot = Slot::Filled(sum);
            }
            Slot::Stale(buffer) => {
                write(&buffer, |buffer| f(buffer, false))?;
                *slot = Slot::Filled(buffer);
            }
            Slot::Empty => *slot = Slot::Filled(fill(to.tensor.shape(), |buffer| f(buffer, false))?),
        }
        Ok(())
    }
}
