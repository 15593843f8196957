//! Runs that prune a model: settings are the keys of a plan, findings are read off the report.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use toml::Table;

use super::axis::{Axis, Coordinate};
use super::definition::Study;
use super::directory::{Directory, Finding, Record};
use super::grid::{Case, fingerprint, product};
use super::settings::{at, describe, keys, merge, read};
use super::wrong;
use crate::error::{Error, Result};
use crate::machine::reset_peak_memory;
use crate::model::{Decoder, DecoderSpec};
use crate::plan::Plan;
use crate::progress::Observer;
use crate::prune::prune_knowing;
use crate::report::{Report, ScoredModel};

impl Study {
    /// Settles the plan that every run starts from: `start`, what the study's base says, then `change`.
    ///
    /// # Errors
    /// If the base is no plan, or `change` touches what an axis varies.
    pub fn settle(&mut self, start: &Plan, change: impl FnOnce(&mut Plan)) -> Result<()> {
        let mut settings = table(start)?;
        overlay(&mut settings, &self.base);
        let mut plan: Plan = read(settings, &table(&Plan::default())?, "the base of the study")?;
        let before = table(&plan)?;
        change(&mut plan);
        self.base = table(&plan)?;
        for axis in &self.axes {
            let coordinates = axis.coordinates();
            let varied = coordinates.iter().flat_map(|one| keys(&one.overlay));
            // a key that some values leave alone is theirs to take from the base
            let always = |key: &String| coordinates.iter().all(|one| at(&one.overlay, key).is_some());
            let varied: Vec<String> = varied.filter(always).collect();
            if let Some(key) = varied.iter().find(|key| at(&before, key) != at(&self.base, key)) {
                let hint = format!("give its values with --axis {key}=VALUE,VALUE");
                return Err(wrong(&format!("{key} is varied by this study"), &hint));
            }
        }
        Ok(())
    }

    /// The plans of the grid, each valid for the model.
    pub(super) fn plans(&self, decoder: &Decoder) -> Result<Vec<Case<Plan>>> {
        let (defaults, titles) = (table(&Plan::default())?, self.titles());
        if self.axes.iter().flat_map(Axis::coordinates).any(|one| one.overlay.contains_key("model")) {
            return Err(wrong("a study has one model, and no axis of models", "make a study of each"));
        }
        let mut texts = Texts::default();
        let checkpoint = decoder.checkpoint().fingerprint()?;
        let case = |point: Vec<Coordinate>| {
            let mut settings = self.base.clone();
            for coordinate in &point {
                overlay(&mut settings, &coordinate.overlay);
            }
            let what = describe(&titles, &point);
            let plan = resolve(&read(settings, &defaults, &what)?, decoder.spec(), &what)?;
            let nameless = Plan { model: String::new(), ..plan.clone() };
            let parts = [nameless.to_toml()?, checkpoint.clone(), texts.digests(&plan)?];
            Ok(Case { point, settings: plan, fingerprint: fingerprint(&parts.each_ref().map(String::as_str)) })
        };
        let cases = product(&self.axes).into_iter().map(case).collect::<Result<Vec<_>>>()?;
        check_scored_alike(&cases)?;
        Ok(cases)
    }
}

/// Runs without a text to score are scored on held-out calibration windows: those must be the same for all.
fn check_scored_alike(cases: &[Case<Plan>]) -> Result<()> {
    let mut held_out = cases.iter().map(|case| &case.settings).filter(|plan| !scores_texts(plan)).map(scoring);
    let Some(first) = held_out.next().transpose()? else { return Ok(()) };
    for other in held_out {
        if other? != first {
            return Err(wrong(
                "the runs would be scored on different held-out calibration windows, and could not be compared",
                "give a text to score: --eval-wikitext FILE or --eval-text FILE (`demo` is a built-in one)",
            ));
        }
    }
    Ok(())
}

fn scores_texts(plan: &Plan) -> bool {
    !(plan.evaluation.texts.is_empty() && plan.evaluation.wikitext.is_empty())
}

/// Overwrites settings of a plan. A sparsity, a pattern and units that go exclude each other: what comes later stays.
fn overlay(settings: &mut Table, overlay: &Table) {
    if let Some(pruning) = settings.get_mut("pruning").and_then(toml::Value::as_table_mut) {
        let narrows = ["ratio", "width", "kv_heads"].iter().any(|key| at(overlay, &format!("shrink.{key}")).is_some());
        let excluded: &[&str] = match [at(overlay, "pruning.pattern"), at(overlay, "pruning.sparsity")] {
            [Some(_), None] => &["sparsity", "scope"],
            [None, Some(_)] => &["pattern"],
            [None, None] if narrows => &["sparsity", "pattern", "scope"],
            _ => &[],
        };
        for key in excluded {
            pruning.remove(*key);
        }
    }
    merge(settings, overlay);
}

/// Validates a plan and fills in its defaults.
fn resolve(plan: &Plan, spec: &DecoderSpec, what: &str) -> Result<Plan> {
    let named = |error: Error| wrong(&format!("{what}: {error}"), error.hint().unwrap_or_default());
    plan.validate(spec).map_err(named)?;
    plan.resolved(spec)
}

