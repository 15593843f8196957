//! A flag for every key of a plan. A flag that is given overrides the key; one that is not leaves it alone.

use std::path::PathBuf;

use clap::Args;
use lopper::calibration::{HiddenDtype, Sampling};
use lopper::method::{METHODS, Order};
use lopper::plan::{ByteSize, ComputeDtype, ExpertTokens, Inputs, Plan, PruningGranularity, Ratios, Rule};
use lopper::sparsity::Extent;

use super::choice::{compensation, criterion, method, one_of};
use super::shrinking::ShrinkOptions;
use super::training::{ReconstructionOptions, RetrainingOptions};

/// What to prune, how to repair it, what to measure: the flags shared by `prune`, `explain` and `study`.
#[derive(Args, Debug, Default)]
pub struct PlanOptions {
    /// Start from this plan, a TOML file; flags override its keys
    #[arg(long, value_name = "FILE", help_heading = "Plan")]
    pub plan: Option<PathBuf>,

    /// Share of weights to prune, as 0.5 [default: 0.5]
    #[arg(long, value_name = "SHARE", conflicts_with = "pattern", help_heading = PRUNING)]
    pub sparsity: Option<f64>,
    /// Keep N of every M consecutive weights instead, as 2:4 [default: none]
    #[arg(long, value_name = "N:M", help_heading = PRUNING)]
    pub pattern: Option<String>,
    /// A method of the literature: sets criterion, compensation and order at once [default: none]
    #[arg(long, value_name = "NAME", value_parser = method(), conflicts_with_all = ["criterion", "compensation", "order"], help_heading = PRUNING)]
    pub method: Option<String>,
    /// How to choose the weights to prune [default: wanda, or obs where heads go]
    #[arg(long, value_name = "NAME", value_parser = criterion(), help_heading = PRUNING)]
    pub criterion: Option<String>,
    /// Compare scores within each output row, each matrix, each block, or the whole model [default: what the criterion's paper does]
    #[arg(long, value_name = "SCOPE", value_parser = one_of::<Extent>(&["row", "matrix", "block", "model"]), help_heading = PRUNING)]
    pub scope: Option<Extent>,
    /// Prune every layer alike, or blocks with more outliers less (owl) [default: uniform]
    #[arg(long, value_name = "HOW", value_parser = one_of::<Ratios>(&["uniform", "owl"]), help_heading = PRUNING)]
    pub ratios: Option<Ratios>,
    /// A score so many times the mean of its block is an outlier [default: 5.0]
    #[arg(long, value_name = "TIMES", help_heading = PRUNING)]
    pub owl_threshold: Option<f64>,
    /// The sparsity of a block differs from --sparsity by this at most [default: 0.08]
    #[arg(long, value_name = "SHARE", help_heading = PRUNING)]
    pub owl_lambda: Option<f64>,
    /// Do something else with some matrices: down_proj=2:4, layers.0=0.3, or 'layers\.[0-3]\..*=dense'; of several rules the first that matches a name decides [default: none]
    #[arg(long, value_name = "MATRICES=WHAT", help_heading = PRUNING)]
    pub rule: Vec<Rule>,
    /// How to move the kept weights in closed form afterwards [default: joint]
    #[arg(long, value_name = "NAME", value_parser = compensation(), help_heading = PRUNING)]
    pub compensation: Option<String>,
    /// Choose by the inverse Hessian at once or a block of columns at a time [default: the criterion's own way]
    #[arg(long, value_name = "ORDER", value_parser = one_of::<Order>(&["whole", "blocks"]), help_heading = PRUNING)]
    pub order: Option<Order>,
    /// Damping of the Hessian, as a share of its mean diagonal [default: what serves held-out windows best for joint compensation, else 0.01]
    #[arg(long, value_name = "SHARE", help_heading = PRUNING)]
    pub damping: Option<f64>,
    /// At most N conjugate-gradient iterations of the joint compensation [default: 20]
    #[arg(long, value_name = "N", help_heading = PRUNING)]
    pub iterations: Option<usize>,
    /// Inputs that methods which walk over the columns take at a time [default: 128]
    #[arg(long, value_name = "N", help_heading = PRUNING)]
    pub column_block: Option<usize>,
    /// Refine the mask by at most N swaps per row [default: 0]
    #[arg(long, value_name = "N", help_heading = PRUNING)]
    pub swaps: Option<usize>,
    #[command(flatten)]
    pub shrinking: ShrinkOptions,
    /// How much to prune before activations are computed anew [default: submodule]
    #[arg(long, value_name = "SIZE", value_parser = one_of::<PruningGranularity>(&["submodule", "block"]), help_heading = PRUNING)]
    pub prune_granularity: Option<PruningGranularity>,

    #[command(flatten)]
    pub reconstruction: ReconstructionOptions,
    #[command(flatten)]
    pub retraining: RetrainingOptions,

