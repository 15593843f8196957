//! Whole studies on the demo model: a grid that takes seconds.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Answer, Outcome, Study, run};
use crate::error::Result;
use crate::plan::Plan;
use crate::progress::{Event, Silent};
use tempfile::TempDir;

/// The demo model in a directory of its own.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().expect("directory"));
        lopper_demo::write_model(&home.path("model")).expect("written");
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, study: &Study, out: &str) -> Result<Answer> {
        run(study, Some(&self.path("model")), &self.path(out), false, &mut Silent)
    }
}

/// Of these axes, on a small plan.
fn study(axes: &str) -> Study {
    let text = format!(
        "name = 'small'\nquestion = 'What helps?'\nx = 'pruning.damping'\nagainst = ['peak_memory']\n{axes}{BASE}"
    );
    let mut study = Study::parse(&text, "small").expect("a study");
    study.settle(&Plan::default(), |_| ()).expect("a plan");
    study
}

const BASE: &str = "[base]
calibration = { samples = 4, seqlen = 64 }
reconstruction.granularity = 'none'
evaluation = { texts = 'demo', windows = 4, seqlen = 64 }
";
const DAMPING: &str = "[[axes]]\nkey = 'pruning.damping'\nvalues = [0.01, 1]\n";
const SEED: &str = "[[axes]]\nkey = 'calibration.seed'\nvalues = [0, 1]\n";

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("directory").flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_study_answers_once_and_is_taken_up_where_it_was() {
    let home = Home::new();
    let study = study(&format!("over = 'calibration.seed'\n{DAMPING}{SEED}"));
    let first = home.run(&study, "out").expect("an answer");
    assert_eq!((first.taken, first.failed(), first.runs.len(), first.rows.len()), (0, 0, 4, 2));
    let files = [".lock", "plot.svg", "plot_peak_memory.svg", "results.json", "runs", "study.toml", "table.md"];
    assert_eq!(names(&home.path("out")), files);
    let against = fs::read_to_string(home.path("out/plot_peak_memory.svg")).expect("plot");
    assert!(against.contains(">peak memory in MiB</text>") && against.contains(">damping 0.01</text>"), "{against}");
    assert_eq!(names(&home.path("out/runs")).len(), 4);
    for row in &first.rows {
        let perplexity = row.measures["perplexity"];
        assert!(perplexity.deviation.is_some_and(|deviation| deviation > 0.0) && row.runs == 2, "{row:?}");
        assert!(perplexity.mean > row.measures["dense"].mean, "pruning hurts");
        assert!(row.measures["error_compensated"].mean < row.measures["error_pruned"].mean);
    }
    let table = fs::read_to_string(home.path("out/table.md")).expect("table");
    assert!(table.contains("| damping | perplexity |") && table.contains('±'), "{table}");
    let results: serde_json::Value =
        serde_json::from_slice(&fs::read(home.path("out/results.json")).expect("results")).expect("JSON");
    assert_eq!(results["runs"].as_array().map(Vec::len), Some(4));

    fs::remove_file(home.path("out/table.md")).expect("removed");
    let second = home.run(&study, "out").expect("an answer");
    assert_eq!((second.taken, second.table()), (4, first.table()));
    assert_eq!(fs::read_to_string(home.path("out/table.md")).expect("written again"), table);

    // the study that was written is the study that was run; a file that is damaged counts as none
    let written = Study::read(&home.path("out/study.toml")).expect("a study");
    let damaged = home.path("out/runs").join(&names(&home.path("out/runs"))[0]);
    fs::write(&damaged, "{").expect("written");
    let mut stages = Vec::new();
    let mut observer = |event: Event| {
        if let Event::Stage { name } = event {
            stages.push(name.to_owned());
        }
    };
    let third = run(&written, Some(&home.path("model")), &home.path("out"), false, &mut observer).expect("an answer");
    assert_eq!(third.taken, 3);
    let [again, once] = [&third, &first].map(|answer| answer.rows[0].measures["perplexity"].mean);
    assert!((again - once).abs() < 1e-12 * once, "a run can be repeated: {again} after {once}");
    assert!(stages.len() == 1 && stages[0].starts_with("run ") && stages[0].contains("of 4: damping "), "{stages:?}");
}

#[test]
fn what_goes_whole_is_told_as_a_size_and_excludes_zeros() {
    let home = Home::new();
    for (key, values, has_zeros) in [("width", "[0.5, 0.75]", false), ("depth", "[2, 3]", true)] {
        let axes = format!("[[axes]]\nkey = 'shrink.{key}'\nvalues = {values}\n");
        let text = format!("name = 'shapes'\nquestion = 'What is left?'\nx = 'shrink.{key}'\n{axes}{BASE}");
        let mut study = Study::parse(&text, "shapes").expect("a study");
        let mut plan = Plan::default();
        plan.pruning.sparsity = Some(0.25);
        study.settle(&plan, |_| ()).expect("a plan");
        let answer = home.run(&study, key).expect("an answer");
        assert_eq!((answer.failed(), answer.rows.len()), (0, 2), "{key}");
        let [less, more] = [0, 1].map(|row| answer.rows[row].measures["parameters"].mean);
        assert!(less < more, "{key}: {less} {more}");
        assert!(answer.rows.iter().all(|row| row.measures.contains_key("sparsity") == has_zeros), "{key}");
        assert!(answer.table().0.contains(&"parameters in M".into()), "{:?}", answer.table());
    }
}

