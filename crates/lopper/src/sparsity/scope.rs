//! Among which weights scores are compared.

/// Among which weights an unstructured criterion compares its scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Each output row by itself.
    Row,
    /// The whole matrix.
    Matrix,
}

/// How far a plan compares the scores of an unstructured criterion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Extent {
    /// Within each output row.
    Row,
    /// Within each matrix.
    Matrix,
    /// Over the matrices of a block that share a target.
    Block,
    /// Over all matrices that share a target.
    Model,
}

impl Extent {
    /// Whether matrices compete with each other: then each gets a share of its own.
    pub fn is_wide(self) -> bool {
        matches!(self, Self::Block | Self::Model)
    }

    /// Where scores are compared once it is settled how many weights each matrix loses.
    pub fn scope(self) -> Scope {
        if self == Self::Row { Scope::Row } else { Scope::Matrix }
    }
}

impl From<Scope> for Extent {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Row => Self::Row,
            Scope::Matrix => Self::Matrix,
        }
    }
}
