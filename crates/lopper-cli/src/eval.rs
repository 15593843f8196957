//! `lopper eval`: perplexity of a model on texts.

use std::path::PathBuf;

use lopper::checkpoint::Checkpoint;
use lopper::evaluation::{ScoredText, Windows, open_tokenizer, perplexity};
use lopper::model::Decoder;
use lopper::plan::Plan;
use lopper::progress::{Event, Observer};
use lopper::report::TextScore;
use lopper::{Error, Result};
use serde::Serialize;

use crate::args::EvalArgs;
use crate::demo::DEMO;
use crate::interrupt::Interrupt;
use crate::model::Model;
use crate::render::progress::Progress;
use crate::render::table::{Align, Table};
use crate::render::{output, units};

/// What `--json` prints.
#[derive(Serialize)]
struct Evaluation {
    model: String,
    texts: Vec<TextScore>,
}

/// Scores every text and prints the result.
///
/// # Errors
/// If model or texts cannot be used.
pub fn run(args: &EvalArgs, quiet: bool) -> Result<()> {
    let interrupt = Interrupt::install();
    let mut progress = Progress::new(quiet);
    let model = Model::locate(&args.model, &interrupt, &mut progress)?;
    let plan = plan(args, texts(args, &model)?);
    let scores = lopper::prune::in_pool(plan.compute.threads, || score(&plan, &model, &mut progress));
    progress.finish(scores.is_ok());
    let evaluation = Evaluation { model: model.name, texts: scores? };
    if args.json {
        return output::json(&evaluation);
    }
    output::print(&table(&evaluation))
}

/// The files to score as they stand; for the demo, when nothing is asked for, its own text.
fn texts(args: &EvalArgs, model: &Model) -> Result<Vec<PathBuf>> {
    if !args.text.is_empty() || !args.wikitext.is_empty() {
        return Ok(args.text.clone());
    }
    model.demo().map(|_| vec![DEMO.into()]).ok_or_else(|| Error::Plan {
        problem: "there is no text to score".into(),
        hint: Some("give --text FILE or --wikitext FILE".into()),
    })
}

/// The part of a plan that evaluation obeys.
fn plan(args: &EvalArgs, texts: Vec<PathBuf>) -> Plan {
    let mut plan = Plan::default();
    args.compute.apply(&mut plan);
    plan.evaluation.texts = texts;
    plan.evaluation.wikitext.clone_from(&args.wikitext);
    (plan.evaluation.seqlen, plan.evaluation.windows) = (args.seqlen, args.windows);
    plan
}

fn score(plan: &Plan, model: &Model, progress: &mut Progress) -> Result<Vec<TextScore>> {
    progress.event(Event::Stage { name: "opening the model and the texts" });
    let device = lopper::device::open(&plan.compute.device)?;
    let decoder = Decoder::open(Checkpoint::open(model.directory())?, device)?;
    plan.validate(decoder.spec())?;
    let tokenizer = open_tokenizer(model.directory(), decoder.spec())?;
    let windows = Windows { length: plan.evaluation_seqlen(decoder.spec()), count: plan.evaluation.windows };
    let texts = ScoredText::read_all(&plan.evaluation.texts, &plan.evaluation.wikitext, &tokenizer, windows)?;
    decoder.check_finite()?;
    let mut scores = Vec::new();
    for text in texts {
        progress.event(Event::Stage { name: &format!("scoring {}", text.name) });
        let share = &mut |fraction| progress.event(Event::Progress(fraction));
        let score = perplexity(&decoder, &text.tokens, text.windows, plan.compute.dtype.precision(), share)?;
        scores.push(TextScore { text: text.name, score });
    }
    Ok(scores)
}

fn table(evaluation: &Evaluation) -> String {
    let header =
        [("text", Align::Left), ("perplexity", Align::Right), ("windows", Align::Right), ("tokens each", Align::Right)];
    let mut table = Table::new(header);
    for TextScore { text, score } in &evaluation.texts {
        let counts = [score.windows, score.seqlen].map(units::count);
        table.row([text.clone(), units::perplexity(score.perplexity)].into_iter().chain(counts));
    }
    format!("Perplexity of {} (lower is better)\n\n{table}", evaluation.model)
}
