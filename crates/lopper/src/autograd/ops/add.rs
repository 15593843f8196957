//! `a + b`, of one shape.

use lopper_kernels::add_assign;

use crate::autograd::op::{Inputs, Op};
use crate::autograd::tape::{Tape, Value};
use crate::error::Result;
use crate::tensor::{Tensor, misfit};

struct Add;

impl Op<2> for Add {
    type Saved = ();

    fn forward(&self, [a, b]: [&Tensor; 2]) -> Result<(Tensor, ())> {
        if a.shape() != b.shape() {
            return Err(misfit(format!("{:?} + {:?}", a.shape(), b.shape())));
        }
        let mut y = a.clone();
        add_assign(y.host_mut(), b.host());
        Ok((y, ()))
    }

    fn backward(self, (): (), dy: Tensor, inputs: &mut Inputs) {
        inputs.with(
            0,
            |da, accumulate| if accumulate { add_assign(da, dy.host()) } else { da.copy_from_slice(dy.host()) },
        );
        inputs.give(1, dy);
    }
}

impl Tape {
    /// `a + b`.
    ///
    /// # Errors
    /// If their shapes differ.
    pub fn add(&mut self, a: &Value, b: &Value) -> Result<Value> {
        self.apply(Add, [a, b])
    }
}
