//! What accuracy and perplexity hide: how far two models' next-token distributions are apart, and which answers changed.
//!
//! `KL(p‖q) = Σ p·(log p − log q)` of the reference p and the model q, at every prediction of a text. With logits a of p and b of q it
//! is `Σ exp(a − ℓₐ)·(a − b) − ℓₐ + ℓ_b`, ℓ the logarithm of the sum of exponentials, so a slice of the vocabulary at a time is enough.

use lopper_kernels::Precision;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::forward::{Asked, HEAD_BATCHES, Passage, asked, by_passage, group_bytes, groups, states};
use super::loglikelihood::not_a_number;
use super::perplexity::{Perplexity, passages};
use super::scores::{TaskScore, mean_and_error};
use super::significance::{mcnemar, paired_t};
use super::tasks::Metric;
use super::texts::ScoredText;
use crate::error::{Error, Result};
use crate::model::{Decoder, Head, NextToken, Running, pieces};

/// A text under a model and a reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TextDifference {
    /// Name of the text.
    pub text: String,
    /// Predictions compared.
    pub predictions: usize,
    /// Mean over predictions of KL(reference‖model), in nats.
    pub kl_divergence: f64,
    /// Its standard error, windows taken as independent; `None` with a single window.
    pub kl_standard_error: Option<f64>,
    /// Share of predictions whose most likely token is the same.
    pub top1_agreement: f64,
    /// Mean over windows of the model's less the reference's mean negative log-likelihood, in nats.
    pub nll_difference: f64,
    /// Two-sided p of a paired t-test of the windows' differences; `None` with a single window, or where all are equal.
    pub p_value: Option<f64>,
}

/// The right and wrong answers of a model and a reference to the same questions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskDifference {
    /// Name of the task.
    pub task: String,
    /// By which right and wrong are told.
    pub metric: Metric,
    /// Questions compared.
    pub questions: usize,
    /// The model's value less the reference's.
    pub difference: f64,
    /// Questions that the reference got right and the model wrong.
    pub lost: usize,
    /// Questions that the reference got wrong and the model right.
    pub won: usize,
    /// Questions to which they choose different answers, right or wrong; of a completion, `lost + won`.
    pub flips: usize,
    /// Two-sided p of McNemar's exact test.
    pub p_value: f64,
}

/// The difference between two scores of one task, for each of its metrics that tells right from wrong.
pub fn compare_tasks(score: &TaskScore, reference: &TaskScore) -> Vec<TaskDifference> {
    let metrics = score.metrics.iter().map(|measure| measure.metric);
    metrics.filter(|&metric| metric != Metric::Perplexity).map(|metric| difference(score, reference, metric)).collect()
}

fn difference(score: &TaskScore, reference: &TaskScore, metric: Metric) -> TaskDifference {
    let (mut lost, mut won, mut flips) = (0, 0, 0);
    for (record, before) in score.records.iter().zip(&reference.records) {
        let right = [before, record].map(|record| record.is_right(metric) == Some(true));
        lost += usize::from(right == [true, false]);
        won += usize::from(right == [false, true]);
        let chosen = [before, record].map(|record| match metric {
            Metric::AccNorm => record.best_per_character,
            Metric::Acc | Metric::Perplexity => record.best,
        });
        flips += usize::from(chosen[0] != chosen[1] || (record.greedy.len() == 1 && right[0] != right[1]));
    }
    let questions = score.records.len();
    TaskDifference {
        task: score.task.clone(),
        metric,
        questions,
        difference: (won as f64 - lost as f64) / questions as f64,
        lost,
        won,
        flips,
        p_value: mcnemar(lost, won),
    }
}

/// Texts under two models.
pub struct ComparedTexts {
    /// Under the model.
    pub model: Vec<Perplexity>,
    /// Under the reference.
    pub reference: Vec<Perplexity>,
    /// How they differ.
    pub differences: Vec<TextDifference>,
}