#[test]
fn a_run_that_fails_is_told_and_stops_no_other() {
    let home = Home::new();
    let few = "[[axes]]\nkey = 'calibration.samples'\nvalues = [4, 100000]\n";
    fs::write(home.path("text.txt"), lopper_demo::calibration_text(30)).expect("written");
    let mut study = study(&format!("{}{few}", DAMPING.replace(", 1]", "]")));
    study.settle(&Plan::default(), |plan| plan.calibration.files = vec![home.path("text.txt")]).expect("a plan");
    let answer = home.run(&study, "out").expect("an answer");
    assert_eq!((answer.failed(), answer.rows[0].runs, answer.rows[1].runs), (1, 1, 0));
    assert!(answer.failure.as_ref().is_some_and(|error| error.to_string().contains("too short")));
    assert!(matches!(&answer.runs[1].outcome, Outcome::Failed(message) if message.contains("too short")));
    assert!(answer.markdown().contains("Failed: damping 0.01, samples 100000: the calibration text is too short"));
    assert_eq!(home.run(&study, "out").expect("an answer").taken, 1, "what failed is tried again");
    fs::write(home.path("text.txt"), lopper_demo::calibration_text(31)).expect("written");
    assert_eq!(home.run(&study, "out").expect("an answer").taken, 0, "another text is another run");
}

#[test]
fn one_program_at_a_time_and_what_a_killed_one_left_is_removed() {
    let home = Home::new();
    let study = study(&DAMPING.replace(", 1]", "]"));
    let left = home.path("out/models/.0123.partial-1-study");
    let directory = super::directory::Directory::open(&home.path("out"), &study, None).expect("opens");
    fs::create_dir_all(&left).expect("created");
    let message = home.run(&study, "out").expect_err("refused").to_string();
    assert!(message.contains("another lopper is at work"), "{message}");
    drop(directory);
    home.run(&study, "out").expect("an answer");
    assert!(!left.exists() && !home.path("out/models").exists());
}

#[test]
fn models_are_kept_on_demand() {
    let home = Home::new();
    let study = study(&DAMPING.replace(", 1]", "]"));
    home.run(&study, "out").expect("an answer");
    let kept = |keep| run(&study, Some(&home.path("model")), &home.path("out"), keep, &mut Silent).expect("an answer");
    assert_eq!(kept(true).taken, 0, "the model was not kept the first time");
    assert_eq!(kept(true).taken, 1);
    let models = home.path("out/models");
    assert!(names(&models.join(&names(&models)[0])).iter().any(|name| name == "config.json"));
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_written() {
    let home = Home::new();
    let axis = |key: &str, values: &str| format!("[[axes]]\nkey = '{key}'\nvalues = {values}\n");
    let single = DAMPING.replace(", 1]", "]");
    let cases = [
        (axis("pruning.dampin", "[1]"), "dampin"),
        (axis("pruning.iterations", "['many']"), "many"),
        (axis("pruning.pattern", "['2:4', '2:5']"), "pattern 2:5: pattern 2:5 does not divide"),
        (axis("calibration.files", "['absent.txt']"), "absent.txt"),
        (axis("model", "['a', 'b']"), "one model"),
        (format!("{}{}", axis("pruning.pattern", "['2:4', '4:8']"), axis("pruning.sparsity", "[0.5]")), "same run"),
    ];
    for (axes, expected) in cases {
        let error = home.run(&study(&format!("{single}{axes}")), "out").expect_err("refused").to_string();
        assert!(error.contains(expected), "{error} should name {expected}");
    }
    let valid = study(DAMPING);
    assert!(home.run(&valid, "model/inside").expect_err("refused").to_string().contains("inside the model"));
    fs::create_dir(home.path("mine")).expect("created");
    fs::write(home.path("mine/file"), "x").expect("written");
    assert!(home.run(&valid, "mine").expect_err("refused").to_string().contains("not empty"));
    assert_eq!(names(&home.path("model")).len(), lopper_demo::FILES.len(), "nothing is left in the model");
    let mut other = valid.clone();
    other.settle(&Plan::default(), |plan| plan.evaluation.texts.clear()).expect("a plan");
    other.set_axis(super::Axis::parse("calibration.samples=4,8").expect("axis")).expect("valid");
    assert!(home.run(&other, "new").expect_err("refused").to_string().contains("scored on different"));
    let mut fixed = valid.clone();
    let message =
        fixed.settle(&Plan::default(), |plan| plan.pruning.damping = Some(0.5)).expect_err("refused").to_string();
    assert_eq!(message, "pruning.damping is varied by this study");
    assert!(!home.path("new").exists() && !home.path("out").exists());
}
