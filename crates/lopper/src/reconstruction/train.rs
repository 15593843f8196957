//! The training loop of a window: `min_Ŵ Σ_batches ℓ(f(X; Ŵ ⊙ mask), Y)`, Y the dense model's activations
//! (Wagner et al. 2025, arXiv 2510.14444, §3), or of the whole model with the loss of its predictions.
//!
//! The loss is divided by what it was before training, so its gradients have one scale in every model; steps are relative to the
//! weights, and smaller by the square root of the depth of the window, so one learning rate serves windows of all sizes. Sequences
//! held out from training decide which epoch is kept, and how much of the way there: the window never ends worse than it began on them.

use std::time::Instant;

use super::line_search::search;
use super::objective::Objective;
use super::trainee::Trainee;
use super::window::Window;
use super::{Outcome, Settings};
use crate::autograd::Gradients;
use crate::autograd::optimizer::RateSchedule;
use crate::calibration::{HiddenStates, Parked, shuffle};
use crate::error::Result;

/// What a window trains on. The first `train` sequences train, the others are held out.
pub struct WindowData<'a> {
    /// What the window reads.
    pub inputs: &'a HiddenStates,
    /// What it should make of that.
    pub objective: &'a dyn Objective,
    /// How many sequences train.
    pub train: usize,
}

/// An epoch that has just ended, for whoever watches.
#[derive(Clone, Copy, Debug)]
pub struct Epoch {
    /// Counted from 1.
    pub number: usize,
    /// Of how many.
    pub of: usize,
    /// Mean training loss, relative to the loss before training.
    pub loss: f64,
    /// Error on held-out sequences.
    pub held_out: Option<f64>,
    /// Training tokens per second.
    pub speed: f64,
}

/// Attempts at a window, each with a quarter of the learning rate of the one before.
const ATTEMPTS: usize = 3;
/// Points of a loss curve.
const POINTS: usize = 32;

/// Trains what `settings` say of a window; what is pruned stays zero. Ends no worse than it began on held-out sequences.
/// A window that lost nothing, or has nothing that could train, is left alone.
///
/// # Errors
/// If memory is short.
pub fn reconstruct(
    window: &mut Window,
    data: &WindowData,
    settings: &Settings,
    watch: &mut dyn FnMut(Epoch),
) -> Result<Outcome> {
    let started = Instant::now();
    if !window.lacks() {
        return Ok(Outcome::default());
    }
    let before = held_out_error(window, &Trainee::none(window, settings), data, settings)?;
    let mut outcome = Outcome { held_out_before: before, held_out_after: before, ..Outcome::default() };
    let original = window.snapshot(data.inputs.storage())?;
    let mut learning_rate = settings.learning_rate / (window.depth() as f32).sqrt();
    for attempt in 0..ATTEMPTS {
        let run = train(window, data, &Settings { learning_rate, ..*settings }, watch)?;
        let Some(run) = run else { return Ok(outcome) };
        if run.losses.iter().all(|loss| loss.is_finite()) && window.is_finite() {
            let ends = before.zip(run.best.map(|(error, _)| error));
            let (share, after) = match ends {
                Some(ends) => keep_what_gains(window, &original, ends, data, settings)?,
                None => (1.0, None),
            };
            // where nothing moved, nothing was lost
            if share > 0.0 || ends.is_some_and(|(before, end)| end <= before) {
                outcome = Outcome { held_out_after: after, share, learning_rate, restored: attempt, ..run.outcome() };
                outcome.held_out_before = before;
                break;
            }
        }
        window.restore(&original)?;
        outcome.restored = attempt + 1;
        learning_rate /= 4.0;
    }
    outcome.seconds = started.elapsed().as_secs_f64();
    Ok(outcome)
}

/// Takes a window that has trained to the point on its way where the held-out error is least. Returns its share of the way, and the error.
fn keep_what_gains(
    window: &mut Window,
    original: &Parked,
    (before, after): (f64, f64),
    data: &WindowData,
    settings: &Settings,
) -> Result<(f32, Option<f64>)> {
    let trained = window.snapshot(data.inputs.storage())?;
    let best = search(before, after, |share| {
        window.blend(original, &trained, share as f32)?;
        let error = held_out_error(window, &Trainee::none(window, settings), data, settings)?;
        Ok(error.unwrap_or(f64::NAN))
    })?;
    let share = best.share as f32;
    window.blend(original, &trained, share)?;
    Ok((share, Some(best.error)))
}

/// What came of one attempt.
#[derive(Default)]
struct Run {
    losses: Vec<f64>,
    steps: Vec<f64>,
    held_out: Vec<f64>,
    /// The lowest held-out error, and the epoch it was measured after.
    best: Option<(f64, usize)>,
    tokens: usize,
    seconds: f64,
}

impl Run {
    fn outcome(self) -> Outcome {
        let length = self.steps.len().div_ceil(POINTS).max(1);
        let curve = self.steps.chunks(length).map(|steps| steps.iter().sum::<f64>() / steps.len() as f64).collect();
        let tokens_per_second = self.speed();
        Outcome { losses: self.losses, held_out: self.held_out, curve, tokens_per_second, ..Outcome::default() }
    }

    fn speed(&self) -> f64 {
        self.tokens as f64 / self.seconds.max(1e-9)
    }

