//! Optimisers and their learning-rate schedule.

mod adamw;
mod schedule;

pub use adamw::AdamW;
pub use schedule::LinearSchedule;
