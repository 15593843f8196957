//! Runs that time a compensation on a random layer: half of the weights of each row pruned at random, inputs that share
//! a few factors, so that the Gram matrix is far from diagonal.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use toml::Table;

use super::axis::Coordinate;
use super::definition::Study;
use super::directory::Finding;
use super::grid::{Case, fingerprint, product};
use super::settings::{describe, merge, read};
use super::wrong;
use crate::calibration::{InputStatistics, Needs};
use crate::error::Result;
use crate::linalg::Uniform;
use crate::method::{Compensation, DAMPING, LayerProblem, OutputError, SolutionFacts, SolverSettings};
use crate::prune::in_pool;
use crate::sparsity::{Mask, Pattern, Scope};
use crate::tensor::Tensor;

/// The settings of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SolverTiming {
    /// Name of the compensation.
    pub compensation: String,
    /// k: weights of a row that stay, and that go. The layer has 2k inputs.
    pub kept: usize,
    /// Rows of the layer, each a problem of its own.
    pub rows: usize,
    /// γ on the diagonal of the Hessian, as a share of its mean.
    pub damping: f64,
    /// At most so many conjugate-gradient iterations.
    pub iterations: usize,
    /// The shortest of so many repetitions counts.
    pub repeats: usize,
    /// Of weights, inputs and mask.
    pub seed: u64,
    /// Worker threads; all cores if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
}

impl Default for SolverTiming {
    fn default() -> Self {
        let iterations = SolverSettings::default().iterations;
        Self {
            compensation: "joint".into(),
            kept: 256,
            rows: 64,
            damping: DAMPING,
            iterations,
            repeats: 3,
            seed: 0,
            threads: None,
        }
    }
}

/// The largest k: its Gram matrix takes about a gigabyte.
const LARGEST: usize = 4096;
/// The most weights: they take a gigabyte.
const MOST_WEIGHTS: usize = 1 << 28;
/// Rows of X for each input.
const TOKENS: usize = 2;
/// What inputs share.
const FACTORS: usize = 16;

impl Study {
    /// The timings of the grid, each valid.
    pub(super) fn timings(&self) -> Result<Vec<Case<SolverTiming>>> {
        let titles = self.titles();
        let case = |point: Vec<Coordinate>| {
            let mut settings = self.base.clone();
            for coordinate in &point {
                merge(&mut settings, &coordinate.overlay);
            }
            let what = describe(&titles, &point);
            let settings: SolverTiming = read(settings, &Table::new(), &what)?;
            settings.check(&what)?;
            let text = toml::to_string(&settings).map_err(|error| wrong(&format!("{what}: {error}"), ""))?;
            Ok(Case { point, settings, fingerprint: fingerprint(&["solver", &text]) })
        };
        product(&self.axes).into_iter().map(case).collect()
    }
}

impl SolverTiming {
    fn check(&self, what: &str) -> Result<()> {
        let refuse = |problem: &str| Err(wrong(&format!("{what}: {problem}"), ""));
        match self {
            _ if Compensation::by_name(&self.compensation)?.needs() != Needs::Gram => {
                refuse(&format!("the compensation {} does not solve for the joint optimum", self.compensation))
            }
            Self { kept: 0, .. } | Self { rows: 0, .. } | Self { iterations: 0, .. } | Self { repeats: 0, .. } => {
                refuse("kept, rows, iterations and repeats must be above 0")
            }
            _ if self.kept > LARGEST => refuse(&format!("kept is above {LARGEST}")),
            _ if self.rows.saturating_mul(2 * self.kept) > MOST_WEIGHTS => {
                refuse(&format!("rows of 2·kept weights are more than {MOST_WEIGHTS} weights"))
            }
            _ if !(self.damping > 0.0 && self.damping.is_finite()) => refuse("damping is not a positive number"),
            _ => Ok(()),
        }
    }

