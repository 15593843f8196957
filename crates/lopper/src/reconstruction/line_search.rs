//! How far to go from the weights that training began with towards those it ended with (Wortsman et al. 2022, arXiv 2109.01903).
//!
//! Training fits the noise of few sequences as well as what all of them say. Of the way it went the first part gains most and costs
//! least, so on sequences held out the error has its least before the end, or beyond it where training was slow. It is close to a parabola
//! along the way: three of its points tell a fourth.

use crate::error::Result;

/// The farthest point that is looked at, as a share of the way.
const FARTHEST: f64 = 1.5;

/// A point on the way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    /// Its share of the way: 0 where training began, 1 where it ended.
    pub share: f64,
    /// The error there.
    pub error: f64,
}

/// The point of least error among the beginning, the middle, the end, and the vertex of the parabola through these.
/// `error_at` a share is asked of the middle and of the vertex.
pub(super) fn search(begin: f64, end: f64, mut error_at: impl FnMut(f64) -> Result<f64>) -> Result<Point> {
    let point = |share, error| Point { share, error };
    let middle = error_at(0.5)?;
    let mut points = vec![point(0.0, begin), point(0.5, middle), point(1.0, end)];
    // begin + slope·t + curvature·t²
    let (slope, curvature) = (4.0 * middle - 3.0 * begin - end, 2.0 * (begin + end - 2.0 * middle));
    let vertex = if curvature > 0.0 { (-0.5 * slope / curvature).clamp(0.0, FARTHEST) } else { FARTHEST };
    if vertex > 0.0 {
        points.push(point(vertex, error_at(vertex)?));
    }
    // of equals the first: nothing moves without a gain
    let least = points.into_iter().filter(|point| point.error.is_finite());
    Ok(least.reduce(|best, next| if next.error < best.error { next } else { best }).unwrap_or(point(0.0, begin)))
}

#[cfg(test)]
mod tests {
    use super::{FARTHEST, search};

    /// Where the search ends, and how often it asked.
    fn ends(error: impl Fn(f64) -> f64) -> (f64, usize) {
        let mut asked = 0;
        let found = search(error(0.0), error(1.0), |share| {
            asked += 1;
            Ok(error(share))
        })
        .expect("no errors");
        assert!((found.error - error(found.share)).abs() < 1e-12 || found.error.is_nan());
        (found.share, asked)
    }

    #[test]
    fn a_parabola_ends_at_its_vertex() {
        for vertex in [0.1, 0.4, 0.8, 1.0, 1.3] {
            let (share, asked) = ends(|t| 3.0 + 2.0 * (t - vertex) * (t - vertex));
            assert!((share - vertex).abs() < 1e-9 && asked == 2, "{vertex}: {share} after {asked}");
        }
    }

    #[test]
    fn it_goes_no_farther_than_it_may_and_nowhere_without_a_gain() {
        assert!((ends(|t| 3.0 - t).0 - FARTHEST).abs() < 1e-12, "a line");
        assert!((ends(|t| (t - 9.0) * (t - 9.0)).0 - FARTHEST).abs() < 1e-12, "a vertex far away");
        assert!(ends(|t| 1.0 + t).0 <= 0.0 && ends(|_| 1.0).0 <= 0.0);
        assert_eq!(ends(|t| 1.0 + t * t), (0.0, 1), "the vertex is the beginning");
    }

    #[test]
    fn errors_that_are_no_parabola_are_compared_as_they_are() {
        assert!(ends(|t| if t < 0.4 { 2.0 } else { 1.0 / t }).0 >= 1.0);
        assert!((ends(|t| if (t - 0.5).abs() < 0.01 { 0.5 } else { 1.0 }).0 - 0.5).abs() < 1e-12, "the middle");
        let broken = |t: f64| if (t - 0.5).abs() < 0.01 { f64::NAN } else { (1.0 - t).abs() };
        assert!((ends(broken).0 - 1.0).abs() < 1e-12, "the end, where the middle is no number");
    }
}
