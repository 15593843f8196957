//! The command line as types. Names of the library's choices come from the library's tables.

mod choice;
mod plan;
mod program;
mod shrinking;
mod training;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};

pub use plan::{ComputeOptions, PlanOptions};
pub use program::{CompletionsArgs, DoctorArgs, ListArgs, ManArgs};

/// Prune large language models after training, and repair what pruning breaks.
#[derive(Parser, Debug)]
#[command(name = "lopper", version, about, max_term_width = 100, arg_required_else_help = true, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// Show no progress, only errors and the result
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

impl Cli {
    /// Reads the words of a command line. A flag that takes several values takes all words after it; the last of those is given back where it
    /// is the model, and there is no other.
    ///
    /// # Errors
    /// What clap says of them.
    pub fn read(words: &[OsString]) -> Result<Self, clap::Error> {
        let cli = Self::try_parse_from(words);
        let lacks_model = match &cli {
            Err(error) => error.kind() == ErrorKind::MissingRequiredArgument,
            Ok(Self {
                command: Command::Prune(PruneArgs { model, .. }) | Command::Explain(ExplainArgs { model, .. }),
                ..
            }) => model.is_none(),
            Ok(_) => false,
        };
        let given_back = lacks_model.then(|| with_model_first(words)).flatten();
        given_back.and_then(|words| Self::try_parse_from(words).ok()).map_or(cli, Ok)
    }
}

/// The same words with a model that follows the values of a flag before all flags of its command.
fn with_model_first(words: &[OsString]) -> Option<Vec<OsString>> {
    let is_flag = |word: &OsString| word.to_string_lossy().starts_with('-');
    let is_model = |place: &usize| {
        let follows_value = words[..*place].last().is_some_and(|word| !is_flag(word));
        follows_value && Path::new(&words[*place]).join("config.json").is_file()
    };
    let command = 1 + words[1..].iter().position(|word| !is_flag(word))?;
    let place = (command + 1..words.len()).rev().find(is_model)?;
    let mut words = words.to_vec();
    let model = words.remove(place);
    words.insert(command + 1, model);
    Some(words)
}

const AFTER_HELP: &str = "\
Try it without downloading anything:
  lopper prune demo -o demo-pruned

Results go to stdout, everything else to stderr.
Exit status:
  0    done
  1    the request or the data is wrong
  2    the machine failed: disk, network, memory
  130  interrupted";

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Prune a model, repair it, and measure what is left
    Prune(PruneArgs),
    /// Measure a model: perplexity on texts, answers to tasks, difference from another model
    Eval(EvalArgs),
    /// Show what a model is made of and how sparse each matrix is
    Inspect(InspectArgs),
    /// Write the card (README.md) of a pruned model anew: what it is, how it was made, how it scored
    Card(CardArgs),
    /// Show what `prune` would do, how much memory and how long it would take
    Explain(ExplainArgs),
    /// Answer a question by a grid of runs: a table, JSON and a plot
    Study(StudyArgs),
    /// List the model families, criteria, compensations, patterns, ratios and tasks this program knows
    List(ListArgs),
    /// Show what this machine is, what of it is used, and what is slow here
    Doctor(DoctorArgs),
    /// Write a completion script for a shell to stdout
    Completions(CompletionsArgs),
    /// Write the manual pages into a directory, or the main one to stdout
    Man(ManArgs),
}

/// `lopper prune`
#[derive(Args, Debug)]
pub struct PruneArgs {
    /// Directory of a checkpoint, a Hub id such as HuggingFaceTB/SmolLM2-135M, or `demo`: a small model inside this program
    /// [default: the one of --plan]
    pub model: Option<String>,
    /// Directory to write the pruned model to; must not exist yet
    #[arg(long, short, value_name = "DIR")]
    pub out: PathBuf,
    #[command(flatten)]
    pub plan: PlanOptions,
    /// Go on with an interrupted run from this block on (the first is 0), with other settings for pruning and training
    #[arg(long, value_name = "BLOCK")]
    pub redo_from: Option<usize>,
    /// Print the report as JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// `lopper explain`
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// Directory of a checkpoint, a Hub id, or `demo` [default: the one of --plan]
    pub model: Option<String>,
    #[command(flatten)]
    pub plan: PlanOptions,
    /// Print the plan as TOML, every default filled in, for --plan
    #[arg(long, conflicts_with = "json")]
    pub print_plan: bool,
    /// Print the explanation as JSON
    #[arg(long)]
    pub json: bool,
}

