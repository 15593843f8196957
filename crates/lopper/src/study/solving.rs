//! Runs that time a compensation on a random layer: half of the weights of each row pruned at random, inputs that share
//! a few factors, so that the Gram matrix is far from diagonal.

use std::time::Instant;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
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
use crate::method::compensation::Compensation;
use crate::method::{LayerProblem, OutputError, SolutionFacts, SolverSettings};
use crate::prune::in_pool;
use crate::sparsity::{Mask, Pattern, Scope};

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
        let SolverSettings { damping, iterations, .. } = SolverSettings::default();
        Self {
            compensation: "joint".into(),
            kept: 256,
            rows: 64,
            damping,
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
            let layer = Layer::random(self)?;
            let (mut seconds, mut facts, mut weight) = (f64::INFINITY, SolutionFacts::default(), None);
            for _ in 0..self.repeats {
                let started = Instant::now();
                weight = solve(self, &layer, &mut facts)?;
                seconds = seconds.min(started.elapsed().as_secs_f64());
            }
            let error = layer.inputs.gram.as_ref().map(|gram| OutputError::new(&layer.weight, gram));
            let mut masked = layer.weight.clone();
            lopper_kernels::apply_mask(&mut masked, layer.mask.as_slice());
            let relative = |weight: &[f32]| error.as_ref().map(|error| error.relative(weight));
            let measures = [
                ("seconds", Some(seconds)),
                ("seconds_per_row", Some(seconds / self.rows as f64)),
                ("iterations", facts.iterations.map(|iterations| iterations as f64)),
                ("error_pruned", relative(&masked)),
                ("error_compensated", weight.as_deref().and_then(relative)),
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
fn solve(settings: &SolverTiming, layer: &Layer, facts: &mut SolutionFacts) -> Result<Option<Vec<f32>>> {
    let &SolverTiming { damping, iterations, seed, .. } = settings;
    let problem = LayerProblem {
        weight: &layer.weight,
        columns: layer.mask.columns(),
        inputs: &layer.inputs,
        pattern: &layer.pattern,
        seed,
        settings: SolverSettings { damping, iterations, ..SolverSettings::default() },
    };
    Ok(Compensation::by_name(&settings.compensation)?.repair(&problem, &layer.mask, facts))
}

/// A random layer.
struct Layer {
    weight: Vec<f32>,
    inputs: InputStatistics,
    mask: Mask,
    pattern: Pattern,
}

impl Layer {
    fn random(settings: &SolverTiming) -> Result<Self> {
        let columns = 2 * settings.kept;
        let mut generator = ChaCha8Rng::seed_from_u64(settings.seed);
        let weight = uniform(&mut generator, settings.rows * columns);
        let pattern = Pattern::unstructured(0.5, Scope::Row)?;
        let mask = Mask::from_scores(&uniform(&mut generator, settings.rows * columns), columns, &pattern);
        let mixing = uniform(&mut generator, FACTORS * columns);
        let mut tokens = uniform(&mut generator, TOKENS * columns * columns);
        for token in tokens.chunks_mut(columns) {
            for (factor, mixing) in uniform(&mut generator, FACTORS).into_iter().zip(mixing.chunks(columns)) {
                token.iter_mut().zip(mixing).for_each(|(x, mixing)| *x += factor * mixing);
            }
        }
        let mut inputs = InputStatistics::new(columns, Needs::Gram);
        inputs.add(&tokens);
        inputs.finish(settings.damping);
        Ok(Self { weight, inputs, mask, pattern })
    }
}

/// Numbers in [−1, 1).
fn uniform(generator: &mut ChaCha8Rng, count: usize) -> Vec<f32> {
    (0..count).map(|_| (generator.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
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