    /// Text that shows the model at work: plain text, or JSON lines or Parquet with a field `text` or conversations; packed or not; files, directories or patterns [default: built-in text]
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = CALIBRATION)]
    pub calibration: Vec<PathBuf>,
    /// Files of the `WikiText` data set to calibrate on, rows joined the way the literature joins them [default: none]
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = CALIBRATION)]
    pub calibration_wikitext: Vec<PathBuf>,
    /// Windows of text that calibrate and train [default: 128]
    #[arg(long, value_name = "N", help_heading = CALIBRATION)]
    pub samples: Option<usize>,
    /// Further windows on which training is judged [default: 8]
    #[arg(long, value_name = "N", help_heading = CALIBRATION)]
    pub held_out: Option<usize>,
    /// Tokens per window [default: 2048, or the model's limit if that is smaller]
    #[arg(long, value_name = "TOKENS", help_heading = CALIBRATION)]
    pub seqlen: Option<usize>,
    /// Which windows of the text to take [default: random]
    #[arg(long, value_name = "HOW", value_parser = one_of::<Sampling>(&["first", "random"]), help_heading = CALIBRATION)]
    pub sampling: Option<Sampling>,
    /// Show layers the activations of the dense model or of the part pruned so far [default: pruned]
    #[arg(long, value_name = "WHOSE", value_parser = one_of::<Inputs>(&["dense", "pruned"]), help_heading = CALIBRATION)]
    pub inputs: Option<Inputs>,
    /// Calibrate an expert on the tokens that reach it, or on all [default: routed]
    #[arg(long, value_name = "WHICH", value_parser = one_of::<ExpertTokens>(&["routed", "all"]), help_heading = CALIBRATION)]
    pub expert_tokens: Option<ExpertTokens>,
    /// Where fewer tokens than this reach an expert, let others stand in for those that are missing [default: 256]
    #[arg(long, value_name = "N", help_heading = CALIBRATION)]
    pub min_expert_tokens: Option<usize>,
    /// Seed of every random choice [default: 0]
    #[arg(long, value_name = "N", help_heading = CALIBRATION)]
    pub seed: Option<u64>,

    /// Texts to measure perplexity on, of the same forms; `demo` is the built-in one [default: the held-out calibration windows]
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = EVALUATION)]
    pub eval_text: Vec<PathBuf>,
    /// Files of the `WikiText` data set to measure perplexity on, rows joined the way the literature joins them [default: none]
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = EVALUATION)]
    pub eval_wikitext: Vec<PathBuf>,
    /// Tokens per window when measuring [default: 2048, or the model's limit if that is smaller]
    #[arg(long, value_name = "TOKENS", help_heading = EVALUATION)]
    pub eval_seqlen: Option<usize>,
    /// Measure at most N windows of each text [default: all]
    #[arg(long, value_name = "N", help_heading = EVALUATION)]
    pub eval_windows: Option<usize>,
    /// Tasks to answer, as piqa,arc_easy (`lopper list` shows all), or TOML files that describe one's own [default: none]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', help_heading = EVALUATION)]
    pub eval_tasks: Vec<String>,
    /// Directory of the tasks' data: TASK.SPLIT.jsonl or .parquet, or folders as on the Hub [default: fetched from the Hub]
    #[arg(long, value_name = "DIR", help_heading = EVALUATION)]
    pub eval_task_data: Option<PathBuf>,
    /// Answer the first N questions of each task only [default: all]
    #[arg(long, value_name = "N", help_heading = EVALUATION)]
    pub eval_limit: Option<usize>,
    /// Show the model K answered examples before each question [default: 0]
    #[arg(long, value_name = "K", help_heading = EVALUATION)]
    pub eval_num_fewshot: Option<usize>,
    /// Also measure the model only pruned, and only pruned and compensated; takes up to three times as long [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = EVALUATION)]
    pub ladder: Option<bool>,

    #[command(flatten)]
    pub compute: ComputeOptions,
    /// How to hold activations; bf16 halves them [default: f32]
    #[arg(long, value_name = "DTYPE", value_parser = one_of::<HiddenDtype>(&["f32", "bf16"]), help_heading = COMPUTE)]
    pub hidden_states: Option<HiddenDtype>,
    /// Memory the run may take, as 24GB; activations wait on the disk where they would not fit [default: what is free, but for a margin]
    #[arg(long, value_name = "SIZE", help_heading = COMPUTE)]
    pub memory: Option<ByteSize>,
}

const PRUNING: &str = "Pruning";
const CALIBRATION: &str = "Calibration";
const EVALUATION: &str = "Evaluation";
const COMPUTE: &str = "Compute";

/// How to compute.
#[derive(Args, Debug, Default)]
pub struct ComputeOptions {
    /// How linear layers multiply; auto is bf16 where the processor multiplies it, else f32 [default: auto]
    #[arg(long, value_name = "DTYPE", value_parser = one_of::<ComputeDtype>(&["auto", "f32", "bf16"]), help_heading = COMPUTE)]
    pub dtype: Option<ComputeDtype>,
    /// Where to compute: cpu is the only place so far [default: cpu]
    #[arg(long, value_name = "DEVICE", help_heading = COMPUTE)]
    pub device: Option<String>,
    /// Worker threads; the result does not depend on it [default: one per core]
    #[arg(long, value_name = "N", help_heading = COMPUTE)]
    pub threads: Option<usize>,
}

