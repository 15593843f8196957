//! From the plan to a pattern for every matrix: who shares a target, and how many zeros of it each gets.
//!
//! Matrices that no rule takes share the plan's target; those that one rule gives a sparsity share that. Of the n weights of
//! those that share a target, ⌊s·n⌋ become zero: exactly so where scores are compared within a matrix or wider; within rows,
//! where all rows of a matrix lose the same, as near below it as that allows.

use std::collections::BTreeMap;

use super::rules::{Request, decide};
use super::{Plan, PruningPlan, Ratios, conflict};
use crate::calibration::Needs;
use crate::error::{Error, Result};
use crate::method::criterion::Criterion;
use crate::model::{Decoder, DecoderSpec, LinearId, LinearRole};
use crate::sparsity::allocation::{Histogram, Quota, apportion, block_sparsities, pooled_counts};
use crate::sparsity::{Extent, Pattern, Scope};

/// Criteria that choose while they walk over the columns: there are no scores to compare over matrices beforehand.
const WITHOUT_STATIC_SCORES: &[&str] = &["sparsegpt", "mrp"];

/// What becomes of every matrix that could be pruned.
#[derive(Clone, Debug, PartialEq)]
pub struct Allocation(BTreeMap<LinearId, Option<Pattern>>);

impl Allocation {
    /// The pattern of a matrix; `None` if it stays dense.
    pub fn get(&self, id: LinearId) -> Option<&Pattern> {
        self.0.get(&id)?.as_ref()
    }

    /// Every matrix with its pattern, in the order of the model; `None` stays dense.
    pub fn iter(&self) -> impl Iterator<Item = (LinearId, Option<&Pattern>)> {
        self.0.iter().map(|(&id, pattern)| (id, pattern.as_ref()))
    }
}

/// What a pass over the dense model found.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Scores of the matrices that compete with others.
    pub scores: BTreeMap<LinearId, Histogram>,
    /// Outlier share by block.
    pub outliers: BTreeMap<usize, f64>,
}

/// What is asked of every matrix of a model, before anything is measured.
#[derive(Clone, Debug)]
pub struct Targets {
    /// In the order of the model.
    matrices: Vec<Target>,
    /// λ, where the blocks of those that no rule takes get sparsities by their outliers.
    owl: Option<f64>,
}

#[derive(Clone, Copy, Debug)]
struct Target {
    id: LinearId,
    /// [d_out, d_in]
    shape: [usize; 2],
    /// Which rule decides; those of one rule, and those of none, share a target.
    rule: Option<usize>,
    request: Request,
}

impl Target {
    fn weights(&self) -> usize {
        self.shape[0] * self.shape[1]
    }

    fn competes(&self) -> bool {
        matches!(self.request, Request::Share { extent, .. } if extent.is_wide())
    }
}

/// Matrices that share a target.
struct Group<'a> {
    members: Vec<&'a Target>,
    sparsity: f64,
    extent: Extent,
    owl: Option<f64>,
}

impl Plan {
    /// What this plan asks of every matrix of a model.
    ///
    /// # Errors
    /// If pattern, rules or ratios contradict each other, do not fit the shapes, or a rule decides nothing.
    pub fn targets(&self, spec: &DecoderSpec) -> Result<Targets> {
        self.check_ratios()?;
        let ids: Vec<LinearId> = (0..spec.blocks)
            .flat_map(|block| LinearRole::ALL.into_iter().map(move |role| LinearId { block, role }))
            .collect();
        let names: Vec<String> = ids.iter().map(|&id| Decoder::weight_name(id)).collect();
        let rules = &self.pruning.rules;
        let deciding = decide(rules, &names)?;
        let (request, extent) = (self.request()?, self.extent()?);
        let requests = rules.iter().map(|rule| rule.request(extent)).collect::<Result<Vec<_>>>()?;
        let target = |(&id, rule): (&LinearId, Option<usize>)| {
            let (d_out, d_in) = spec.shape(id.role);
            Target { id, shape: [d_out, d_in], rule, request: rule.map_or(request, |rule| requests[rule]) }
        };
        let matrices = ids.iter().zip(deciding).map(target).collect();
        let owl = (self.pruning.ratios == Ratios::Owl).then_some(self.pruning.owl_lambda);
        let targets = Targets { matrices, owl };
        targets.check(Criterion::by_name(&self.pruning.criterion)?.name)?;
        Ok(targets)
    }

