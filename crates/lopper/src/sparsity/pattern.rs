//! How many weights are kept, and among which.

use std::fmt;
use std::str::FromStr;

use super::Scope;
use crate::error::{Error, Result};

/// Which weights of a matrix may be non-zero. A value of this type is valid.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "Unchecked")]
pub enum Pattern {
    /// `⌊sparsity · n⌋` of the n weights of each scope are pruned.
    Unstructured {
        /// Share of pruned weights, in [0, 1]; a plan asks for less than 1.
        sparsity: f64,
        /// Where scores are compared.
        scope: Scope,
    },
    /// `keep` of each `of` consecutive inputs are kept.
    NofM {
        /// N, at least 1 and less than M.
        keep: usize,
        /// M, at most 32.
        of: usize,
    },
    /// Of the inputs `keep` are kept, whole: a matrix that reads units some of which disappear.
    Inputs {
        /// How many are kept, at least 1.
        keep: usize,
        /// d_in.
        of: usize,
        /// So many in a row stay or go together: 1 of neurons.
        unit: usize,
    },
    /// Of the outputs `keep` are kept, whole: a matrix that writes them. Which ones is decided where they are read.
    Outputs {
        /// How many are kept, at least 1.
        keep: usize,
        /// d_out.
        of: usize,
    },
}

/// A [`Pattern`] as it is read.
#[derive(serde::Deserialize)]
#[serde(rename = "Pattern")]
enum Unchecked {
    Unstructured { sparsity: f64, scope: Scope },
    NofM { keep: usize, of: usize },
    Inputs { keep: usize, of: usize, unit: usize },
    Outputs { keep: usize, of: usize },
}

impl TryFrom<Unchecked> for Pattern {
    type Error = Error;

    fn try_from(pattern: Unchecked) -> Result<Self> {
        match pattern {
            // all weights of a matrix may go where several share a target
            Unchecked::Unstructured { sparsity, scope } if (0.0..=1.0).contains(&sparsity) => {
                Ok(Self::Unstructured { sparsity, scope })
            }
            Unchecked::Unstructured { sparsity, scope } => Self::unstructured(sparsity, scope),
            Unchecked::NofM { keep, of } => Self::n_of_m(keep, of),
            Unchecked::Inputs { keep, of, unit } => Self::inputs(keep, of, unit),
            Unchecked::Outputs { keep, of } => Self::outputs(keep, of),
        }
    }
}

/// The largest group of an N:M pattern.
const LARGEST_GROUP: usize = 32;

impl Pattern {
    /// An unstructured pattern.
    ///
    /// # Errors
    /// If `sparsity` is outside [0, 1).
    pub fn unstructured(sparsity: f64, scope: Scope) -> Result<Self> {
        if (0.0..1.0).contains(&sparsity) {
            return Ok(Self::Unstructured { sparsity, scope });
        }
        Err(Error::Plan {
            problem: format!("sparsity {sparsity} is outside [0, 1)"),
            hint: Some("sparsity is the share of weights to prune: 0.5 prunes half of them".into()),
        })
    }

    /// The unstructured pattern that prunes exactly `pruned` of the `of` weights of each scope, at most all of them.
    pub fn exactly(pruned: usize, of: usize, scope: Scope) -> Self {
        Self::Unstructured { sparsity: pruned.min(of) as f64 / of.max(1) as f64, scope }
    }

    /// An N:M pattern.
    ///
    /// # Errors
    /// Unless 1 ≤ N < M ≤ 32.
    pub fn n_of_m(keep: usize, of: usize) -> Result<Self> {
        if keep >= 1 && keep < of && of <= LARGEST_GROUP {
            return Ok(Self::NofM { keep, of });
        }
        Err(Error::Plan {
            problem: format!("pattern {keep}:{of} is not N:M with 1 ≤ N < M ≤ {LARGEST_GROUP}"),
            hint: Some("2:4 keeps two of each four consecutive inputs".into()),
        })
    }

    /// Whole inputs, so many in a row together.
    ///
    /// # Errors
    /// Unless 1 ≤ `keep` ≤ `of`, both multiples of `unit`.
    pub fn inputs(keep: usize, of: usize, unit: usize) -> Result<Self> {
        let is_whole = unit > 0 && keep.is_multiple_of(unit) && of.is_multiple_of(unit);
        whole(if is_whole { keep } else { 0 }, of).map(|()| Self::Inputs { keep, of, unit })
    }

    /// Whole outputs.
    ///
    /// # Errors
    /// Unless 1 ≤ `keep` ≤ `of`.
    pub fn outputs(keep: usize, of: usize) -> Result<Self> {
        whole(keep, of).map(|()| Self::Outputs { keep, of })
    }

    /// Share of weights that a matrix with rows of `d_in` loses.
    pub fn sparsity(&self) -> f64 {
        match *self {
            Self::Unstructured { sparsity, .. } => sparsity,
            Self::NofM { keep, of } | Self::Inputs { keep, of, .. } | Self::Outputs { keep, of } => {
                1.0 - keep as f64 / of as f64
            }
        }
    }

    /// Whether whole inputs or outputs go.
    pub fn is_whole(&self) -> bool {
        matches!(self, Self::Inputs { .. } | Self::Outputs { .. })
    }

    /// How many of `n` weights of one scope are pruned. The product is taken as exact when it is within rounding of an integer.
    pub fn pruned_of(sparsity: f64, n: usize) -> usize {
        (sparsity * n as f64 * (1.0 + 1e-12) + 1e-9).floor() as usize
    }