/// Scores texts under a model and a reference of the same tokenizer, in one pass over each.
///
/// # Errors
/// If the vocabularies differ in size, or a model cannot be read.
pub fn compare_texts(
    [model, reference]: [&Decoder; 2],
    texts: &[ScoredText],
    precision: Precision,
    progress: &mut dyn FnMut(f64),
) -> Result<ComparedTexts> {
    let sizes = [model, reference].map(|decoder| decoder.spec().vocabulary);
    if sizes[0] != sizes[1] {
        return Err(Error::Model {
            problem: format!("vocabularies of {} and {} tokens cannot be compared", sizes[0], sizes[1]),
            hint: Some("compare a model with the one it was made from".into()),
        });
    }
    let all: Vec<Passage> = texts.iter().flat_map(passages).collect();
    let mut windows = vec![Window::default(); all.len()];
    let heads = [reference.head()?, model.head()?];
    // both models' states are in memory together
    let kind = |length| [model, reference].map(|decoder| decoder.spec().is_stretched(length));
    let groups = groups(&all, kind, 2 * model.spec().hidden.max(reference.spec().hidden), group_bytes(model.spec()));
    let count = groups.len() as f64;
    for (place, group) in groups.iter().enumerate() {
        let mut half = |decoder, part: f64| {
            states(decoder, group, precision, &mut |done| progress((place as f64 + f64::midpoint(part, done)) / count))
        };
        let states = [half(reference, 0.0)?, half(model, 1.0)?];
        for (at, batches) in (0..group.len()).step_by(HEAD_BATCHES).zip(group.chunks(HEAD_BATCHES)) {
            let rows = states.each_ref().map(|states| asked(&all, batches, &states[at..at + batches.len()]));
            let [reference, model] = rows;
            compare_rows(&heads, [&reference?, &model?], &all, precision, &mut windows)?;
        }
    }
    Ok(summary(texts, &windows))
}

/// What is known of a window.
#[derive(Clone, Copy, Default)]
struct Window {
    predictions: usize,
    /// Mean negative log-likelihood of reference and model.
    nll: [f64; 2],
    /// Mean over its predictions.
    divergence: f64,
    agreement: f64,
}

/// Takes the rows of some batches through both heads.
fn compare_rows(
    heads: &[Head; 2],
    asked: [&Asked; 2],
    all: &[Passage],
    precision: Precision,
    windows: &mut [Window],
) -> Result<()> {
    let targets = &asked[0].targets;
    let mut running = vec![Pair::default(); targets.len()];
    let both = [(&heads[0], &asked[0].hidden), (&heads[1], &asked[1].hidden)];
    pieces(both, precision, &mut |first, start, [a, b]| {
        let classes = a.width();
        let logits = a.host().par_chunks(classes).zip(b.host().par_chunks(classes));
        let rows = running[first..].par_iter_mut().zip(&targets[first..]).zip(logits);
        rows.for_each(|((row, &target), (a, b))| row.absorb(a, b, start, target));
    })?;
    for (passage, rows) in by_passage(asked[0], all) {
        windows[passage] = Window::new(&running[rows])?;
    }
    Ok(())
}

impl Window {
    fn new(predictions: &[Pair]) -> Result<Self> {
        let mean = |of: &dyn Fn(&Pair) -> f64| predictions.iter().map(of).sum::<f64>() / predictions.len() as f64;
        let window = Self {
            predictions: predictions.len(),
            nll: [0, 1].map(|who| mean(&|pair| -pair.said(who).log_likelihood)),
            divergence: mean(&Pair::divergence),
            agreement: mean(&|pair| f64::from(u8::from(pair.said(0).most_likely == pair.said(1).most_likely))),
        };
        if window.divergence.is_nan() || window.nll.iter().any(|nll| nll.is_nan()) {
            return Err(not_a_number());
        }
        Ok(window)
    }
}

fn summary(texts: &[ScoredText], windows: &[Window]) -> ComparedTexts {
    let mut found = ComparedTexts { model: Vec::new(), reference: Vec::new(), differences: Vec::new() };
    let mut rest = windows;
    for text in texts {
        let (own, others) = rest.split_at(passages(text).count());
        rest = others;
        let nll = |who: usize| own.iter().map(|window| window.nll[who]).collect::<Vec<f64>>();
        found.reference.push(Perplexity::new(nll(0), text.windows.length));
        found.model.push(Perplexity::new(nll(1), text.windows.length));
        found.differences.push(TextDifference::new(text.name.clone(), own));
    }
    found
}