    /// What a pass over the dense model collects before the first block, where ratios depend on one: the criterion's needs for
    /// scores that are compared over matrices, and the norms of the inputs for outliers.
    ///
    /// # Errors
    /// If the criterion is unknown.
    pub fn survey(&self) -> Result<Option<Needs>> {
        let PruningPlan { rules, ratios, pattern, .. } = &self.pruning;
        let wide = |extent: Option<Extent>| extent.is_some_and(Extent::is_wide);
        let competes = pattern.is_none() && self.extent()?.is_wide() || rules.iter().any(|rule| wide(rule.scope));
        let scores = competes.then_some(Criterion::by_name(&self.pruning.criterion)?.needs());
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
    fn check(&self, criterion: &str) -> Result<()> {
        if self.matrices.iter().all(|target| target.request == Request::Dense) {
            return Err(conflict("the rules leave every matrix dense", "there is nothing to prune"));
        }
        if self.matrices.iter().any(Target::competes) && WITHOUT_STATIC_SCORES.contains(&criterion) {
            let problem =
                format!("{criterion} chooses while it prunes: it has no scores to compare over blocks or the model");
            return Err(conflict(&problem, "choose --scope row or matrix, or another criterion"));
        }
        for Target { id, shape: [d_out, d_in], request, .. } in &self.matrices {
            if let Request::NofM(pattern) = request
                && !pattern.fits(*d_in)
            {
                let name = Decoder::weight_name(*id);
                let problem =
                    format!("pattern {pattern} does not divide the {d_in} inputs of {name} [{d_out}, {d_in}]");
                let hint = "choose an M that divides every width, an unstructured sparsity, or a rule for this matrix";
                return Err(conflict(&problem, hint));
            }
        }
        Ok(())
    }

    /// Whether this matrix competes with others, so that its scores must be known.
    pub fn competes(&self, id: LinearId) -> bool {
        self.matrices.iter().any(|target| target.id == id && target.competes())
    }

    /// Whether the outliers of this matrix count for its block.
    pub fn counts_outliers(&self, id: LinearId) -> bool {
        self.owl.is_some() && self.matrices.iter().any(|target| target.id == id && target.rule.is_none())
    }

    /// Whether the allocation depends on the calibration.
    pub fn is_measured(&self) -> bool {
        self.owl.is_some() || self.matrices.iter().any(Target::competes)
    }

    /// How many weights are to become zero, and of how many.
    pub fn zeros(&self) -> (usize, usize) {
        let fixed = self.matrices.iter().filter_map(|target| match target.request {
            Request::NofM(Pattern::NofM { keep, of }) => Some(target.weights() / of * (of - keep)),
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
            Request::NofM(pattern) => Some(pattern),
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

impl Group<'_> {
    fn weights(&self) -> usize {
        self.members.iter().map(|target| target.weights()).sum()
    }

    /// ⌊s·n⌋
    fn target(&self) -> usize {
        Pattern::pruned_of(self.sparsity, self.weights())
    }

    fn patterns(&self, measured: &Measured) -> Result<Vec<Pattern>> {
        match self.extent {
            Extent::Row | Extent::Matrix => Ok(self.apart(&self.sparsities(measured)?)),
            Extent::Block => self.competing(measured, |target| target.id.block),
            Extent::Model => self.competing(measured, |_| 0),
        }
    }

    /// Sparsities by matrix: that of the group, or by the outliers of the block.
    fn sparsities(&self, measured: &Measured) -> Result<Vec<f64>> {
        let Some(lambda) = self.owl else { return Ok(vec![self.sparsity; self.members.len()]) };
        let mut weights = BTreeMap::new();
        for target in &self.members {
            *weights.entry(target.id.block).or_insert(0) += target.weights();
        }
        let share = |block: &usize| measured.outliers.get(block).copied().ok_or_else(|| unmeasured(*block));
        let blocks =
            weights.iter().map(|(block, &weights)| Ok((share(block)?, weights))).collect::<Result<Vec<_>>>()?;
        let sparsities = block_sparsities(self.sparsity, lambda, &blocks);
        let of: BTreeMap<_, _> = weights.keys().zip(sparsities).collect();
        Ok(self.members.iter().map(|target| of[&target.id.block]).collect())
    }

    /// Patterns of matrices that do not compete: what each should lose, rounded so that all together lose the target.
    fn apart(&self, sparsities: &[f64]) -> Vec<Pattern> {
        let scope = self.extent.scope();
        let sizes = self.members.iter().map(|target| match scope {
            Scope::Row => (target.shape[1], target.shape[0]),
            Scope::Matrix => (target.weights(), 1),
        });
        let sizes: Vec<(usize, usize)> = sizes.collect();
        let quotas: Vec<Quota> =
            sizes.iter().zip(sparsities).map(|(&(of, unit), s)| Quota { steps: s * of as f64, unit }).collect();
        let counts = apportion(self.target(), &quotas);
        let pattern = |((&(of, _), &sparsity), count)| match Pattern::pruned_of(sparsity, of) {
            asked if asked == count => Pattern::Unstructured { sparsity, scope },
            _ => Pattern::exactly(count, of, scope),
        };
        sizes.iter().zip(sparsities).zip(counts).map(pattern).collect()
    }

    /// Patterns of matrices that compete with those of the same `pool`: the smallest scores of the pool go.
    fn competing(&self, measured: &Measured, pool: impl Fn(&Target) -> usize) -> Result<Vec<Pattern>> {
        let mut pools: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (place, target) in self.members.iter().enumerate() {
            pools.entry(pool(target)).or_default().push(place);
        }
        let size = |places: &[usize]| places.iter().map(|&place| self.members[place].weights()).sum::<usize>();
        let quotas: Vec<Quota> =
            pools.values().map(|places| Quota { steps: self.sparsity * size(places) as f64, unit: 1 }).collect();
        let mut patterns = vec![Pattern::exactly(0, 1, Scope::Matrix); self.members.len()];
        for (places, target) in pools.values().zip(apportion(self.target(), &quotas)) {
            let scores = |&place: &usize| {
                let id = self.members[place].id;
                measured.scores.get(&id).ok_or_else(|| unmeasured(id.block))
            };
            let scores = places.iter().map(scores).collect::<Result<Vec<_>>>()?;
            for (&place, count) in places.iter().zip(pooled_counts(&scores, target)) {
                patterns[place] = Pattern::exactly(count, self.members[place].weights(), Scope::Matrix);
            }
        }
        Ok(patterns)
    }
}

fn unmeasured(block: usize) -> Error {
    Error::Numeric { problem: format!("block {block} was not surveyed before its ratios were asked for"), hint: None }
}