    /// Times it.
    pub(super) fn run(&self) -> Result<Finding> {
        in_pool(self.threads, || {
            let (compensation, layer) = (Compensation::by_name(&self.compensation)?, Layer::random(self)?);
            let (mut seconds, mut facts, mut weight) = (f64::INFINITY, SolutionFacts::default(), None);
            for _ in 0..self.repeats {
                let started = Instant::now();
                weight = solve(self, &compensation, &layer, &mut facts);
                seconds = seconds.min(started.elapsed().as_secs_f64());
            }
            let error = layer.inputs.gram.as_ref().map(|gram| OutputError::new(&layer.weight, gram));
            let masked = layer.mask.apply(layer.weight.clone());
            let relative = |weight: &Tensor| error.as_ref().map(|error| error.relative(weight));
            let measures = [
                ("seconds", Some(seconds)),
                ("seconds_per_row", Some(seconds / self.rows as f64)),
                ("iterations", facts.iterations.map(|iterations| iterations as f64)),
                ("error_pruned", relative(&masked)),
                ("error_compensated", weight.as_ref().and_then(relative)),
            ];
            let known = measures.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
            Ok(Finding {
                measures: known.collect(),
                warnings: facts.warning.into_iter().collect(),
                ..Finding::default()
            })
        })
    }
}

/// What is timed: the whole of a compensation, with the making of its Hessian.
fn solve(
    settings: &SolverTiming,
    compensation: &Compensation,
    layer: &Layer,
    facts: &mut SolutionFacts,
) -> Option<Tensor> {
    let &SolverTiming { damping, iterations, seed, .. } = settings;
    let problem = LayerProblem {
        weight: &layer.weight,
        inputs: &layer.inputs,
        pattern: &layer.pattern,
        seed,
        settings: SolverSettings { damping: Some(damping), iterations, ..SolverSettings::default() },
    };
    compensation.repair(&problem, &layer.mask, facts)
}

/// A random layer.
struct Layer {
    weight: Tensor,
    inputs: InputStatistics,
    mask: Mask,
    pattern: Pattern,
}

impl Layer {
    fn random(settings: &SolverTiming) -> Result<Self> {
        let (rows, columns) = (settings.rows, 2 * settings.kept);
        let mut noise = Uniform::new(settings.seed);
        let mut draw = |count: usize| Tensor::new([count, columns], noise.by_ref().take(count * columns).collect());
        let pattern = Pattern::unstructured(0.5, Scope::Row)?;
        let (weight, mask) = (draw(rows), Mask::from_scores(&draw(rows), &pattern));
        let (mixing, mut tokens) = (draw(FACTORS), draw(TOKENS * columns));
        for token in tokens.host_mut().chunks_mut(columns) {
            for (factor, mixing) in noise.by_ref().take(FACTORS).zip(mixing.host().chunks(columns)) {
                token.iter_mut().zip(mixing).for_each(|(x, mixing)| *x += factor * mixing);
            }
        }
        let mut inputs = InputStatistics::new(columns, Needs::Gram);
        inputs.add(tokens.host());
        inputs.finish(settings.damping);
        Ok(Self { weight, inputs, mask, pattern })
    }
}

#[cfg(test)]
mod tests {
    use super::SolverTiming;

    #[test]
    fn a_timing_says_how_good_the_solution_is() {
        let settings = SolverTiming { kept: 16, rows: 3, repeats: 1, threads: Some(1), ..SolverTiming::default() };
        settings.check("it").expect("valid");
        let found = settings.run().expect("runs").measures;
        assert!(found["error_compensated"] < 0.9 * found["error_pruned"], "{found:?}");
        assert!(found["seconds"] > 0.0 && (found["seconds_per_row"] * 3.0 / found["seconds"] - 1.0).abs() < 1e-9);
    }

    #[test]
    fn what_cannot_be_timed_is_refused() {
        let base = SolverTiming::default;
        let cases = [
            (SolverTiming { compensation: "none".into(), ..base() }, "does not solve"),
            (SolverTiming { compensation: "wander".into(), ..base() }, "wander"),
            (SolverTiming { kept: 0, ..base() }, "above 0"),
            (SolverTiming { kept: 1 << 20, ..base() }, "above 4096"),
            (SolverTiming { rows: 1 << 60, ..base() }, "more than"),
            (SolverTiming { damping: f64::NAN, ..base() }, "damping"),
        ];
        for (settings, expected) in cases {
            let error = settings.check("it").expect_err("refused").to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
