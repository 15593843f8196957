//! How often hidden states are kept: writing them should take a small part of the time.

use std::time::{Duration, Instant};

/// One part in so many at most.
const SHARE: u32 = 50;

/// When hidden states are kept.
#[derive(Default)]
pub(super) struct Pace {
    /// When that was done last, and how long it took.
    last: Option<(Instant, Duration)>,
}

impl Pace {
    /// Whether enough time went by.
    pub fn is_due(&self) -> bool {
        self.last.is_none_or(|(when, took)| when.elapsed() >= SHARE * took)
    }

    /// They have just been kept, which began then.
    pub fn kept(&mut self, since: Instant) {
        self.last = Some((Instant::now(), since.elapsed()));
    }
}
