//! Everything a run needs, opened and checked before the first forward pass.

use std::path::Path;

use candle_core::Device;

use crate::calibration::draw_windows;
use crate::checkpoint::Checkpoint;
use crate::device;
use crate::error::{Error, Result};
use crate::evaluation::{ScoredText, Windows, open_tokenizer, perplexity, tokenize};
use crate::model::{Decoder, DecoderSpec};
use crate::plan::Plan;
use crate::progress::{Event, Observer};
use crate::report::{Rung, Stage, TextScore, Timings};
use crate::text::{Tokenizer, builtin_text, read_text, read_wikitext};

/// A valid run: texts are tokens, names are functions.
pub(super) struct Job<'a> {
    pub device: Device,
    /// Calibration windows; those from `plan.calibration.samples` on are held out.
    pub samples: Vec<Vec<u32>>,
    texts: Vec<ScoredText>,
    precision: lopper_kernels::Precision,
    pub timings: Timings,
    pub warnings: Vec<String>,
    pub observer: &'a mut (dyn Observer + Send),
}

impl<'a> Job<'a> {
    /// Opens and checks everything.
    pub fn open(plan: &Plan, model: &Path, observer: &'a mut (dyn Observer + Send)) -> Result<Self> {
        observer.event(Event::Stage { name: "opening the model and the texts" });
        let mut timings = Timings::default();
        let device = device::open(&plan.compute.device)?;
        let mut warnings = Vec::new();
        let (samples, texts) = timings.measure(Stage::Open, || {
            let decoder = Decoder::open(Checkpoint::open(model)?, Device::Cpu)?;
            plan.validate(decoder.spec())?;
            // a path that is not UTF-8 has no form in a report: better to know now
            plan.to_toml()?;
            let tokenizer = open_tokenizer(model, decoder.spec())?;
            let samples = calibration(plan, decoder.spec(), &tokenizer, &mut warnings)?;
            let texts = scored_texts(plan, decoder.spec(), &tokenizer, &samples)?;
            decoder.check_finite()?;
            Ok::<_, Error>((samples, texts))
        })?;
        if texts.is_empty() {
            warnings.push(
                "nothing is evaluated: there is neither a text to score nor a held-out calibration window".into(),
            );
        }
        for warning in &warnings {
            observer.event(Event::Warning(warning));
        }
        let precision = plan.compute.dtype.precision();
        Ok(Self { device, samples, texts, precision, timings, warnings, observer })
    }

    /// Scores every text.
    pub fn evaluate(&mut self, name: &str, decoder: &Decoder) -> Result<Rung> {
        let Self { texts, timings, observer, precision, .. } = self;
        let mut scores = Vec::new();
        for text in texts.iter() {
            observer.event(Event::Stage { name: &format!("scoring the {name} model on {}", text.name) });
            let progress = &mut |fraction| observer.event(Event::Progress(fraction));
            let score = timings
                .measure(Stage::Evaluate, || perplexity(decoder, &text.tokens, text.windows, *precision, progress))?;
            scores.push(TextScore { text: text.name.clone(), score });
        }
        Ok(Rung { name: name.into(), texts: scores })
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

/// The texts of the plan; without any, the held-out calibration windows.
fn scored_texts(
    plan: &Plan,
    spec: &DecoderSpec,
    tokenizer: &Tokenizer,
    samples: &[Vec<u32>],
) -> Result<Vec<ScoredText>> {
    let windows = Windows { length: plan.evaluation_seqlen(spec), count: plan.evaluation.windows };
    let mut texts = ScoredText::read_all(&plan.evaluation.texts, &plan.evaluation.wikitext, tokenizer, windows)?;
    let held_out = &samples[plan.calibration.samples..];
    if texts.is_empty() && !held_out.is_empty() {
        let windows = Windows { length: held_out[0].len(), count: None };
        texts.push(ScoredText::new("held-out calibration windows".into(), held_out.concat(), windows)?);
    }
    Ok(texts)
}