fn table(plan: &Plan) -> Result<Table> {
    let text = plan.to_toml()?;
    text.parse().map_err(|error| wrong(&format!("the plan has no table: {error}"), ""))
}

/// Digests of the files that plans name: a text that changes makes another run.
#[derive(Default)]
struct Texts(BTreeMap<PathBuf, String>);

impl Texts {
    fn digests(&mut self, plan: &Plan) -> Result<String> {
        let (calibration, evaluation) = (&plan.calibration, &plan.evaluation);
        let tasks = evaluation.tasks.iter().map(PathBuf::from);
        let described: Vec<PathBuf> = tasks.filter(|name| name.extension().is_some()).collect();
        let files = [&calibration.files, &calibration.wikitext, &evaluation.texts, &evaluation.wikitext, &described];
        let mut digests = String::new();
        for file in files.into_iter().flatten() {
            if !self.0.contains_key(file) {
                self.0.insert(file.clone(), digest(file)?);
            }
            digests += &self.0[file];
        }
        Ok(digests)
    }
}

fn digest(file: &Path) -> Result<String> {
    if crate::text::builtin_held_out(file).is_some() {
        return Ok("built-in".into());
    }
    let bytes = fs::read(file).map_err(Error::io("read", file))?;
    Ok(blake3::hash(&bytes).to_hex().to_string())
}

/// Prunes a model again and again.
pub(super) struct Pruner<'a> {
    model: &'a Decoder,
    directory: &'a Directory,
    keep: bool,
    /// Scores of the dense model, by what they depend on.
    dense: BTreeMap<String, ScoredModel>,
}

impl<'a> Pruner<'a> {
    /// What earlier runs say of the dense model is not computed again.
    pub fn new(
        model: &'a Decoder,
        directory: &'a Directory,
        keep: bool,
        cases: &[Case<Plan>],
        known: &[Option<Record>],
    ) -> Result<Self> {
        let mut dense = BTreeMap::new();
        for (case, record) in cases.iter().zip(known) {
            if let Some(model) = record.as_ref().and_then(Record::finding).and_then(|found| found.evaluation.first()) {
                dense.insert(scoring(&case.settings)?, model.clone());
            }
        }
        directory.create_models()?;
        Ok(Self { model, directory, keep, dense })
    }

    /// Makes a run.
    pub fn run(&mut self, case: &Case<Plan>, observer: &mut (dyn Observer + Send)) -> Result<Finding> {
        let kept = self.directory.model(&case.fingerprint);
        let out = if self.keep { kept } else { self.directory.passing_model(&case.fingerprint) };
        if out.exists() {
            // of a run that was killed before its record was written
            fs::remove_dir_all(&out).map_err(Error::io("remove", &out))?;
        }
        reset_peak_memory();
        let scoring = scoring(&case.settings)?;
        let report = prune_knowing(self.dense.get(&scoring), &case.settings, self.model, &out, observer)?;
        if !self.keep {
            fs::remove_dir_all(&out).map_err(Error::io("remove", &out))?;
        }
        if let Some(model) = report.evaluation.first() {
            self.dense.insert(scoring, model.clone());
        }
        Ok(finding(report))
    }
}

/// Everything that the scores of the dense model depend on, beside the files themselves.
fn scoring(plan: &Plan) -> Result<String> {
    let mut part = Plan { evaluation: plan.evaluation.clone(), ..Plan::default() };
    (part.compute.dtype, part.compute.device) = (plan.compute.dtype, plan.compute.device.clone());
    if !scores_texts(plan) {
        // held-out calibration windows are scored
        part.calibration = plan.calibration.clone();
    }
    part.to_toml()
}

/// What a study keeps of a report. Time is that of pruning and repair: scoring is not counted.
fn finding(report: Report) -> Finding {
    let score = |model: Option<&ScoredModel>| {
        model.and_then(|model| model.scores.texts.first()).map(|text| text.score.perplexity)
    };
    let scoring: f64 =
        report.timings.stages().iter().filter(|(name, _)| *name == "evaluate").map(|stage| stage.1).sum();
    let errors = |of: fn(&crate::report::MatrixFacts) -> Option<f64>| {
        let known: Vec<f64> = report.matrices.iter().filter_map(of).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    };
    let shrink = &report.plan.shrink;
    let has_zeros = !(shrink.narrows() || shrink.is_asked() && report.model.target == 0);
    let measures = [
        ("perplexity", score(report.evaluation.last())),
        ("dense", score(report.evaluation.first())),
        ("sparsity", has_zeros.then(|| report.model.sparsity())),
        ("parameters", report.shrunk.as_ref().map(|shrunk| shrunk.parameters[1] as f64)),
        ("bytes", report.shrunk.as_ref().map(|shrunk| shrunk.bytes[1] as f64)),
        ("error_pruned", errors(|matrix| matrix.solution.error_pruned)),
        ("error_compensated", errors(|matrix| matrix.solution.error_compensated)),
        ("error_reconstructed", errors(|matrix| matrix.error_reconstructed)),
        ("seconds", Some(report.seconds - scoring)),
        ("peak_memory", report.peak_memory.map(|bytes| bytes as f64)),
        ("warnings", Some(report.warnings.len() as f64)),
    ];
    let known = measures.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Finding { measures: known.collect(), evaluation: report.evaluation, warnings: report.warnings }
}
