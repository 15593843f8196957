//! `lopper study`: settle the study, make its runs, show the answer.

use std::path::{Path, PathBuf};

use lopper::plan::Plan;
use lopper::study::{Answer, Axis, BuiltIn, Runner, STUDIES, Study};
use lopper::{Error, Result};
use serde_json::{Value, json};

use crate::args::StudyArgs;
use crate::demo::Demo;
use crate::interrupt::Interrupt;
use crate::model::Model;
use crate::render::output;
use crate::render::progress::Progress;
use crate::render::table::{Align, Table};

/// Makes the runs, and prints the answer.
///
/// # Errors
/// If the study cannot be run; that of the first run that failed, after the answer was printed.
pub fn run(args: &StudyArgs, quiet: bool) -> Result<()> {
    let (Some(name), Some(out), false) = (&args.study, &args.out, args.list) else { return list(args) };
    let interrupt = Interrupt::install();
    let mut progress = Progress::new(quiet);
    let mut study = open(name)?;
    for axis in &args.axis {
        study.set_axis(Axis::parse(axis)?)?;
    }
    let model = match study.runner {
        Runner::Prune => Some(settle(&mut study, args, &interrupt, &mut progress)?),
        Runner::Solver => no_plan(args).map(|()| None)?,
    };
    interrupt.remove_partial(&out.join("models").join("model"));
    let directory = model.as_ref().map(Model::directory);
    let answer = lopper::study::run(&study, directory, out, args.keep, &mut progress);
    progress.finish(answer.as_ref().is_ok_and(|answer| answer.failure.is_none()));
    let mut answer = answer?;
    let failure = answer.failure.take();
    let shown = if args.json { output::json(&answer) } else { output::print(&text(&answer, out)) };
    shown.and(failure.map_or(Ok(()), Err))
}

/// A study inside this program, or that of a file.
fn open(name: &str) -> Result<Study> {
    let path = PathBuf::from(name);
    match BuiltIn::by_name(name) {
        Ok(known) => known.study(),
        Err(_) if path.exists() || path.extension().is_some() => Study::read(&path),
        Err(error) => Err(error),
    }
}

/// Finds the model and settles the plan that all runs start from: defaults, the file of `--plan`, the study, flags, in
/// this order.
fn settle(study: &mut Study, args: &StudyArgs, interrupt: &Interrupt, progress: &mut Progress) -> Result<Model> {
    let named = study.base.get("model").and_then(|name| name.as_str()).filter(|name| !name.is_empty());
    let name = args.model.as_deref().or(named).ok_or_else(|| Error::Plan {
        problem: "no model is named".into(),
        hint: Some(format!(
            "give a directory, a Hub id, or `demo`: lopper study {} demo -o {}-demo",
            study.name, study.name
        )),
    })?;
    let model = Model::locate(name, interrupt, progress)?;
    let mut start = match &args.plan.plan {
        Some(file) => Plan::read(file)?,
        None => model.demo().map(|_| Demo::plan()).unwrap_or_default(),
    };
    // each model of it would take another run, and no measure reads it
    start.evaluation.ladder = false;
    study.settle(&start, |plan| {
        plan.model.clone_from(&model.name);
        args.plan.apply(plan);
    })?;
    Ok(model)
}

/// A study that times solvers has no model and no plan.
fn no_plan(args: &StudyArgs) -> Result<()> {
    let mut plan = Plan::default();
    args.plan.apply(&mut plan);
    if args.model.is_none() && args.plan.plan.is_none() && plan == Plan::default() {
        return Ok(());
    }
    Err(Error::Plan {
        problem: "this study times solvers: it has neither a model nor a plan".into(),
        hint: Some("leave out MODEL and the flags of a plan; --axis changes its settings".into()),
    })
}

fn text(answer: &Answer, out: &Path) -> String {
    let (header, rows) = answer.table();
    let words = answer.axes.len();
    let align = |place| if place < words { Align::Left } else { Align::Right };
    let mut table = Table::new(header.into_iter().enumerate().map(|(place, title)| (title, align(place))));
    for cells in rows {
        table.row(cells);
    }
    let mut text = format!("{}\n\n{table}\n", answer.study.question);
    let constants = answer.constants();
    if !constants.is_empty() {
        let constants: Vec<String> = constants.iter().map(|(title, value)| format!("{title} {value}")).collect();
        text += &format!("  alike    {}\n", constants.join("; "));
    }
    text.extend(answer.growth().iter().map(|sentence| format!("  growth   {sentence}\n")));
    let made = answer.runs.len() - answer.taken;
    let runs = format!("{made} made now, {} taken from before, {} failed", answer.taken, answer.failed());
    text + &format!("  runs     {runs}\n  written  {} (table.md, results.json, plots)\n", out.display())
}

/// `--list`: every study inside this program.
fn list(args: &StudyArgs) -> Result<()> {
    let studies = STUDIES.iter().map(BuiltIn::study).collect::<Result<Vec<_>>>()?;
    if args.json {
        let row = |study: &Study| json!({ "name": study.name, "question": study.question, "runs": study.runs() });
        return output::json(&Value::Array(studies.iter().map(row).collect()));
    }
    let mut table = Table::new([("study", Align::Left), ("runs", Align::Right), ("question", Align::Left)]);
    for study in studies {
        table.row([study.name.clone(), study.runs().to_string(), study.question]);
    }
    output::print(&table.to_string())
}
