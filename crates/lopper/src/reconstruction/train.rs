//! The training loop of a window: `min_Ŵ Σ_batches ℓ(f(X; Ŵ ⊙ mask), Y)`, Y the dense model's activations
//! (Wagner et al. 2025, arXiv 2510.14444, §3).
//!
//! The loss is the squared error divided by what it was before training, so its gradients have one scale in every model.
//! Sequences held out from training decide what is kept: the window never ends worse than it began on them.

use std::time::Instant;

use lopper_kernels::Precision;

use super::window::Window;
use crate::autograd::optimizer::{AdamW, LinearSchedule};
use crate::autograd::{Gradients, Tape, read};
use crate::calibration::{HiddenStates, shuffle};
use crate::error::Result;

/// How a window trains.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Passes over the training sequences.
    pub epochs: usize,
    /// Sequences per step.
    pub batch: usize,
    /// Peak step of a weight, as a share of the root mean square of its tensor.
    pub learning_rate: f32,
    /// Share of the steps spent warming up.
    pub warm_up: f32,
    /// AdamW's weight decay.
    pub weight_decay: f32,
    /// Whether norm weights train too.
    pub train_norms: bool,
    /// How linear layers multiply.
    pub precision: Precision,
    /// Of the order of batches.
    pub seed: u64,
}

/// What a window trains on. The first `train` sequences train, the others are held out.
pub struct WindowData<'a> {
    /// What the window reads.
    pub inputs: &'a HiddenStates,
    /// What it should give.
    pub targets: &'a HiddenStates,
    /// How many sequences train.
    pub train: usize,
}

/// What became of a window, for the report.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Outcome {
    /// Mean squared error on held-out sequences before training.
    pub held_out_before: Option<f64>,
    /// The same after it.
    pub held_out_after: Option<f64>,
    /// Mean training loss of each epoch, relative to the loss before training.
    pub losses: Vec<f64>,
    /// Peak learning rate of the attempt that was kept.
    pub learning_rate: f32,
    /// Attempts thrown away because they ended worse than they began.
    pub restored: usize,
    /// Seconds.
    pub seconds: f64,
}

/// Attempts at a window, each with a quarter of the learning rate of the one before.
const ATTEMPTS: usize = 3;

/// Trains the kept weights of a window; what is pruned stays zero. Ends no worse than it began on held-out sequences.
/// A window that lost nothing is left alone.
///
/// # Errors
/// If memory is short.
pub fn reconstruct(window: &mut Window, data: &WindowData, settings: &Settings) -> Result<Outcome> {
    let started = Instant::now();
    if !window.is_pruned() {
        return Ok(Outcome::default());
    }
    let before = held_out_error(window, data, settings)?;
    let mut outcome = Outcome { held_out_before: before, held_out_after: before, ..Default::default() };
    let original = window.snapshot()?;
    let mut learning_rate = settings.learning_rate;
    for attempt in 0..ATTEMPTS {
        let losses = train(window, data, &Settings { learning_rate, ..*settings })?;
        let after = held_out_error(window, data, settings)?;
        let finite = losses.iter().all(|loss| loss.is_finite()) && window.is_finite()?;
        if finite && after.zip(before).is_none_or(|(after, before)| after <= before) {
            outcome = Outcome { held_out_after: after, losses, learning_rate, restored: attempt, ..outcome };
            break;
        }
        window.restore(original.clone());
        outcome.restored = attempt + 1;
        learning_rate /= 4.0;
    }
    outcome.seconds = started.elapsed().as_secs_f64();
    Ok(outcome)
}

/// One attempt. Returns the mean loss of each epoch.
fn train(window: &mut Window, data: &WindowData, settings: &Settings) -> Result<Vec<f64>> {
    let mut optimizer = window.optimizer(settings.train_norms, settings.weight_decay)?;
    let mut order: Vec<usize> = (0..data.train).collect();
    let steps = settings.epochs * order.len().div_ceil(settings.batch);
    let schedule = LinearSchedule { peak: settings.learning_rate, warm_up: settings.warm_up, steps };
    let mut gradients = Gradients::default();
    let (mut scale, mut step, mut losses) = (None, 0, Vec::new());
    for epoch in 0..settings.epochs {
        shuffle(&mut order, settings.seed.wrapping_add(epoch as u64));
        let (mut sum, mut count) = (0.0, 0usize);
        for indices in order.chunks(settings.batch) {
            sum += train_step(
                window,
                data,
                indices,
                &mut scale,
                &mut gradients,
                (&mut optimizer, schedule.rate(step)),
                settings.precision,
            )?;
            (step, count) = (step + 1, count + 1);
        }
        losses.push(sum / count.max(1) as f64);
    }
    Ok(losses)
}

/// Forward, backward, update. `scale` normalises the loss; the first step finds it.
fn train_step(
    window: &Window,
    data: &WindowData,
    indices: &[usize],
    scale: &mut Option<f32>,
    gradients: &mut Gradients,
    (optimizer, rate): (&mut AdamW, f32),
    precision: Precision,
) -> Result<f64> {
    let (x, sequences) = data.inputs.batch(indices)?;
    let (target, _) = data.targets.batch(indices)?;
    let mut tape = Tape::new(precision, optimizer.tensors());
    let y = window.forward(&mut tape, &x, &sequences)?;
    let scale = if let Some(scale) = *scale {
        scale
    } else {
        let error = Tape::inference(precision).squared_error(&y.tensor().into(), &target, 1.0)?;
        *scale.insert(error.tensor().to_scalar::<f32>()?.max(f32::MIN_POSITIVE).recip().min(1e30))
    };
    let loss = tape.squared_error(&y, &target, scale)?;
    let value = f64::from(loss.tensor().to_scalar::<f32>()?);
    gradients.clear();
    tape.backward(&loss, gradients)?;
    optimizer.step(gradients, rate)?;
    Ok(value)
}

/// Mean squared error over the held-out sequences; `None` without any.
fn held_out_error(window: &Window, data: &WindowData, settings: &Settings) -> Result<Option<f64>> {
    let (mut sum, mut count) = (0.0, 0usize);
    let held_out: Vec<usize> = (data.train..data.inputs.len()).collect();
    for indices in held_out.chunks(settings.batch) {
        let (x, sequences) = data.inputs.batch(indices)?;
        let (target, _) = data.targets.batch(indices)?;
        let y = window.forward(&mut Tape::inference(settings.precision), &x, &sequences)?;
        let y = y.tensor().to_device(&candle_core::Device::Cpu)?;
        sum += read([&y, &target.to_device(y.device())?], |[y, target]| lopper_kernels::squared_error(y, target))?;
        count += y.elem_count();
    }
    Ok((count > 0).then(|| sum / count as f64))
}
