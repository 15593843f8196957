//! Calibration: which tokens, their hidden states on the way through the model, and what linear layers see of them.

mod hidden_states;
mod kept_states;
mod sampling;
mod statistics;

pub use hidden_states::{HiddenDtype, HiddenStates, batches};
pub use sampling::{Sampling, draw_windows, shuffle};
pub use statistics::{InputStatistics, Needs, SeenInputs, StatisticsTap};

pub(crate) use hidden_states::AT_ONCE;
