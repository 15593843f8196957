//! Everything a run needs, opened and checked before the first forward pass.

use std::path::Path;

use crate::calibration::{Storage, draw_windows};
use crate::error::{Error, Result};
use crate::evaluation::{ScoredText, Suite, Windows, open_tokenizer, tokenize};
use crate::explain::{Budget, Estimate, Texts};
use crate::model::{Decoder, DecoderSpec};
use crate::plan::Plan;
use crate::progress::{Event, Observer};
use crate::report::{ScoredModel, Stage, Timings};
use crate::schedule::Run;
use crate::text::{Tokenizer, builtin_text, read_text, read_wikitext};

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
            // a path that is not UTF-8 has no form in a report: better to know now
            plan.to_toml()?;
            let tokenizer = open_tokenizer(model.checkpoint().dir(), run.spec)?;
            let samples = calibration(plan, run.spec, &tokenizer, &mut warnings)?;
            let suite = suite(plan, model, &samples, observer)?;
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

fn calibration(
    plan: &Plan,
    spec: &DecoderSpec,
    tokenizer: &Tokenizer,
    warnings: &mut Vec<String>,
) -> Result<Vec<Vec<u32>>> {
    let (length, count) = (plan.calibration_seqlen(spec), plan.calibration.samples + plan.calibration.held_out);
    let mut tokens = Vec::new();
    if plan.calibration.files.is_empty() && plan.calibration.wikitext.is_empty() {
        let why = "calibrating on built-in text; text like what the model will read gives a better result (--calibration FILE)";
        warnings.extend((plan.model != "demo").then(|| why.into()));
        tokens = builtin_text(tokenizer, length * count)?;
    }
    for file in &plan.calibration.files {
        tokens.extend(tokenize(&read_text(file)?, tokenizer)?);
    }
    for file in &plan.calibration.wikitext {
        tokens.extend(tokenize(&[read_wikitext(file)?], tokenizer)?);
    }
    draw_windows(&tokens, length, count, plan.calibration.sampling, plan.calibration.seed)
}

/// Texts and tasks of the plan; without any, the held-out calibration windows.
fn suite(plan: &Plan, model: &Decoder, samples: &[Vec<u32>], observer: &mut dyn Observer) -> Result<Suite> {
    let directory = model.checkpoint().dir();
    let mut suite = Suite::read(&plan.evaluation_set(model.spec()), directory, model, observer)?;
    let held_out = &samples[plan.calibration.samples..];
    if suite.is_empty() && !held_out.is_empty() {
        let windows = Windows { length: held_out[0].len(), count: None };
        suite.texts.push(ScoredText::new("held-out calibration windows".into(), held_out.concat(), windows)?);
    }
    Ok(suite)
}
