//! What became of a window.

/// What became of a window, for the report.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Outcome {
    /// Error on held-out sequences before training: the mean squared error, or the mean of another loss over tokens.
    pub held_out_before: Option<f64>,
    /// The same after it.
    pub held_out_after: Option<f64>,
    /// The same after each epoch.
    pub held_out: Vec<f64>,
    /// Mean training loss of each epoch, relative to the loss before training.
    pub losses: Vec<f64>,
    /// The same in the course of training, at most 32 points.
    pub curve: Vec<f64>,
    /// Peak learning rate of the attempt that was kept, as it was used: over the root of the depth of the window.
    pub learning_rate: f32,
    /// Of the way from where training began to where its best epoch ended, so much is kept: beyond 1 where held-out sequences gained by
    /// going on; 0 where nothing is.
    pub share: f32,
    /// Attempts thrown away because they led nowhere better.
    pub restored: usize,
    /// Tokens that went forward and backward in a second.
    pub tokens_per_second: f64,
    /// Seconds.
    pub seconds: f64,
}
