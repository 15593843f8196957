//! Methods of the literature by name: settings of criterion, compensation and order.

use super::Order;

/// A method of the literature.
#[derive(Clone, Copy, Debug)]
pub struct NamedMethod {
    /// Its name on the command line.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// Name of its criterion.
    pub criterion: &'static str,
    /// Name of its compensation.
    pub compensation: &'static str,
    /// When its criterion chooses, if not in the criterion's own way.
    pub order: Option<Order>,
}

/// Every method with a name of its own.
pub const METHODS: &[NamedMethod] = &[
    NamedMethod {
        name: "sparsegpt",
        summary: "criterion sparsegpt, compensation sweep (Frantar & Alistarh 2023)",
        criterion: "sparsegpt",
        compensation: "sweep",
        order: None,
    },
    NamedMethod {
        name: "mrp-ss",
        summary: "obs block by block, compensation sweep (Zhao et al. 2024, mask S, compensation S)",
        criterion: "obs",
        compensation: "sweep",
        order: Some(Order::Blocks),
    },
    NamedMethod {
        name: "mrp-sm",
        summary: "obs block by block, compensation joint after every block (mask S, compensation M)",
        criterion: "obs",
        compensation: "joint",
        order: Some(Order::Blocks),
    },
    NamedMethod {
        name: "mrp-ms",
        summary: "criterion mrp, compensation sweep (mask M, compensation S; N:M only)",
        criterion: "mrp",
        compensation: "sweep",
        order: None,
    },
    NamedMethod {
        name: "mrp-mm",
        summary: "criterion mrp, compensation joint after every block (mask M, compensation M; N:M only)",
        criterion: "mrp",
        compensation: "joint",
        order: None,
    },
];
