//! Names of what layers of experts have, and how the files have it.

use lopper_kernels::ClampedGate;

use crate::checkpoint::part_of;
use crate::model::form::Form;

/// Names of the matrices of experts.
#[derive(Clone, Copy)]
pub struct ExpertNames {
    pub router: &'static str,
    /// What stands before the names of those of all experts.
    pub experts: &'static str,
    pub matrices: Matrices,
}

/// How the files have the matrices of an expert.
#[derive(Clone, Copy)]
pub enum Matrices {
    /// Each by itself, behind the number of the expert.
    Apart { gate: &'static str, up: &'static str, down: &'static str },
    /// Gates and what they gate in one, first the gates, those of all experts stacked: the names of the tensors, and how they hold matrices.
    Stacked { gate_up: &'static str, down: &'static str, form: Form },
    /// The same with biases and as [in, out], gates and what they gate by turns, both within bounds.
    Clamped { gate_up: &'static str, down: &'static str, gate: ClampedGate },
}

impl Matrices {
    /// As most families have them.
    pub const PLAIN: Self = Self::Apart { gate: "gate_proj", up: "up_proj", down: "down_proj" };

    /// The same stacked as transformers 5 has them in memory, and some files.
    pub fn stacked(form: Form) -> Self {
        Self::Stacked { gate_up: "gate_up_proj", down: "down_proj", form }
    }

    pub fn form(self) -> Form {
        match self {
            Self::Apart { .. } => Form::Plain,
            Self::Stacked { form, .. } => form,
            Self::Clamped { .. } => Form::Transposed,
        }
    }
}

impl ExpertNames {
    /// As most families have them.
    pub const PLAIN: Self = Self { router: "mlp.gate", experts: "mlp.experts", matrices: Matrices::PLAIN };

    /// What stands before and after the name of a matrix of an expert.
    pub fn around(&self, expert: usize) -> (String, String) {
        match self.matrices {
            Matrices::Apart { .. } => (format!("{}.{expert}", self.experts), String::new()),
            Matrices::Stacked { .. } | Matrices::Clamped { .. } => (self.experts.into(), part_of("", expert)),
        }
    }
}

/// An expert that every token goes to.
#[derive(Clone, Copy)]
pub struct Shared {
    pub name: &'static str,
    pub matrices: Matrices,
    pub width: usize,
    /// What says how much it counts for a token.
    pub gate: Option<&'static str>,
}

/// Norms of its own that each part of a layer of experts has, all of which read the states: beside those of a feed-forward layer, of which
/// the first is before the expert that every token goes to, and the last is of the sum.
#[derive(Clone, Copy)]
pub struct OwnNorms {
    /// Before the experts that are chosen.
    pub before: &'static str,
    /// Of what those give together.
    pub after: &'static str,
    /// Of what the expert gives that every token goes to.
    pub after_shared: &'static str,
    /// Weight of that before the router, which also divides by the square root of the width.
    pub router: &'static str,
}
