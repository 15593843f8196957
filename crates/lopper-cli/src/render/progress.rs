//! Progress on stderr: a bar with the time left on a terminal, a line per stage elsewhere, nothing when asked to be quiet.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use lopper::progress::{Event, Observer};

/// Steps of a bar.
const STEPS: u64 = 1000;

/// Shows what a run tells.
pub struct Progress {
    mode: Mode,
}

enum Mode {
    Quiet,
    /// A line per stage.
    Lines,
    /// The bar of the stage at hand.
    Bar(ProgressBar),
}

impl Progress {
    /// Chooses how to show it.
    pub fn new(quiet: bool) -> Self {
        let mode = match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Mode::Quiet,
            (false, false) => Mode::Lines,
            (false, true) => Mode::Bar(ProgressBar::hidden()),
        };
        Self { mode }
    }

    /// Ends the last stage.
    pub fn finish(&mut self, done: bool) {
        if let Mode::Bar(bar) = &self.mode {
            end(bar, done);
            self.mode = Mode::Bar(ProgressBar::hidden());
        }
    }

    fn begin(&mut self, name: &str) {
        match &mut self.mode {
            Mode::Quiet => {}
            Mode::Lines => eprintln!("{name}"),
            Mode::Bar(bar) => {
                end(bar, true);
                *bar = ProgressBar::new(STEPS).with_style(unknown()).with_message(name.to_owned());
                bar.enable_steady_tick(Duration::from_millis(120));
            }
        }
    }

    fn line(&self, text: &str) {
        match &self.mode {
            Mode::Quiet => {}
            Mode::Lines => eprintln!("{text}"),
            Mode::Bar(bar) => bar.suspend(|| anstream::eprintln!("{text}")),
        }
    }
}

impl Observer for Progress {
    fn event(&mut self, event: Event) {
        match event {
            Event::Stage { name } => self.begin(name),
            Event::Progress(share) => {
                if let Mode::Bar(bar) = &self.mode {
                    if bar.position() == 0 {
                        bar.set_style(known());
                    }
                    bar.set_position((share.clamp(0.0, 1.0) * STEPS as f64) as u64);
                }
            }
            Event::Detail(text) => {
                if let Mode::Bar(bar) = &self.mode {
                    bar.suspend(|| anstream::eprintln!("  {text}"));
                }
            }
            Event::Warning(text) => self.line(&format!("warning: {text}")),
        }
    }
}

/// Replaces a bar by a line that stays; a hidden bar has none.
fn end(bar: &ProgressBar, done: bool) {
    if bar.is_hidden() {
        return;
    }
    let mark = if done { "✓" } else { "✗" };
    let line = format!("{mark} {} ({})", bar.message(), super::units::seconds(bar.elapsed().as_secs_f64()));
    bar.finish_and_clear();
    anstream::eprintln!("{line}");
}

/// A stage of which it is not known how far it is.
fn unknown() -> ProgressStyle {
    style("{spinner} {msg} {elapsed}")
}

/// A stage that tells how far it is.
fn known() -> ProgressStyle {
    style("{spinner} {msg} {bar:30} {percent:>3} %  {eta} left").progress_chars("━╸ ")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates are constants that parse")
}
