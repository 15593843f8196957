//! The runs of a study: the product of its axes, each with its settings and a fingerprint of all that determines it.

use std::collections::BTreeMap;

use super::axis::{Axis, Coordinate};
use super::settings::describe;
use super::wrong;
use crate::error::Result;

/// A run to be made.
#[derive(Clone, Debug)]
pub(super) struct Case<S> {
    /// A coordinate on each axis.
    pub point: Vec<Coordinate>,
    /// What is run.
    pub settings: S,
    /// Names the file of the run.
    pub fingerprint: String,
}

/// Every combination of the values of all axes; the last axis varies fastest.
pub(super) fn product(axes: &[Axis]) -> Vec<Vec<Coordinate>> {
    axes.iter().fold(vec![Vec::new()], |points, axis| {
        let coordinates = axis.coordinates();
        let extend = |point: Vec<Coordinate>| {
            coordinates.iter().map(move |coordinate| point.iter().chain([coordinate]).cloned().collect())
        };
        points.into_iter().flat_map(extend).collect()
    })
}

/// BLAKE3 of everything that determines a run, and of the version of this program; 32 hexadecimal digits.
pub(super) fn fingerprint(parts: &[&str]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in [env!("CARGO_PKG_VERSION")].iter().chain(parts) {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

/// # Errors
/// If two points of the grid are the same run: an axis then has no effect, and the table would lie.
pub(super) fn check_distinct<S>(cases: &[Case<S>], titles: &[String]) -> Result<()> {
    let mut seen = BTreeMap::new();
    for case in cases {
        if let Some(other) = seen.insert(&case.fingerprint, case) {
            let [first, second] = [&other.point, &case.point].map(|point| describe(titles, point));
            let problem = format!("two points of the grid are the same run: {first}; and {second}");
            return Err(wrong(&problem, "one axis overrides what another sets; leave one of them out"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Axis, fingerprint, product};

    #[test]
    fn the_grid_has_every_combination_once_and_the_last_axis_varies_fastest() {
        let axes = [Axis::parse("a=1,2").expect("axis"), Axis::parse("b=x,y,z").expect("axis")];
        let labels: Vec<String> = product(&axes)
            .iter()
            .map(|point| point.iter().map(|coordinate| coordinate.label.as_str()).collect())
            .collect();
        assert_eq!(labels, ["1x", "1y", "1z", "2x", "2y", "2z"]);
        assert_eq!(product(&[]).len(), 1);
    }

    #[test]
    fn fingerprints_keep_parts_apart() {
        assert_eq!(fingerprint(&["ab", "c"]), fingerprint(&["ab", "c"]));
        assert_ne!(fingerprint(&["ab", "c"]), fingerprint(&["a", "bc"]));
        assert_eq!(fingerprint(&[]).len(), 32);
    }
}
