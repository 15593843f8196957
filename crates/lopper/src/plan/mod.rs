//! The whole run as data. A [`Plan`] that [`Plan::validate`] accepted contradicts neither itself nor the model.

mod allocation;
mod byte_size;
mod keys;
mod omitted;
mod rules;
mod shrink;
mod targets;
mod training;

use std::path::Path;

use crate::error::{Error, Result};
use crate::evaluation::{Asking, EvaluationSet, Source, Windows};
use crate::method::{DAMPING, Method, Selection, SolverSettings};
use crate::model::{DecoderSpec, Kind, UnitKind};
use crate::sparsity::{Extent, Pattern};
use crate::text::from_toml;
use rules::Request;

pub use allocation::{Allocation, Measured};
pub use byte_size::ByteSize;
pub use keys::{
    CalibrationPlan, ComputeDtype, ComputePlan, EvaluationPlan, ExpertTokens, Inputs, Plan, PruningGranularity,
    PruningPlan, Ratios,
};
pub use rules::Rule;
pub use shrink::{Depth, Narrowing, ShrinkPlan};
pub use targets::Targets;
pub use training::{Granularity, ReconstructionPlan, RetrainingObjective, RetrainingPlan, WindowTargets};

/// The sparsity of a run that asks for nothing else.
const DEFAULT_SPARSITY: f64 = 0.5;
/// More windows than any calibration text holds.
const LARGEST_COUNT: usize = 1 << 30;
/// The longest window taken when none is asked for.
const DEFAULT_SEQLEN: usize = 2048;

