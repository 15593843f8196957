//! Everything a run needs, opened and checked before the first forward pass.

use std::path::Path;

use crate::calibration::{Sampling, Storage, draw_windows};
use crate::checkpoint::{Checkpoint, left_out};
use crate::error::{Error, Result};
use crate::evaluation::{HELD_OUT, ScoredText, Suite, Windows, open_tokenizer};
use crate::explain::{Budget, Estimate, Texts};
use crate::model::Decoder;
use crate::plan::{CalibrationPlan, Plan};
use crate::progress::{Event, Observer};
use crate::report::{ScoredModel, Stage, Timings};
use crate::schedule::Run;
use crate::text::{Choice, Excerpt, Form, Reader, Tokenizer, all_files, builtin_text};

/// Files that a warning names.
const FILES_NAMED: usize = 8;

/// A valid run: texts are tokens, names are functions.
pub(super) struct Job<'a> {
    /// Calibration sequences; those from `plan.calibration.samples` on are held out.
    pub samples: Vec<Vec<u32>>,
    suite: Suite,
    precision: lopper_kernels::Precision,
    /// Where hidden states are kept.
    pub storage: Storage,
    /// Bytes of the disk that they may take.
    pub scratch: u64,
    pub timings: Timings,
    pub warnings: Vec<String>,
    pub observer: &'a mut (dyn Observer + Send),
}

impl<'a> Job<'a> {
    /// Opens and checks everything that the run reads.
    pub fn open(run: &Run, model: &Decoder, observer: &'a mut (dyn Observer + Send)) -> Result<Self> {
        observer.event(Event::Stage { name: "opening the model and the texts" });
        let mut timings = Timings::default();
        let mut warnings = Vec::new();
        let plan = &run.plan;
        let (samples, suite) = timings.measure(Stage::Open, || {
            warnings.extend(model.notes()?);
            warnings.extend(left_behind(model.checkpoint())?);
            // a path that is not UTF-8 has no form in a report: better to know now
            plan.to_toml()?;
            let tokenizer = open_tokenizer(model.checkpoint().dir(), run.spec)?;
            let samples = calibration(plan, model, &tokenizer, &mut warnings, observer)?;
            let suite = suite(plan, model, &samples, observer)?;
            warnings.extend(suite.notes.iter().cloned());
            model.check_finite()?;
            Ok::<_, Error>((samples, suite))
        })?;
        if suite.is_empty() {
            warnings.push(
                "nothing is evaluated: there is neither a text, a task, nor a held-out calibration window".into(),
            );
        }
        for warning in &warnings {
            observer.event(Event::Warning(warning));
        }
        let precision = plan.compute.dtype.precision();
        let (storage, scratch) = (Storage::Memory, 0);
        Ok(Self { samples, suite, precision, storage, scratch, timings, warnings, observer })
    }

    /// Keeps hidden states on the disk of the output where they would not fit in memory.
    pub fn fit(&mut self, run: &Run, out: &Path) -> Result<()> {
        let lengths: Vec<usize> = self.suite.texts.iter().map(|text| text.tokens.len()).collect();
        let budget = Budget::of(&run.plan);
        let estimate = Estimate::new(run, Texts::of(&run.plan, run.spec, &lengths), budget.bytes());
        if let Some(warning) = budget.check(&estimate)? {
            self.warn(warning);
        }
        if estimate.scratch > 0 {
            let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty());
            self.storage = Storage::on_disk(parent.unwrap_or(Path::new(".")))?;
            self.scratch = estimate.scratch;
        }
        Ok(())
    }

    /// Scores a model on every text and task.
    pub fn evaluate(&mut self, name: &str, decoder: &Decoder) -> Result<ScoredModel> {
        let Self { suite, timings, observer, precision, .. } = self;
        let what = format!("the {name} model");
        let scores = timings.measure(Stage::Evaluate, || suite.score(&what, decoder, *precision, *observer))?;
        Ok(ScoredModel { name: name.into(), scores, against_dense: Vec::new() })
    }

    /// Names all that was read: tokens of calibration, texts and tasks, with the right answers.
    pub fn digest(&self) -> String {
        let mut digest = blake3::Hasher::new();
        let texts = self.suite.texts.iter().map(|text| &text.tokens);
        let passages = self.suite.question_sets.iter().flat_map(|(_, passages)| passages);
        let questions = self.suite.question_sets.iter().flat_map(|(set, _)| &set.questions);
        for place in passages.clone().map(|passage| passage.first).chain(questions.map(|question| question.gold)) {
            digest.update(&(place as u64).to_le_bytes());
        }
        for tokens in self.samples.iter().chain(texts).chain(passages.map(|passage| &passage.tokens)) {
            digest.update(&(tokens.len() as u64).to_le_bytes());
            for token in tokens {
                digest.update(&token.to_le_bytes());
            }
        }
        digest.finalize().to_hex().to_string()
    }

    /// Goes on with the accounts of an earlier run.
    pub fn take_up(&mut self, timings: &Timings, warnings: &[String]) {
        self.timings.add(timings);
        let own = std::mem::replace(&mut self.warnings, warnings.to_vec());
        let new = own.into_iter().filter(|warning| !warnings.contains(warning));
        self.warnings.extend(new);
    }

    /// Tells the user something and keeps it for the report.
    pub fn warn(&mut self, warning: String) {
        self.observer.event(Event::Warning(&warning));
        self.warnings.push(warning);
    }
}

