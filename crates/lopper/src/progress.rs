//! What a run tells while it runs.

/// Something worth showing.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A stage begins; it ends when the next one does.
    Stage {
        /// What is happening.
        name: &'a str,
    },
    /// How far the stage is, in [0, 1].
    Progress(f64),
    /// A line about what has just happened.
    Detail(&'a str),
    /// Something the user should know.
    Warning(&'a str),
}

/// Sees the events of a run.
pub trait Observer {
    /// Called in the thread of the run.
    fn event(&mut self, event: Event);
}

/// Shows nothing.
pub struct Silent;

impl Observer for Silent {
    fn event(&mut self, _: Event) {}
}

impl<F: FnMut(Event)> Observer for F {
    fn event(&mut self, event: Event) {
        self(event);
    }
}
