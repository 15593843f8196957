//! One run after the other: those already made are taken from their files, those that fail do not stop the others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde::Serialize;

use super::directory::{Directory, Finding, Outcome, Record};
use super::grid::Case;
use super::settings::describe;
use super::wrong;
use crate::error::{Error, Result};
use crate::progress::{Event, Observer};

/// What became of every run, in the order of the grid.
#[derive(Debug, Default)]
pub(super) struct Executed {
    pub records: Vec<Record>,
    /// How many were taken from files.
    pub taken: usize,
    /// Of the first run that failed.
    pub failure: Option<Error>,
}

/// Makes a run.
pub(super) type Run<'a, S> = dyn FnMut(&Case<S>, &mut (dyn Observer + Send)) -> Result<Finding> + 'a;

/// Makes every run of `cases` that has no `known` record.
///
/// # Errors
/// If a record cannot be written. A run that fails is no error here.
pub(super) fn execute<S: Serialize>(
    cases: &[Case<S>],
    known: Vec<Option<Record>>,
    titles: &[String],
    directory: &Directory,
    run: &mut Run<S>,
    observer: &mut (dyn Observer + Send),
) -> Result<Executed> {
    let mut executed = Executed::default();
    let mut pace = Pace { left: known.iter().filter(|record| record.is_none()).count(), ..Pace::default() };
    let mut seen = BTreeSet::new();
    for (number, (case, known)) in cases.iter().zip(known).enumerate() {
        if let Some(record) = known {
            executed.taken += 1;
            executed.records.push(record);
            continue;
        }
        let name = format!("run {} of {}: {}", number + 1, cases.len(), describe(titles, &case.point));
        observer.event(Event::Stage { name: &format!("{name}{}", pace.left_in_words()) });
        let started = Instant::now();
        let result = run(case, &mut RunObserver { observer, started, expected: pace.mean(), seen: &mut seen });
        pace.finish(started.elapsed().as_secs_f64());
        if let Err(error) = &result {
            observer.event(Event::Warning(&format!("{name} failed: {error}")));
        }
        let record = record(case, titles, &result)?;
        directory.keep(&record)?;
        executed.records.push(record);
        executed.failure = executed.failure.or(result.err());
    }
    Ok(executed)
}

fn record<S: Serialize>(case: &Case<S>, titles: &[String], result: &Result<Finding>) -> Result<Record> {
    let labels = case.point.iter().map(|coordinate| coordinate.label.clone());
    let settings = serde_json::to_value(&case.settings)
        .map_err(|error| wrong(&format!("the settings of a run have no JSON form: {error}"), ""))?;
    Ok(Record {
        version: env!("CARGO_PKG_VERSION").into(),
        fingerprint: case.fingerprint.clone(),
        point: titles.iter().cloned().zip(labels).collect::<BTreeMap<_, _>>(),
        settings,
        outcome: match result {
            Ok(finding) => Outcome::Done(finding.clone()),
            Err(error) => Outcome::Failed(error.to_string()),
        },
    })
}

/// How long runs take.
#[derive(Default)]
struct Pace {
    seconds: f64,
    done: usize,
    left: usize,
}

impl Pace {
    fn finish(&mut self, seconds: f64) {
        (self.seconds, self.done, self.left) = (self.seconds + seconds, self.done + 1, self.left - 1);
    }

    /// Seconds of a run, once there was one.
    fn mean(&self) -> Option<f64> {
        (self.done > 0).then(|| self.seconds / self.done as f64)
    }

    /// What follows the name of a run; nothing before the first has ended.
    fn left_in_words(&self) -> String {
        let Some(seconds) = self.mean().map(|mean| mean * self.left as f64) else { return String::new() };
        let time = match seconds {
            ..90.0 => format!("{seconds:.0} s"),
            ..5400.0 => format!("{:.0} min", seconds / 60.0),
            _ => format!("{:.1} h", seconds / 3600.0),
        };
        format!(" (all in about {time})")
    }
}

/// Shows a run as one stage, as far as runs before it took time; tells each warning once.
struct RunObserver<'a> {
    observer: &'a mut (dyn Observer + Send),
    started: Instant,
    expected: Option<f64>,
    seen: &'a mut BTreeSet<String>,
}

/// A run that takes longer than those before it stays here.
const ALMOST: f64 = 0.99;

impl Observer for RunObserver<'_> {
    fn event(&mut self, event: Event) {
        match event {
            Event::Stage { .. } | Event::Progress(_) => {
                if let Some(expected) = self.expected {
                    let share = self.started.elapsed().as_secs_f64() / expected.max(1e-9);
                    self.observer.event(Event::Progress(share.min(ALMOST)));
                }
            }
            Event::Detail(_) => {}
            Event::Warning(text) => {
                if self.seen.insert(text.to_owned()) {
                    self.observer.event(Event::Warning(text));
                }
            }
        }
    }
}