/// Calibration sequences, as the plan says; text of the program where it names none.
fn calibration(
    plan: &Plan,
    model: &Decoder,
    tokenizer: &Tokenizer,
    warnings: &mut Vec<String>,
    observer: &mut dyn Observer,
) -> Result<Vec<Vec<u32>>> {
    let CalibrationPlan { files, wikitext, samples, held_out, sampling, seed, .. } = &plan.calibration;
    let (length, count) = (plan.calibration_seqlen(model.spec()), samples + held_out);
    let tokens = if files.is_empty() && wikitext.is_empty() {
        let why = "calibrating on built-in text; text like what the model will read gives a better result (--calibration FILE)";
        warnings.extend((plan.model != "demo").then(|| why.into()));
        builtin_text(tokenizer, length * count)?
    } else {
        let files = [(files, Form::Plain), (wikitext, Form::WikiText)]
            .map(|(paths, form)| Ok(all_files(paths)?.into_iter().map(|file| (file, form)).collect::<Vec<_>>()));
        let files = files.into_iter().collect::<Result<Vec<_>>>()?.concat();
        let choice = if *sampling == Sampling::First { Choice::First } else { Choice::Seeded(*seed) };
        let excerpt = Excerpt { files, choice, tokens: Some(length.saturating_mul(count)), tokenizer };
        let mut reader = Reader::of(model.checkpoint().dir());
        let tokens = excerpt.read(&mut reader, &mut |share| observer.event(Event::Progress(share)))?;
        warnings.extend(reader.notes().map(String::from));
        tokens
    };
    draw_windows(&tokens, length, count, *sampling, *seed)
}

/// What beside the weights does not come along into the output, if anything does not.
fn left_behind(checkpoint: &Checkpoint) -> Result<Option<String>> {
    let files = left_out(checkpoint)?;
    let names: Vec<String> = files.iter().take(FILES_NAMED).map(|file| file.display().to_string()).collect();
    let more = files.len() - names.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let what = "not copied to the output (other weights, hidden files, links and folders too deep)";
    Ok((!names.is_empty()).then(|| format!("{what}: {}{more}", names.join(", "))))
}

/// Texts and tasks of the plan; without any, the held-out calibration windows.
fn suite(plan: &Plan, model: &Decoder, samples: &[Vec<u32>], observer: &mut dyn Observer) -> Result<Suite> {
    let directory = model.checkpoint().dir();
    let mut suite = Suite::read(&plan.evaluation_set(model.spec()), directory, model, observer)?;
    let held_out = &samples[plan.calibration.samples..];
    if suite.is_empty() && !held_out.is_empty() {
        let windows = Windows { length: held_out[0].len(), count: None };
        suite.texts.push(ScoredText::new(HELD_OUT.into(), held_out.concat(), windows)?);
    }
    Ok(suite)
}
