//! `lopper eval`: perplexity of a model on texts, its answers to tasks, and how it differs from another.

mod table;

use std::path::{Path, PathBuf};

use lopper::checkpoint::Checkpoint;
use lopper::evaluation::{Comparison, Scores, Suite, TaskDifference, TextDifference, harness, records};
use lopper::model::Decoder;
use lopper::plan::{ComputeDtype, Plan};
use lopper::progress::{Event, Observer};
use lopper::{Error, Result};
use serde::Serialize;

use crate::args::EvalArgs;
use crate::demo::DEMO;
use crate::interrupt::Interrupt;
use crate::model::Model;
use crate::render::output;
use crate::render::progress::Progress;

/// What `--json` prints.
#[derive(Serialize)]
struct Evaluation {
    model: String,
    /// In which linear layers were computed.
    dtype: ComputeDtype,
    #[serde(flatten)]
    scores: Scores,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<Against>,
}

/// The model that `--against` names, and how the other differs from it.
#[derive(Serialize)]
struct Against {
    model: String,
    #[serde(flatten)]
    scores: Scores,
    text_differences: Vec<TextDifference>,
    task_differences: Vec<TaskDifference>,
}

/// Scores every text and task, and prints the result.
///
/// # Errors
/// If model, texts or data cannot be used.
pub fn run(args: &EvalArgs, quiet: bool) -> Result<()> {
    let interrupt = Interrupt::install();
    let mut progress = Progress::new(quiet);
    let model = Model::locate(&args.model, &interrupt, &mut progress)?;
    let against = args.against.as_deref().map(|name| Model::locate(name, &interrupt, &mut progress)).transpose()?;
    let plan = plan(args, texts(args, &model)?);
    let evaluation =
        lopper::prune::in_pool(plan.compute.threads, || measure(args, &plan, &model, against.as_ref(), &mut progress));
    progress.finish(evaluation.is_ok());
    let evaluation = evaluation?;
    // printed first: a file that cannot be written must not take the result with it
    if args.json {
        output::json(&evaluation)?;
    } else {
        output::print(&table::text(&evaluation))?;
    }
    write_files(args, &evaluation)
}

/// The files to score as they stand; for the demo, when nothing is asked for, its own text.
fn texts(args: &EvalArgs, model: &Model) -> Result<Vec<PathBuf>> {
    if !args.text.is_empty() || !args.wikitext.is_empty() || !args.tasks.is_empty() {
        return Ok(args.text.clone());
    }
    model.demo().map(|_| vec![DEMO.into()]).ok_or_else(|| Error::Plan {
        problem: "there is neither a text nor a task to score".into(),
        hint: Some("give --text FILE, --wikitext FILE, or --tasks NAME".into()),
    })
}

/// The part of a plan that evaluation obeys.
fn plan(args: &EvalArgs, texts: Vec<PathBuf>) -> Plan {
    let mut plan = Plan::default();
    args.compute.apply(&mut plan);
    let evaluation = &mut plan.evaluation;
    evaluation.texts = texts;
    evaluation.wikitext.clone_from(&args.wikitext);
    (evaluation.seqlen, evaluation.windows) = (args.seqlen, args.windows);
    evaluation.tasks.clone_from(&args.tasks);
    evaluation.task_data.clone_from(&args.task_data);
    (evaluation.limit, evaluation.examples) = (args.limit, args.num_fewshot);
    plan
}

fn measure(
    args: &EvalArgs,
    plan: &Plan,
    model: &Model,
    against: Option<&Model>,
    progress: &mut Progress,
) -> Result<Evaluation> {
    let is_read_once = |text: &&PathBuf| text.exists() && !text.is_file() && !text.is_dir();
    if let (Some(_), Some(text)) = (against, args.text.iter().chain(&args.wikitext).find(is_read_once)) {
        return Err(Error::Text {
            problem: format!(
                "{}: this is a pipe, which can be read once; with --against a text is read for each model",
                text.display()
            ),
            hint: Some("write the text to a file first".into()),
        });
    }
    progress.event(Event::Stage { name: "opening the model and the texts" });
    let decoder = open(plan, model)?;
    let mut evaluation_set = plan.evaluation_set(decoder.spec());
    evaluation_set.asking.split.clone_from(&args.fewshot_split);
    evaluation_set.asking.seed = args.seed;
    let suite = Suite::read(&evaluation_set, model.directory(), &decoder, progress)?;
    let notes = decoder.notes()?;
    notes.iter().chain(&suite.notes).for_each(|note| progress.event(Event::Warning(note)));
    decoder.check_finite()?;
    let (dtype, name) = (plan.compute.dtype.chosen(), model.name.clone());
    let precision = dtype.precision();
    let Some(against) = against else {
        return Ok(Evaluation {
            scores: suite.score(&name, &decoder, precision, progress)?,
            model: name,
            dtype,
            against: None,
        });
    };
    let reference = open(plan, against)?;
    if !suite.has_tokens_of(&Suite::read(&evaluation_set, against.directory(), &reference, progress)?) {
        return Err(Error::Model {
            problem: format!("{} and {} cut the same text into different tokens", model.name, against.name),
            hint: Some("compare a model with the one it was made from".into()),
        });
    }
    reference.check_finite()?;
    let Comparison { scores, reference, texts, tasks } = suite.compare([&decoder, &reference], precision, progress)?;
    let against =
        Against { model: against.name.clone(), scores: reference, text_differences: texts, task_differences: tasks };
    Ok(Evaluation { model: name, dtype, scores, against: Some(against) })
}

fn open(plan: &Plan, model: &Model) -> Result<Decoder> {
    let decoder = Decoder::open(Checkpoint::open(model.directory())?)?;
    plan.validate(decoder.spec())?;
    Ok(decoder)
}

/// Writes what `--records` and `--harness-json` ask for.
fn write_files(args: &EvalArgs, evaluation: &Evaluation) -> Result<()> {
    let Evaluation { model, scores, .. } = evaluation;
    if let Some(file) = &args.records {
        write(file, &records(&scores.tasks))?;
    }
    if let Some(file) = &args.harness_json {
        write(file, &format!("{:#}\n", harness(model, &scores.tasks)))?;
    }
    Ok(())
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).map_err(Error::io("write", file))
}