/// Overwrites `key` if the flag was given.
pub(super) fn set<T: Clone>(key: &mut T, flag: Option<&T>) {
    if let Some(value) = flag {
        key.clone_from(value);
    }
}

/// Overwrites an optional `key` if the flag was given.
pub(super) fn set_some<T: Clone>(key: &mut Option<T>, flag: Option<&T>) {
    if flag.is_some() {
        *key = flag.cloned();
    }
}

/// Overwrites a list if the flag was given.
fn set_list<T: Clone>(key: &mut Vec<T>, flag: &[T]) {
    if !flag.is_empty() {
        *key = flag.to_vec();
    }
}

impl PlanOptions {
    /// Overrides the keys whose flags were given.
    pub fn apply(&self, plan: &mut Plan) {
        self.apply_pruning(plan);
        self.shrinking.apply(plan);
        self.reconstruction.apply(&mut plan.reconstruction);
        self.retraining.apply(&mut plan.retraining);
        self.apply_calibration(plan);
        self.apply_evaluation(plan);
        self.compute.apply(plan);
        set(&mut plan.compute.hidden_states, self.hidden_states.as_ref());
        set_some(&mut plan.compute.memory, self.memory.as_ref());
    }

    fn apply_pruning(&self, plan: &mut Plan) {
        let pruning = &mut plan.pruning;
        // a sparsity and a pattern exclude each other: the flag replaces whichever the file has
        if self.sparsity.is_some() || self.pattern.is_some() {
            (pruning.sparsity, pruning.pattern) = (self.sparsity, self.pattern.clone());
            pruning.scope = pruning.scope.filter(|_| self.pattern.is_none());
        }
        if let Some(method) = METHODS.iter().find(|method| self.method.as_deref() == Some(method.name)) {
            (pruning.criterion, pruning.compensation) = (Some(method.criterion.into()), method.compensation.into());
            pruning.order = method.order;
        }
        set_some(&mut pruning.criterion, self.criterion.as_ref());
        set_some(&mut pruning.scope, self.scope.as_ref());
        set(&mut pruning.ratios, self.ratios.as_ref());
        set(&mut pruning.owl_threshold, self.owl_threshold.as_ref());
        set(&mut pruning.owl_lambda, self.owl_lambda.as_ref());
        set_list(&mut pruning.rules, &self.rule);
        set(&mut pruning.compensation, self.compensation.as_ref());
        set_some(&mut pruning.order, self.order.as_ref());
        set_some(&mut pruning.damping, self.damping.as_ref());
        set(&mut pruning.iterations, self.iterations.as_ref());
        set(&mut pruning.column_block, self.column_block.as_ref());
        set(&mut pruning.swaps, self.swaps.as_ref());
        set(&mut pruning.granularity, self.prune_granularity.as_ref());
    }

    fn apply_calibration(&self, plan: &mut Plan) {
        let calibration = &mut plan.calibration;
        set_list(&mut calibration.files, &self.calibration);
        set_list(&mut calibration.wikitext, &self.calibration_wikitext);
        set(&mut calibration.samples, self.samples.as_ref());
        set(&mut calibration.held_out, self.held_out.as_ref());
        set_some(&mut calibration.seqlen, self.seqlen.as_ref());
        set(&mut calibration.sampling, self.sampling.as_ref());
        set(&mut calibration.inputs, self.inputs.as_ref());
        set(&mut calibration.expert_tokens, self.expert_tokens.as_ref());
        set(&mut calibration.min_expert_tokens, self.min_expert_tokens.as_ref());
        set(&mut calibration.seed, self.seed.as_ref());
    }

    fn apply_evaluation(&self, plan: &mut Plan) {
        let evaluation = &mut plan.evaluation;
        set_list(&mut evaluation.texts, &self.eval_text);
        set_list(&mut evaluation.wikitext, &self.eval_wikitext);
        set_some(&mut evaluation.seqlen, self.eval_seqlen.as_ref());
        set_some(&mut evaluation.windows, self.eval_windows.as_ref());
        set_list(&mut evaluation.tasks, &self.eval_tasks);
        set_some(&mut evaluation.task_data, self.eval_task_data.as_ref());
        set_some(&mut evaluation.limit, self.eval_limit.as_ref());
        set(&mut evaluation.examples, self.eval_num_fewshot.as_ref());
        set(&mut evaluation.ladder, self.ladder.as_ref());
    }
}

impl ComputeOptions {
    /// Overrides the keys whose flags were given.
    pub fn apply(&self, plan: &mut Plan) {
        set(&mut plan.compute.dtype, self.dtype.as_ref());
        set(&mut plan.compute.device, self.device.as_ref());
        set_some(&mut plan.compute.threads, self.threads.as_ref());
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