    /// Whether rows of `d_in` inputs can obey this pattern.
    pub fn fits(&self, d_in: usize) -> bool {
        match *self {
            Self::Unstructured { .. } | Self::Outputs { .. } => true,
            Self::NofM { of, .. } => d_in.is_multiple_of(of),
            Self::Inputs { of, .. } => d_in == of,
        }
    }

    /// Checks that `weight` [rows, columns] has all the zeros this pattern asks for. Says where it has not.
    pub fn violation(&self, weight: &[f32], columns: usize) -> Option<String> {
        let zeros = |part: &[f32]| part.iter().filter(|&&w| w == 0.0).count();
        match *self {
            Self::Unstructured { sparsity, scope: Scope::Matrix } => {
                let (have, want) = (zeros(weight), Self::pruned_of(sparsity, weight.len()));
                (have < want).then(|| format!("{have} zeros, {want} asked"))
            }
            Self::Unstructured { sparsity, scope: Scope::Row } => {
                let want = Self::pruned_of(sparsity, columns);
                let mut rows = weight.chunks_exact(columns).map(zeros).enumerate();
                let (row, have) = rows.find(|(_, have)| *have < want)?;
                Some(format!("row {row} has {have} zeros, {want} asked"))
            }
            Self::NofM { keep, of } => {
                let group = weight.chunks_exact(of).position(|group| zeros(group) < of - keep)?;
                Some(format!(
                    "group {} of row {} keeps more than {keep} of {of}",
                    group % (columns / of),
                    group / (columns / of)
                ))
            }
            Self::Inputs { keep, of, unit } => {
                let is_zero = |input: usize| weight.iter().skip(input).step_by(columns).all(|&w| w == 0.0);
                let gone = |place: &usize| (place * unit..(place + 1) * unit).all(is_zero);
                let have = unit * (0..columns / unit).filter(gone).count();
                (have < of - keep).then(|| format!("{have} inputs are zero, {} asked", of - keep))
            }
            Self::Outputs { keep, of } => {
                let have = weight.chunks_exact(columns).filter(|row| zeros(row) == columns).count();
                (have < of - keep).then(|| format!("{have} outputs are zero, {} asked", of - keep))
            }
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Unstructured { sparsity, .. } => write!(f, "{}%", (sparsity * 1e4).round() / 1e2),
            Self::NofM { keep, of } => write!(f, "{keep}:{of}"),
            Self::Inputs { keep, of, .. } => write!(f, "{keep} of {of} inputs"),
            Self::Outputs { keep, of } => write!(f, "{keep} of {of} outputs"),
        }
    }
}

/// Whether so many inputs or outputs can be kept.
fn whole(keep: usize, of: usize) -> Result<()> {
    if (1..=of).contains(&keep) {
        return Ok(());
    }
    Err(Error::Plan { problem: format!("{keep} of {of} inputs or outputs cannot be kept"), hint: None })
}

/// `N:M`, as in `2:4`.
impl FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split_once(':').and_then(|(n, m)| Some((n.trim().parse().ok()?, m.trim().parse().ok()?)));
        let (keep, of) = parts.ok_or_else(|| Error::Plan {
            problem: format!("pattern {text:?} is not of the form N:M"),
            hint: Some("for example 2:4; for unstructured pruning give a sparsity instead".into()),
        })?;
        Self::n_of_m(keep, of)
    }
}

#[cfg(test)]
mod tests {
    use super::{Pattern, Scope};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_count_survives_as_a_share(of in 1usize..20_000_000_000, share in 0.0..=1.0f64) {
            for pruned in [0, (share * of as f64) as usize, of - 1, of] {
                let Pattern::Unstructured { sparsity, .. } = Pattern::exactly(pruned, of, Scope::Matrix) else { panic!("not unstructured") };
                prop_assert_eq!(Pattern::pruned_of(sparsity, of), pruned);
            }
        }
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        for sparsity in [-0.1, 1.0, f64::NAN, f64::INFINITY] {
            assert!(Pattern::unstructured(sparsity, Scope::Row).is_err());
        }
        for text in ["4:4", "0:4", "5:4", "2", "a:b", "2:64", "2:4:8"] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
        assert_eq!("2:4".parse::<Pattern>().expect("valid"), Pattern::NofM { keep: 2, of: 4 });
    }

    #[test]
    fn counts_are_exact() {
        assert_eq!(Pattern::pruned_of(0.7, 10), 7);
        assert_eq!(Pattern::pruned_of(0.29, 100), 29);
        assert_eq!(Pattern::pruned_of(0.5, 7), 3);
        assert_eq!(Pattern::pruned_of(0.0, 7), 0);
    }

    #[test]
    fn finds_the_row_that_keeps_too_much() {
        let half = Pattern::unstructured(0.5, Scope::Row).expect("valid");
        assert_eq!(half.violation(&[0.0, 1.0, 1.0, 0.0], 2), None);
        assert!(half.violation(&[0.0, 0.0, 1.0, 1.0], 2).expect("violated").contains("row 1"));
        let whole = Pattern::unstructured(0.5, Scope::Matrix).expect("valid");
        assert_eq!(whole.violation(&[0.0, 0.0, 1.0, 1.0], 2), None);
        let groups = Pattern::n_of_m(1, 2).expect("valid");
        assert!(groups.violation(&[0.0, 1.0, 1.0, 1.0], 4).expect("violated").contains("group 1 of row 0"));
    }
}
