//! What a plan asks of every matrix. Matrices that no rule takes share the plan's target; those that one rule gives a
//! sparsity share that.

use std::collections::BTreeMap;

use super::allocation::{Allocation, Group, Measured};
use super::rules::{Request, decide};
use super::{Plan, PruningPlan, Ratios, conflict};
use crate::calibration::Needs;
use crate::error::Result;
use crate::method::Selection;
use crate::model::{DecoderSpec, LinearId};
use crate::sparsity::{Extent, Pattern, Scope};

/// What is asked of every matrix of a model, before anything is measured.
#[derive(Clone, Debug)]
pub struct Targets {
    /// In the order of the model.
    matrices: Vec<Target>,
    /// λ, where the blocks of those that no rule takes get sparsities by their outliers.
    owl: Option<f64>,
}

/// One matrix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub id: LinearId,
    /// [d_out, d_in]
    pub shape: [usize; 2],
    /// Which rule decides; those of one rule, and those of none, share a target.
    rule: Option<usize>,
    request: Request,
}

impl Target {
    pub fn weights(&self) -> usize {
        self.shape[0] * self.shape[1]
    }

    fn competes(&self) -> bool {
        matches!(self.request, Request::Share { extent, .. } if extent.is_wide())
    }
}

impl Plan {
    /// What this plan asks of every matrix of a model.
    ///
    /// # Errors
    /// If pattern, rules or ratios contradict each other, do not fit the shapes, or a rule decides nothing.
    pub fn targets(&self, spec: &DecoderSpec) -> Result<Targets> {
        let narrowings = self.narrowings(spec)?;
        self.check_ratios()?;
        let ids: Vec<LinearId> = spec.linear_ids().collect();
        let names: Vec<String> = ids.iter().map(|&id| spec.weight_name(id)).collect();
        let rules = &self.pruning.rules;
        let deciding = decide(rules, &names)?;
        let (request, extent) = (self.request()?, self.extent()?);
        let requests = rules.iter().map(|rule| rule.request(extent)).collect::<Result<Vec<_>>>()?;
        let target = |(&id, rule): (&LinearId, Option<usize>)| {
            let shape = spec.linear(id).shape;
            Target { id, shape, rule, request: rule.map_or(request, |rule| requests[rule]) }
        };
        let mut matrices: Vec<Target> = ids.iter().zip(deciding).map(target).collect();
        for narrowing in &narrowings {
            for (id, pattern) in narrowing.patterns(spec)? {
                matrices[spec.linear_number(id)].request = Request::Fixed(pattern);
            }
        }
        let drifting = self.drifting(spec);
        let branches = spec.blocks.iter().enumerate().flat_map(|(index, block)| block.branch_ids(index));
        for id in branches.filter(|branch| drifting.contains(&branch.at)).flat_map(|branch| spec.linears_of(branch)) {
            let target = &mut matrices[spec.linear_number(id)];
            if target.request == Request::Dense && target.rule.is_none() {
                target.request = Request::Fixed(Pattern::unstructured(0.0, Scope::Row)?);
            }
        }
        let varies = self.pruning.ratios == Ratios::Owl && matrices.iter().any(|target| target.rule.is_none());
        let owl = varies.then_some(self.pruning.owl_lambda);
        let targets = Targets { matrices, owl };
        targets.check(spec, &self.selection()?, self.shrink.experts.is_some())?;
        Ok(targets)
    }

    /// What a pass over the dense model collects before the first block, where ratios depend on one: the criterion's needs for
    /// scores that are compared over matrices, and the norms of the inputs for outliers.
    ///
    /// # Errors
    /// As [`Plan::selection`].
    pub fn survey(&self) -> Result<Option<Needs>> {
        let PruningPlan { rules, ratios, pattern, .. } = &self.pruning;
        let wide = |extent: Option<Extent>| extent.is_some_and(Extent::is_wide);
        let competes = pattern.is_none() && self.extent()?.is_wide() || rules.iter().any(|rule| wide(rule.scope));
        let scores = competes.then_some(self.selection()?.needs());
        let outliers = (*ratios == Ratios::Owl).then_some(Needs::ColumnNorms);
        Ok(scores.max(outliers))
    }

    /// That ratios by outliers have a sparsity to vary.
    fn check_ratios(&self) -> Result<()> {
        let PruningPlan { ratios, owl_threshold, owl_lambda, .. } = self.pruning;
        let problem = match self.request()? {
            _ if ratios == Ratios::Uniform => return Ok(()),
            Request::Share { extent, .. } if extent.is_wide() => {
                "ratios by outliers and scores compared over blocks or the model both say what a layer loses".into()
            }
            Request::Share { sparsity, .. } => {
                let (low, high) = (sparsity - owl_lambda, sparsity + owl_lambda);
                let finite = owl_lambda >= 0.0 && owl_threshold > 0.0 && owl_threshold.is_finite();
                if finite && low >= 0.0 && high < 1.0 {
                    return Ok(());
                }
                format!(
                    "sparsity {sparsity} ± pruning.owl_lambda {owl_lambda} leaves [0, 1), or pruning.owl_threshold {owl_threshold} is not positive"
                )
            }
            _ => "an N:M pattern prunes every layer alike: there is no ratio for outliers to change".into(),
        };
        Err(conflict(&problem, "leave out the ratios, or give a sparsity with --scope row or matrix"))
    }
}

