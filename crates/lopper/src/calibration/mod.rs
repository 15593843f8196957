//! Calibration: which tokens, their hidden states on the way through the model, and what linear layers see of them.

mod collector;
mod hidden_states;
mod kept_states;
mod parked;
mod sampling;
mod statistics;
mod storage;

pub use collector::{BlockStatistics, Collector, Of, SeenInputs};
pub use hidden_states::{HiddenDtype, HiddenStates, batches};
pub use sampling::{Sampling, draw_windows, shuffle};
pub use statistics::{InputStatistics, Needs};
pub use storage::{Scratch, Storage};

pub(crate) use hidden_states::AT_ONCE;
pub(crate) use parked::Parked;
pub(crate) use sampling::{MOST_OUTPUTS, MOST_PRODUCTS, looked_at};