impl Plan {
    /// Reads a plan from a file.
    ///
    /// # Errors
    /// If the file cannot be read, or has an unknown key or a value of the wrong kind.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        Self::parse(&text, &path.display().to_string())
    }

    /// From TOML; `origin` is what it is called in errors.
    ///
    /// # Errors
    /// If it has an unknown key or a value of the wrong kind.
    pub fn parse(text: &str, origin: &str) -> Result<Self> {
        from_toml(text).map_err(|error| Error::Plan {
            problem: format!("{origin}: {error}"),
            hint: Some("`lopper explain MODEL --print-plan` writes a plan to start from".into()),
        })
    }

    /// As TOML.
    ///
    /// # Errors
    /// If a path in it is not UTF-8.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self)
            .map_err(|error| Error::Plan { problem: format!("the plan cannot be written: {error}"), hint: None })
    }

    /// The pattern asked for where no rule says otherwise. Where scores are compared beyond one matrix, or ratios differ by
    /// block, a matrix gets a share of its own: see [`Plan::targets`].
    ///
    /// # Errors
    /// If both a sparsity and a pattern are given, or one makes no sense.
    pub fn pattern(&self) -> Result<Pattern> {
        let nothing = || conflict("nothing is asked of the model", "give a sparsity or a pattern");
        self.request()?.pattern().ok_or_else(nothing)
    }

    /// How far scores are compared: as the plan says, or as the criterion's source does.
    ///
    /// # Errors
    /// As [`Plan::selection`].
    pub fn extent(&self) -> Result<Extent> {
        let own = self.selection()?.scope().into();
        Ok(self.pruning.scope.unwrap_or(own))
    }

    /// What is asked of matrices that no rule takes.
    fn request(&self) -> Result<Request> {
        let PruningPlan { sparsity, pattern, scope, .. } = &self.pruning;
        let extent = self.extent()?;
        let request = Request::new("", pattern.as_deref(), *sparsity, *scope, extent)?;
        if self.shrink.is_asked() {
            return Ok(request.unwrap_or(Request::Dense));
        }
        Ok(request.unwrap_or(Request::Share { sparsity: DEFAULT_SPARSITY, extent }))
    }

    /// Name of the criterion, that which is asked for or serves best.
    pub fn criterion(&self) -> &str {
        let best = if self.shrink.kv_heads.is_some() { "obs" } else { "wanda" };
        self.pruning.criterion.as_deref().unwrap_or(best)
    }

    /// The method asked for.
    ///
    /// # Errors
    /// If a name is unknown, or the criterion cannot choose in the order asked for.
    pub fn method(&self) -> Result<Method> {
        let PruningPlan { compensation, order, .. } = &self.pruning;
        Method::by_name(self.criterion(), compensation, *order)
    }

    /// How it chooses what is pruned.
    ///
    /// # Errors
    /// If the criterion is unknown, or cannot choose in the order asked for.
    pub fn selection(&self) -> Result<Selection> {
        Selection::by_name(self.criterion(), self.pruning.order)
    }

    /// γ of inverse Hessians, as a share of the mean diagonal.
    pub fn damping(&self) -> f64 {
        self.pruning.damping.unwrap_or(DAMPING)
    }

    /// Whether held-out windows say which damping serves best.
    ///
    /// # Errors
    /// As [`Plan::method`].
    pub fn judges(&self) -> Result<bool> {
        Ok(self.method()?.judges() && self.pruning.damping.is_none() && self.calibration.held_out > 0)
    }

    /// How hard a layer problem is solved.
    pub fn solver_settings(&self) -> SolverSettings {
        let &PruningPlan { damping, iterations, column_block, swaps, .. } = &self.pruning;
        SolverSettings { damping, iterations, column_block, swaps }
    }

    /// Tokens per calibration window.
    pub fn calibration_seqlen(&self, spec: &DecoderSpec) -> usize {
        self.calibration.seqlen.unwrap_or(DEFAULT_SEQLEN.min(spec.max_positions))
    }

    /// Tokens per evaluation window.
    pub fn evaluation_seqlen(&self, spec: &DecoderSpec) -> usize {
        self.evaluation.seqlen.unwrap_or(DEFAULT_SEQLEN.min(spec.max_positions))
    }

    /// Texts and tasks that models are measured by.
    pub fn evaluation_set(&self, spec: &DecoderSpec) -> EvaluationSet<'_> {
        let EvaluationPlan { texts, wikitext, windows, tasks, task_data, limit, examples, .. } = &self.evaluation;
        EvaluationSet {
            texts,
            wikitext,
            windows: Windows { length: self.evaluation_seqlen(spec), count: *windows },
            tasks,
            asking: Asking {
                data: task_data.clone().map_or_else(Source::hub, Source::Directory),
                limit: *limit,
                examples: *examples,
                ..Asking::default()
            },
        }
    }

    /// The plan with every default filled in that depends on the model or the processor.
    ///
    /// # Errors
    /// As [`Plan::pattern`].
    pub fn resolved(&self, spec: &DecoderSpec) -> Result<Self> {
        let mut plan = self.clone();
        plan.pruning.criterion = Some(self.criterion().into());
        plan.calibration.seqlen = Some(self.calibration_seqlen(spec));
        plan.evaluation.seqlen = Some(self.evaluation_seqlen(spec));
        plan.compute.dtype = self.compute.dtype.chosen();
        for Narrowing { keep, of, multiple, .. } in
            self.narrowings(spec)?.into_iter().filter(|narrowing| narrowing.kind == UnitKind::Neuron)
        {
            (plan.shrink.ratio, plan.shrink.multiple) = (None, Some(multiple));
            plan.shrink.width = Some(keep as f64 / of as f64);
        }
        if !spec.gone.is_empty() {
            (plan.shrink.depth, plan.shrink.drop) = (None, spec.gone.keys().copied().collect());
        }
        if let Request::Share { sparsity, extent } = self.request()? {
            (plan.pruning.sparsity, plan.pruning.scope) = (Some(sparsity), Some(extent));
        }
        Ok(plan)
    }

    /// Everything that can be known to be wrong before the first forward pass.
    ///
    /// # Errors
    /// Naming the key and the value.
    pub fn validate(&self, spec: &DecoderSpec) -> Result<()> {
        if spec.fewer.is_empty() {
            self.experts(spec)?;
        }
        if spec.gone.is_empty() && self.depth(spec)?.is_some() {
            return self.validate(&self.shortened(spec)?);
        }
        if self.compute.device != "cpu" {
            return Err(conflict(
                &format!("there is no device {:?}", self.compute.device),
                "cpu is the only one so far",
            ));
        }
        self.method()?;
        self.targets(spec)?;
        match self.ranges(spec).iter().find(|(holds, _)| !holds) {
            Some((_, problem)) => Err(Error::Plan { problem: (*problem).into(), hint: None }),
            None => Ok(()),
        }
    }

    /// Of each number: whether it is in its range, and what to say if not.
    fn ranges(&self, spec: &DecoderSpec) -> Vec<(bool, &'static str)> {
        let (calibration, evaluation) = (self.calibration_seqlen(spec), self.evaluation_seqlen(spec));
        let mut ranges = vec![
            (self.calibration.samples > 0, "calibration.samples is 0"),
            (self.calibration.samples <= LARGEST_COUNT, "calibration.samples is beyond any text"),
            (self.calibration.held_out <= LARGEST_COUNT, "calibration.held_out is beyond any text"),
            (calibration >= 2, "calibration.seqlen is below 2"),
            (calibration <= spec.max_positions, "calibration.seqlen exceeds the model's max_position_embeddings"),
            (evaluation >= 2, "evaluation.seqlen is below 2"),
            (evaluation <= spec.max_positions, "evaluation.seqlen exceeds the model's max_position_embeddings"),
            (self.evaluation.windows != Some(0), "evaluation.windows is 0"),
            (self.evaluation.limit != Some(0), "evaluation.limit is 0"),
            (
                self.pruning.damping.is_none_or(|damping| damping >= 0.0 && damping.is_finite()),
                "pruning.damping is negative or not finite: it is a share of the mean diagonal of the Hessian",
            ),
            (self.pruning.iterations > 0, "pruning.iterations is 0; for no compensation set it to \"none\""),
            (self.pruning.column_block > 0, "pruning.column_block is 0"),
            (self.compute.threads != Some(0), "compute.threads is 0"),
        ];
        let has = |kind: Kind| match kind {
            Kind::Bias => spec.has_bias(),
            _ => spec.blocks.iter().any(|block| block.has(kind)),
        };
        let last = spec.head.finish.as_ref().is_some_and(|finish| finish.has(Kind::Norm));
        let (reconstruction, retraining) = (&self.reconstruction, &self.retraining);
        let alone = reconstruction.granularity == Granularity::Matrix;
        let adapts = [reconstruction.parameters, retraining.parameters].iter().any(|one| one.adapter.is_some());
        let width = spec.widest();
        ranges.push((
            !adapts || reconstruction.rank <= width,
            "reconstruction.rank exceeds the width of the model: an adapter of such a rank is no smaller than the matrix",
        ));
        ranges.push((
            reconstruction.granularity == Granularity::None || reconstruction.parameters.any(|kind| has(kind) && (kind == Kind::Bias || !alone)),
            "of what reconstruction.parameters names a window has nothing: biases, weights of norms, routers, filters and states are not there in every family, and but for biases not in a single matrix",
        ));
        ranges.push((
            retraining.objective == RetrainingObjective::None || retraining.parameters.any(|kind| has(kind) || kind == Kind::Norm && last),
            "of what retraining.parameters names this model has nothing: biases, weights of norms, routers, filters and states are not there in every family",
        ));
        ranges.extend(self.reconstruction.ranges());
        ranges.extend(self.retraining.ranges());
        ranges
    }
}

fn conflict(problem: &str, hint: &str) -> Error {
    Error::Plan { problem: problem.into(), hint: Some(hint.into()) }
}