impl Targets {
    fn check(&self, spec: &DecoderSpec, selection: &Selection, disappears: bool) -> Result<()> {
        if spec.gone.is_empty() && !disappears && self.matrices.iter().all(|target| target.request == Request::Dense) {
            return Err(conflict("the rules leave every matrix dense", "there is nothing to prune"));
        }
        if self.matrices.iter().any(Target::competes) && !selection.is_static() {
            let name = selection.name();
            let problem =
                format!("{name} chooses while it prunes: it has no scores to compare over blocks or the model");
            return Err(conflict(&problem, "choose --scope row or matrix, or another criterion"));
        }
        for Target { id, shape: [d_out, d_in], request, .. } in &self.matrices {
            let Some(pattern) = request.pattern() else { continue };
            if !pattern.is_whole() {
                selection.check(&pattern)?;
            }
            if !pattern.fits(*d_in) {
                let name = spec.weight_name(*id);
                let problem =
                    format!("pattern {pattern} does not divide the {d_in} inputs of {name} [{d_out}, {d_in}]");
                let hint = "choose an M that divides every width, an unstructured sparsity, or a rule for this matrix";
                return Err(conflict(&problem, hint));
            }
        }
        Ok(())
    }

    /// What is asked of a matrix; they are in the order of the model.
    fn of(&self, id: LinearId) -> Option<&Target> {
        let place = self.matrices.binary_search_by_key(&id, |target| target.id).ok()?;
        self.matrices.get(place)
    }

    /// Whether anything is asked of this matrix.
    pub fn asks(&self, id: LinearId) -> bool {
        self.of(id).is_some_and(|target| target.request != Request::Dense)
    }

    /// Whether it is to lose anything.
    pub fn prunes(&self, id: LinearId) -> bool {
        let loses = |request: &Request| request.pattern().is_some_and(|pattern| pattern.sparsity() > 0.0);
        self.of(id).is_some_and(|target| loses(&target.request))
    }

    /// Whether this matrix competes with others, so that its scores must be known.
    pub fn competes(&self, id: LinearId) -> bool {
        self.of(id).is_some_and(Target::competes)
    }

    /// Whether the outliers of this matrix count for its block.
    pub fn counts_outliers(&self, id: LinearId) -> bool {
        self.owl.is_some() && self.of(id).is_some_and(|target| target.rule.is_none())
    }

    /// Whether the allocation depends on the calibration.
    pub fn is_measured(&self) -> bool {
        self.owl.is_some() || self.matrices.iter().any(Target::competes)
    }

    /// How many weights are to become zero, and of how many.
    pub fn zeros(&self) -> (usize, usize) {
        let fixed = self.matrices.iter().filter_map(|target| match target.request {
            Request::Fixed(
                Pattern::NofM { keep, of } | Pattern::Inputs { keep, of, .. } | Pattern::Outputs { keep, of },
            ) => Some(target.weights() / of * (of - keep)),
            _ => None,
        });
        let shared = self.groups().map(|group| group.target()).sum::<usize>();
        (fixed.sum::<usize>() + shared, self.matrices.iter().map(Target::weights).sum())
    }

    /// Who shares what: those of no rule, then those of each.
    fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        let rules = self.matrices.iter().filter_map(|target| target.rule).max().map_or(0, |last| last + 1);
        std::iter::once(None).chain((0..rules).map(Some)).filter_map(|rule| {
            let members: Vec<&Target> = self.matrices.iter().filter(|target| target.rule == rule).collect();
            let Request::Share { sparsity, extent } = members.first()?.request else { return None };
            Some(Group { members, sparsity, extent, owl: self.owl.filter(|_| rule.is_none()) })
        })
    }

    /// The pattern of every matrix.
    ///
    /// # Errors
    /// If the allocation depends on what was not measured.
    pub fn allocate(&self, measured: &Measured) -> Result<Allocation> {
        let fixed = |request: &Request| match *request {
            Request::Fixed(pattern) => Some(pattern),
            Request::Dense | Request::Share { .. } => None,
        };
        let mut patterns: BTreeMap<_, _> =
            self.matrices.iter().map(|target| (target.id, fixed(&target.request))).collect();
        for group in self.groups() {
            let shares = group.patterns(measured)?;
            patterns.extend(group.members.iter().zip(shares).map(|(target, pattern)| (target.id, Some(pattern))));
        }
        Ok(Allocation(patterns))
    }
}