    /// Notes a held-out error; whether it is the lowest so far.
    fn note(&mut self, error: f64) -> bool {
        self.held_out.push(error);
        let better = self.best.is_none_or(|(best, _)| error < best);
        if better {
            self.best = Some((error, self.held_out.len()));
        }
        better
    }

    /// Whether to go on after so many epochs without anything better.
    fn goes_on(&self, patience: Option<usize>) -> bool {
        let waited = self.best.map_or(0, |(_, epoch)| self.held_out.len() - epoch);
        self.losses.last().is_none_or(|loss| loss.is_finite()) && patience.is_none_or(|patience| waited < patience)
    }
}

/// One attempt, which leaves the window as it was after its best epoch. `None` if nothing trains.
fn train(
    window: &mut Window,
    data: &WindowData,
    settings: &Settings,
    watch: &mut dyn FnMut(Epoch),
) -> Result<Option<Run>> {
    let mut trainee = Trainee::new(window, settings)?;
    if trainee.optimizer.is_empty() {
        return Ok(None);
    }
    let (mut run, mut saved, mut steps) = (Run::default(), None, Steps::new(data, settings));
    for epoch in 0..settings.epochs {
        let started = Instant::now();
        let (loss, tokens) = steps.epoch(window, data, settings, &mut trainee, &mut run.steps)?;
        run.losses.push(loss);
        run.seconds += started.elapsed().as_secs_f64();
        run.tokens += tokens;
        let error = held_out_error(window, &trainee, data, settings)?;
        let best = error.is_some_and(|error| run.note(error));
        watch(Epoch { number: epoch + 1, of: settings.epochs, loss, held_out: error, speed: run.speed() });
        if !run.goes_on(settings.patience) {
            break;
        }
        if best && epoch + 1 < settings.epochs {
            saved = Some(trainee.save(data.inputs.storage())?);
        }
    }
    if let Some(saved) = saved.filter(|_| run.best.is_some_and(|(_, epoch)| epoch < run.held_out.len())) {
        trainee.load(&saved)?;
    }
    trainee.merge(window)?;
    Ok(Some(run))
}

/// What goes from step to step.
struct Steps {
    order: Vec<usize>,
    schedule: RateSchedule,
    gradients: Gradients,
    /// Normalises the loss of a sequence; the first step finds it.
    scale: Option<f32>,
    done: usize,
    epochs: u64,
}

impl Steps {
    fn new(data: &WindowData, settings: &Settings) -> Self {
        let steps = settings.epochs * data.train.div_ceil(settings.batch * settings.accumulate);
        let &Settings { decay, learning_rate: peak, warm_up, .. } = settings;
        let schedule = RateSchedule { decay, peak, warm_up, steps };
        let order = (0..data.train).collect();
        Self { order, schedule, gradients: Gradients::default(), scale: None, done: 0, epochs: 0 }
    }

    /// Every training sequence once. Returns the mean loss and the number of tokens.
    fn epoch(
        &mut self,
        window: &Window,
        data: &WindowData,
        settings: &Settings,
        trainee: &mut Trainee,
        losses: &mut Vec<f64>,
    ) -> Result<(f64, usize)> {
        shuffle(&mut self.order, settings.seed.wrapping_add(self.epochs));
        let (order, first, mut tokens) = (self.order.clone(), losses.len(), 0);
        for group in order.chunks(settings.batch * settings.accumulate) {
            let (loss, count) = self.step(window, data, group, settings, trainee)?;
            losses.push(loss);
            tokens += count;
        }
        self.epochs += 1;
        let losses = &losses[first..];
        Ok((losses.iter().sum::<f64>() / losses.len().max(1) as f64, tokens))
    }

    /// Forward and backward for each batch of the group, then one update.
    fn step(
        &mut self,
        window: &Window,
        data: &WindowData,
        group: &[usize],
        settings: &Settings,
        trainee: &mut Trainee,
    ) -> Result<(f64, usize)> {
        let share = (group.len() as f32).recip();
        let (mut loss, mut tokens) = (0.0, 0);
        self.gradients.clear();
        for indices in group.chunks(settings.batch) {
            let (x, sequences) = data.inputs.batch(indices)?;
            tokens += sequences.tokens();
            let batch = (x, &sequences, indices);
            let Self { scale, gradients, .. } = self;
            loss += window.differentiate(trainee, data.objective, batch, scale, share, gradients)?;
        }
        if let Some(clip) = settings.clip {
            let norm = trainee.optimizer.gradient_norm(&self.gradients);
            if norm > f64::from(clip) {
                self.gradients.scale((f64::from(clip) / norm) as f32);
            }
        }
        trainee.optimizer.step(&self.gradients, self.schedule.rate(self.done))?;
        self.done += 1;
        Ok((loss, tokens))
    }
}

/// Mean error over the held-out sequences of the window with what is in training; `None` without any.
fn held_out_error(window: &Window, trainee: &Trainee, data: &WindowData, settings: &Settings) -> Result<Option<f64>> {
    let (mut sum, mut count) = (0.0, 0usize);
    let held_out: Vec<usize> = (data.train..data.inputs.len()).collect();
    for indices in held_out.chunks(settings.batch) {
        let (x, sequences) = data.inputs.batch(indices)?;
        let y = window.infer(trainee, x, &sequences)?;
        let (error, terms) = data.objective.error(&y, indices, settings.precision)?;
        (sum, count) = (sum + error, count + terms);
    }
    Ok((count > 0).then(|| sum / count as f64))
}
