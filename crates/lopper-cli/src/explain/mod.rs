//! `lopper explain`: what `prune` would do, with how much memory and for how long, before anything runs.

mod words;

use std::collections::BTreeMap;
use std::path::PathBuf;

use lopper::Result;
use lopper::checkpoint::Checkpoint;
use lopper::evaluation::{ScoredText, Windows, open_tokenizer};
use lopper::explain::{Budget, Estimate, Phase, Rate, Texts};
use lopper::model::{Decoder, DecoderSpec};
use lopper::plan::{Measured, Plan};
use lopper::progress::{Event, Observer};
use lopper::report::Shrunk;
use lopper::schedule::Run;
use lopper::sparsity::Pattern;
use lopper::text::Reader;
use serde::Serialize;

use crate::args::ExplainArgs;
use crate::interrupt::Interrupt;
use crate::model::{Model, settle};
use crate::render::progress::Progress;
use crate::render::shrunk::{serving, size};
use crate::render::table::{Align, Table};
use crate::render::{output, patterns, units};

/// What `--json` prints.
#[derive(Serialize)]
struct Explanation {
    plan: Plan,
    steps: Vec<String>,
    /// Absent where it depends on the calibration.
    allocation: Option<PatternByName>,
    /// A line for each kind of pattern, where matrices differ.
    #[serde(skip)]
    kinds: Vec<String>,
    /// What taking neurons, heads, experts or blocks out will come to.
    #[serde(skip_serializing_if = "Option::is_none")]
    shrunk: Option<Shrunk>,
    memory: Memory,
    time: Time,
}

/// The pattern of each matrix, or `dense`.
type PatternByName = BTreeMap<String, String>;