impl TextDifference {
    fn new(text: String, windows: &[Window]) -> Self {
        let of = |value: fn(&Window) -> f64| windows.iter().map(value).collect::<Vec<f64>>();
        let (kl_divergence, kl_standard_error) = mean_and_error(&of(|window| window.divergence));
        let differences = of(|window| window.nll[1] - window.nll[0]);
        Self {
            text,
            predictions: windows.iter().map(|window| window.predictions).sum(),
            kl_divergence,
            kl_standard_error,
            top1_agreement: mean_and_error(&of(|window| window.agreement)).0,
            nll_difference: mean_and_error(&differences).0,
            p_value: paired_t(&differences),
        }
    }
}

/// Both distributions of a token after some slices of the vocabulary; reference first.
#[derive(Clone, Copy, Default)]
struct Pair {
    running: [Running; 2],
    /// `Σ exp(a − ℓₐ)·(a − b)` over the slices, with ℓₐ so far.
    difference: f64,
}

impl Pair {
    fn said(&self, who: usize) -> NextToken {
        self.running[who].finish()
    }

    fn divergence(&self) -> f64 {
        let [a, b] = self.running.map(|running| running.log_sum_exp);
        let divergence = self.difference - a + b;
        // rounding may leave a little less than nothing; what is not a number stays that
        if divergence < 0.0 { 0.0 } else { divergence }
    }

    /// Takes the slice of the vocabulary that begins at `start` into account.
    fn absorb(&mut self, a: &[f32], b: &[f32], start: usize, target: u32) {
        let before = self.running[0].log_sum_exp;
        for (running, logits) in self.running.iter_mut().zip([a, b]) {
            running.absorb(logits, start, target);
        }
        let total = self.running[0].log_sum_exp;
        let slice: f64 = a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - total).exp() * f64::from(a - b)).sum();
        self.difference = self.difference * (before - total).exp() + slice;
    }
}

#[cfg(test)]
mod tests {
    use super::{Pair, compare_tasks};
    use crate::evaluation::scores::{Record, TaskScore};
    use crate::evaluation::{Measure, Metric};

    #[test]
    fn divergence_in_slices_is_that_of_the_definition() {
        let logits = |seed: f32| (0..64).map(|i| (i as f32 * seed).sin() * 3.0).collect::<Vec<f32>>();
        let (a, b) = (logits(0.7), logits(1.3));
        let mut running = Pair::default();
        for start in (0..64).step_by(24) {
            let end = (start + 24).min(64);
            running.absorb(&a[start..end], &b[start..end], start, 30);
        }
        let log_softmax = |logits: &[f32]| -> Vec<f64> {
            let sum: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
            logits.iter().map(|&x| f64::from(x) - sum.ln()).collect()
        };
        let (p, q) = (log_softmax(&a), log_softmax(&b));
        let divergence: f64 = p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum();
        assert!((running.divergence() - divergence).abs() < 1e-5, "{} {divergence}", running.divergence());
        let nll = -running.said(1).log_likelihood;
        assert!((nll + q[30]).abs() < 1e-5, "{nll}");
        let most_likely = a.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(place, _)| place as u32);
        assert_eq!(Some(running.said(0).most_likely), most_likely);
        running.absorb(&[f32::NAN; 4], &[0.0; 4], 64, 30);
        assert!(running.divergence().is_nan(), "an overflow is no agreement");
    }

    #[test]
    fn flips_are_counted_whether_right_or_wrong() {
        let score = |best: [usize; 4]| {
            let record = |(document, best): (usize, usize)| Record {
                document,
                gold: 0,
                log_likelihoods: vec![-1.0; 3],
                greedy: vec![false; 3],
                best,
                best_per_character: 0,
                acc: best == 0,
                acc_norm: true,
            };
            let metrics = [Metric::Acc, Metric::AccNorm, Metric::Perplexity];
            let metrics = metrics.map(|metric| Measure { metric, value: 0.0, standard_error: None }).to_vec();
            let records = best.into_iter().enumerate().map(record).collect();
            TaskScore {
                task: "t".into(),
                version: "1".into(),
                questions: 4,
                available: 4,
                examples: 0,
                metrics,
                records,
            }
        };
        let found = compare_tasks(&score([0, 1, 2, 0]), &score([0, 0, 1, 2]));
        assert_eq!(found.len(), 2, "perplexity tells neither right nor wrong");
        assert_eq!((found[0].lost, found[0].won, found[0].flips, found[0].difference), (1, 1, 3, 0.0));
        assert_eq!((found[1].lost, found[1].won, found[1].flips, found[1].p_value), (0, 0, 0, 1.0));
    }
}