/// `lopper eval`
#[derive(Args, Debug)]
pub struct EvalArgs {
    /// Directory of a checkpoint, a Hub id, or `demo`
    pub model: String,
    /// Texts: plain, or JSON lines or Parquet with a field `text` or conversations; packed or not; files, directories or patterns; `demo` is the built-in one
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub text: Vec<PathBuf>,
    /// Files of the `WikiText` data set: rows joined the way the literature joins them
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub wikitext: Vec<PathBuf>,
    /// Tokens per window [default: 2048, or the model's limit if that is smaller]
    #[arg(long, value_name = "TOKENS")]
    pub seqlen: Option<usize>,
    /// Score at most N windows of each text [default: all]
    #[arg(long, value_name = "N")]
    pub windows: Option<usize>,
    /// Tasks to answer, as piqa,arc_easy (`lopper list` shows all), or TOML files that describe one's own
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub tasks: Vec<String>,
    /// Directory of the tasks' data: TASK.SPLIT.jsonl or .parquet, or folders as on the Hub [default: fetched from the Hub]
    #[arg(long, value_name = "DIR")]
    pub task_data: Option<PathBuf>,
    /// Answer the first N questions of each task only [default: all]
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Show the model K answered examples before each question
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub num_fewshot: usize,
    /// Take the examples from this split [default: the task's own]
    #[arg(long, value_name = "SPLIT")]
    pub fewshot_split: Option<String>,
    /// Seed of the draw of examples
    #[arg(long, value_name = "N", default_value_t = lopper::evaluation::SEED)]
    pub seed: u64,
    /// Compare with this model, usually the dense one: divergence, changed answers, significance
    #[arg(long, value_name = "MODEL")]
    pub against: Option<String>,
    /// Write a line of JSON for each question to this file
    #[arg(long, value_name = "FILE", requires = "tasks")]
    pub records: Option<PathBuf>,
    /// Write the tasks' results to this file as lm-evaluation-harness does
    #[arg(long, value_name = "FILE", requires = "tasks")]
    pub harness_json: Option<PathBuf>,
    #[command(flatten)]
    pub compute: ComputeOptions,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// `lopper inspect`
#[derive(Args, Debug)]
pub struct InspectArgs {
    /// Directory of a checkpoint, a Hub id, or `demo`
    pub model: String,
    /// Show every matrix, not a row per role
    #[arg(long)]
    pub all: bool,
    /// Print JSON (always with every matrix)
    #[arg(long)]
    pub json: bool,
}

/// `lopper card`
#[derive(Args, Debug)]
pub struct CardArgs {
    /// Directory that `lopper prune` wrote
    pub model: PathBuf,
    /// Scores measured since: what `lopper eval MODEL --json` printed
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub scores: Vec<PathBuf>,
}

/// `lopper study`
#[derive(Args, Debug)]
pub struct StudyArgs {
    /// Name of a study inside this program, or a TOML file
    #[arg(required_unless_present = "list", value_name = "STUDY")]
    pub study: Option<String>,
    /// Directory of a checkpoint, a Hub id, or `demo`; not for studies that time solvers
    /// [default: the one of the study's file]
    pub model: Option<String>,
    /// Directory for the answer: study.toml, table.md, results.json, plots and a file for each run;
    /// a study that was stopped goes on in the directory where it began
    #[arg(long, short, value_name = "DIR", required_unless_present = "list")]
    pub out: Option<PathBuf>,
    /// Vary this key of the plan too, or by other values than the study does, as in calibration.seed=0,1,2
    #[arg(long, value_name = "KEY=VALUE,...")]
    pub axis: Vec<String>,
    /// Keep the models, in DIR/models
    #[arg(long)]
    pub keep: bool,
    /// Show the studies inside this program and how many runs each has
    #[arg(long)]
    pub list: bool,
    #[command(flatten)]
    pub plan: PlanOptions,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::{Cli, Command};

    #[test]
    fn a_flag_of_several_values_does_not_swallow_the_model() {
        let home = tempfile::tempdir().expect("folder");
        let model = home.path().join("model");
        std::fs::create_dir(&model).expect("folder");
        std::fs::write(model.join("config.json"), "{}").expect("file");
        let model = model.to_str().expect("a name").to_owned();
        let read =
            |words: &str| Cli::read(&words.replace("MODEL", &model).split(' ').map(Into::into).collect::<Vec<_>>());
        let cli = read("lopper -q prune --calibration a.txt b.txt MODEL -o out").expect("read");
        let Command::Prune(args) = cli.command else { panic!("another command") };
        assert_eq!((args.model.as_deref(), args.plan.calibration.len()), (Some(model.as_str()), 2));
        let cli = read("lopper eval --text a.txt MODEL --seqlen 3").expect("read");
        let Command::Eval(args) = cli.command else { panic!("another command") };
        assert_eq!((args.model, args.text.len(), args.seqlen), (model.clone(), 1, Some(3)));
        // a directory that is named alone is a value
        let Command::Prune(args) = read("lopper prune --calibration MODEL -o out").expect("read").command else {
            panic!("another command")
        };
        assert_eq!((args.model, args.plan.calibration.len()), (None, 1));
        assert!(read("lopper eval --text a.txt b.txt").is_err());
    }

    #[test]
    fn definition_is_consistent_and_every_option_has_help() {
        let mut cli = super::Cli::command();
        cli.build();
        cli.clone().debug_assert();
        for command in cli.get_subcommands() {
            let name = command.get_name();
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{name}: {} has no help", argument.get_id());
            }
        }
    }
}