#[derive(Serialize)]
struct Memory {
    /// Bytes of the phase that needs most.
    peak: u64,
    /// Bytes that the run may take, or that the machine can spare; absent where that is not known.
    budget: Option<u64>,
    /// Bytes of activations and copies that wait on the disk, so that it keeps to that.
    disk: u64,
    phases: Vec<Phase>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

#[derive(Serialize)]
struct Time {
    /// What a product as large as those of the run reached here just now.
    flops_per_second: f64,
    /// In which it was measured, and a run would compute.
    #[serde(skip)]
    dtype: &'static str,
    seconds: f64,
    stages: Vec<StageTime>,
}

#[derive(Serialize)]
struct StageTime {
    stage: &'static str,
    flops: f64,
    seconds: f64,
}

/// Explains the plan.
///
/// # Errors
/// If plan, model or texts to score cannot be used. NaN weights, calibration text, tasks and the output are left for `prune` to refuse.
pub fn run(args: &ExplainArgs, quiet: bool) -> Result<()> {
    let interrupt = Interrupt::install();
    let mut progress = Progress::new(quiet);
    let (model, plan) = settle(args.model.as_deref(), &args.plan, &interrupt, &mut progress)?;
    if args.print_plan {
        let decoder = Decoder::open(Checkpoint::open(model.directory())?)?;
        plan.validate(decoder.spec())?;
        return output::print(&plan.resolved(decoder.spec())?.to_toml()?);
    }
    progress.event(Event::Stage { name: "reading the model's shapes and the texts" });
    let explanation = lopper::prune::in_pool(plan.compute.threads, || explain(&model, &plan));
    progress.finish(explanation.is_ok());
    let explanation = explanation?;
    if args.json { output::json(&explanation) } else { output::print(&text(&model, &explanation)) }
}

fn explain(model: &Model, plan: &Plan) -> Result<Explanation> {
    let whole = Decoder::open(Checkpoint::open(model.directory())?)?;
    let resolved = plan.resolved(whole.spec())?;
    let decoder = Decoder::open(Checkpoint::open(model.directory())?)?.without(&plan.omitted(whole.spec())?)?;
    let spec = decoder.spec();
    let run = Run::new(plan, spec)?;
    let mut shrunk = lopper::explain::shrunk(&run, [&whole, &decoder])?;
    // which experts stay is chosen later
    if let Some(shrunk) = &mut shrunk {
        shrunk.experts_kept.clear();
    }
    let texts = text_lengths(plan, model, spec)?;
    let (texts, budget) = (Texts::of(plan, spec, &texts), Budget::of(plan));
    let estimate = Estimate::new(&run, texts, budget.bytes());
    let warning = budget.check(&estimate)?;
    let rate = Rate::measure(plan, spec);
    let steps = words::steps(&run, decoder.checkpoint().total_bytes(), texts.scored_tokens)?;
    let (allocation, kinds) = allocation(&run)?;
    let memory = Memory {
        peak: estimate.peak(),
        budget: budget.bytes(),
        disk: estimate.scratch,
        phases: estimate.phases.clone(),
        warning,
    };
    Ok(Explanation { steps, allocation, kinds, shrunk, memory, time: time(&estimate, rate, &resolved), plan: resolved })
}

/// The pattern of each matrix by name, as far as it is known before the run, and in words.
fn allocation(run: &Run) -> Result<(Option<PatternByName>, Vec<String>)> {
    let Run { targets, spec, plan, .. } = run;
    if targets.is_measured() {
        return Ok((None, vec!["what each matrix loses depends on the calibration; the report tells".into()]));
    }
    let allocation = targets.allocate(&Measured::default())?;
    let text = |pattern: Option<&Pattern>| pattern.map_or_else(|| "dense".into(), Pattern::to_string);
    let by_name = allocation.iter().map(|(id, pattern)| (spec.weight_name(id), text(pattern))).collect();
    let kinds = patterns::kinds(allocation.iter().map(|(id, pattern)| (spec.linear(id).role, pattern.copied())));
    let differ = patterns::prune_blocks(plan) && patterns::differ(plan);
    Ok((Some(by_name), if differ { kinds } else { Vec::new() }))
}

/// Tokens of each text to score; without a tokenizer that is not known, and an error.
fn text_lengths(plan: &Plan, model: &Model, spec: &DecoderSpec) -> Result<Vec<usize>> {
    let texts: [&[PathBuf]; 2] = [&plan.evaluation.texts, &plan.evaluation.wikitext];
    let tokenizer = open_tokenizer(model.directory(), spec)?;
    let windows = Windows { length: plan.evaluation_seqlen(spec), count: plan.evaluation.windows };
    let texts = ScoredText::read_all(texts, &tokenizer, windows, &mut Reader::of(model.directory()), &mut |_| ())?;
    Ok(texts.iter().map(|text| text.tokens.len()).collect::<Vec<_>>())
}

fn time(estimate: &Estimate, rate: Rate, plan: &Plan) -> Time {
    let seconds = |flops: f64| rate.seconds(flops);
    let stages = estimate.work.iter().filter(|work| work.flops > 0.0);
    Time {
        flops_per_second: rate.flops_per_second,
        dtype: plan.compute.dtype.name(),
        seconds: seconds(estimate.flops()),
        stages: stages
            .map(|work| StageTime { stage: work.stage, flops: work.flops, seconds: seconds(work.flops) })
            .collect(),
    }
}

fn text(model: &Model, explanation: &Explanation) -> String {
    let steps = explanation.steps.iter().fold(String::new(), |text, step| text + "  " + step + "\n");
    let Explanation { memory, time, .. } = explanation;
    let peak = format!(
        "Memory: about {} at its peak{} (an estimate; the peak of each phase){}",
        units::bytes(memory.peak),
        memory.budget.map_or_else(String::new, |budget| format!(", of {} that it may take", units::bytes(budget))),
        if memory.disk > 0 {
            format!("\nDisk: {} of activations wait there meanwhile", units::bytes(memory.disk))
        } else {
            String::new()
        },
    );
    let peak = memory.warning.iter().fold(peak, |text, warning| text + "\nWarning: " + warning);
    let took = format!("Time: about {} (an estimate; {})", units::seconds(time.seconds), rate_in_words(time));
    let kinds = explanation.kinds.iter().fold(String::new(), |text, kind| text + "  " + kind + "\n");
    let kinds = if kinds.is_empty() { kinds } else { format!("Patterns\n\n{kinds}\n") };
    let shrunk = explanation.shrunk.as_ref().map_or_else(String::new, |shrunk| {
        format!("Size: {}\nServing: {}\n\n", size(shrunk, &explanation.plan.shrink.drop), serving(shrunk))
    });
    format!(
        "What `lopper prune {}` would do\n\n{steps}\n{kinds}{shrunk}{peak}\n\n{}\n{took}\n\n{}",
        model.name,
        phases(memory),
        stages(time)
    )
}

fn rate_in_words(time: &Time) -> String {
    let rate = time.flops_per_second / 1e9;
    format!("at the {rate:.0} GFLOP/s in {} that this machine reached just now", time.dtype)
}

/// What each phase holds, largest first.
fn phases(memory: &Memory) -> Table {
    let mut table = Table::new([("phase", Align::Left), ("memory", Align::Right)]);
    for phase in &memory.phases {
        table.row([phase.name.into(), units::bytes(phase.bytes())]);
        let mut items: Vec<_> = phase.items.iter().collect();
        items.sort_by_key(|item| std::cmp::Reverse(item.bytes));
        for item in items.into_iter().filter(|_| phase.bytes() == memory.peak) {
            table.row([format!("  {}", item.name), units::bytes(item.bytes)]);
        }
    }
    table
}

fn stages(time: &Time) -> Table {
    let mut table = Table::new([("stage", Align::Left), ("TFLOP", Align::Right), ("time", Align::Right)]);
    for stage in &time.stages {
        let seconds = units::seconds(stage.seconds);
        table.row([stage.stage.into(), format!("{:.2}", stage.flops / 1e12), seconds]);
    }
    table
}
