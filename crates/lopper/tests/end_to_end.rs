//! Whole runs on the demo model, which is small enough to prune in seconds and trained enough to be hurt by it.

use crate::demo;

use std::fs;

use lopper::plan::{ComputeDtype, Granularity, Inputs, Plan, PruningGranularity};

use demo::{Demo, files, weights};

#[test]
fn repair_climbs_the_ladder() {
    let demo = Demo::new();
    let mut plan = demo.plan();
    plan.evaluation.ladder = true;
    let before = files(&demo.path("model"));
    let report = demo.prune(&plan, "out").expect("a valid run");
    let names: Vec<&str> = report.evaluation.iter().map(|rung| rung.name.as_str()).collect();
    assert_eq!(names, ["dense", "pruned", "compensated", "reconstructed"]);
    let scores: Vec<f64> = report.evaluation.iter().map(|rung| rung.scores.texts[0].score.perplexity).collect();
    assert!(scores[0] < scores[3] && scores[3] < scores[2] && scores[2] < scores[1], "{scores:?}");
    assert!((report.model.sparsity() - 0.5).abs() < 0.01, "{}", report.model.sparsity());
    assert_eq!(files(&demo.path("model")), before, "the input model is never modified");
    let written = files(&demo.path("out"));
    for kept in ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
        assert_eq!(written[kept], before[kept], "{kept}");
    }
    let parsed: serde_json::Value = serde_json::from_slice(&written["report.json"]).expect("JSON");
    assert_eq!(parsed["matrices"].as_array().map(Vec::len), Some(28));
    assert_eq!(Plan::read(&demo.path("out").join("plan.toml")).expect("a plan"), report.plan);
    assert_eq!(entries(&demo), ["calibration.txt", "held_out.txt", "model", "out"], "lower rungs leave nothing behind");
}

/// What lies in the demo's directory.
fn entries(demo: &Demo) -> Vec<String> {
    let listing = fs::read_dir(demo.path("")).expect("directory").flatten();
    let mut names: Vec<String> = listing.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn the_same_plan_gives_the_same_bytes_for_any_number_of_threads() {
    let demo = Demo::new();
    for dtype in [ComputeDtype::F32, ComputeDtype::Bf16] {
        let outputs = [1, 2, 3].map(|threads| {
            let mut plan = demo.plan();
            plan.compute.threads = Some(threads);
            plan.compute.dtype = dtype;
            let out = format!("out-{dtype:?}-{threads}");
            demo.prune(&plan, &out).expect("a valid run");
            weights(&demo.path(&out))
        });
        assert!(outputs[0] == outputs[1] && outputs[1] == outputs[2], "{dtype:?}");
    }
}

#[test]
fn every_setting_gives_exactly_the_zeros_asked_for() {
    let demo = Demo::new();
    let mut plans = Vec::new();
    for (criterion, compensation, granularity) in [
        ("wanda", "joint", Granularity::Submodule),
        ("wanda", "none", Granularity::Submodule),
        ("wanda", "joint", Granularity::None),
        ("magnitude", "none", Granularity::Submodule),
        ("random", "joint", Granularity::None),
        ("random", "none", Granularity::None),
    ] {
        let mut plan = demo.plan();
        plan.pruning.criterion = Some(criterion.into());
        plan.pruning.compensation = compensation.into();
        plan.reconstruction.granularity = granularity;
        plan.reconstruction.epochs = 1;
        plans.push(plan);
    }
    let mut other = demo.plan();
    other.pruning.pattern = Some("2:4".into());
    other.calibration.inputs = Inputs::Dense;
    plans.push(other.clone());
    other.pruning.pattern = Some("4:8".into());
    other.calibration.inputs = Inputs::Pruned;
    other.pruning.granularity = PruningGranularity::Block;
    plans.push(other);
    for (index, plan) in plans.iter().enumerate() {
        let out = format!("out-{index}");
        demo.prune(plan, &out).expect("a valid run");
        let decoder = demo.open(&out).expect("a decoder");
        let pattern = plan.pattern().expect("valid");
        for id in decoder.spec().linear_ids() {
            let weight = decoder.load_weight(id).expect("weight");
            assert_eq!(pattern.violation(weight.host(), weight.width()), None, "{id:?} of plan {index}");
        }
    }
}

#[test]
fn a_learning_rate_of_zero_changes_nothing() {
    let demo = Demo::new();
    let mut plan = demo.plan();
    plan.reconstruction.learning_rate = 0.0;
    demo.prune(&plan, "idle").expect("a valid run");
    plan.reconstruction.granularity = Granularity::None;
    demo.prune(&plan, "none").expect("a valid run");
    assert!(weights(&demo.path("idle")) == weights(&demo.path("none")));
}

#[test]
fn damping_is_found_on_held_out_windows_where_there_are_any_and_none_is_asked_for() {
    let demo = Demo::new();
    let mut plan = demo.plan();
    plan.reconstruction.epochs = 1;
    let report = demo.prune(&plan, "found").expect("a valid run");
    for facts in report.matrices.iter().map(|facts| &facts.solution) {
        assert!(facts.held_out_pruned.is_some() && facts.held_out_compensated <= facts.held_out_pruned, "{facts:?}");
    }
    for window in &report.windows {
        let (outcome, name) = (&window.outcome, &window.window);
        let kept = outcome.held_out_after < outcome.held_out_before;
        assert_eq!(kept, outcome.share > 0.0 && outcome.share <= 1.5, "{name}: {outcome:?}");
    }
    plan.reconstruction.granularity = Granularity::None;
    let mut without = plan.clone();
    plan.pruning.damping = Some(0.01);
    without.calibration.held_out = 0;
    for (plan, out) in [(&plan, "fixed"), (&without, "without")] {
        let report = demo.prune(plan, out).expect("a valid run");
        assert!(report.matrices.iter().all(|facts| facts.solution.held_out_pruned.is_none()), "{out}");
        assert!(report.matrices.iter().all(|facts| facts.solution.damping.is_some()), "{out}");
    }
    assert!(weights(&demo.path("fixed")) == weights(&demo.path("without")), "0.01 is what is left without them");
}

#[test]
fn a_learning_rate_that_diverges_is_undone() {
    let demo = Demo::new();
    let mut plan = demo.plan();
    plan.reconstruction.learning_rate = 0.9;
    plan.reconstruction.epochs = 1;
    let report = demo.prune(&plan, "out").expect("a valid run");
    assert!(report.windows.iter().any(|window| window.outcome.restored > 0), "0.9 should be too much somewhere");
    for window in &report.windows {
        let (before, after) =
            (window.outcome.held_out_before.expect("held out"), window.outcome.held_out_after.expect("held out"));
        assert!(after <= before, "{after} after {before}");
    }
    assert!(report.warnings.iter().any(|warning| warning.contains("undone")));
}

#[test]
fn zero_sparsity_without_training_gives_the_model_back() {
    let demo = Demo::new();
    let mut plan = demo.plan();
    plan.pruning.sparsity = Some(0.0);
    plan.reconstruction.granularity = Granularity::None;
    demo.prune(&plan, "out").expect("a valid run");
    assert!(weights(&demo.path("out")) == weights(&demo.path("model")));
}

/// Runs a plan that must be refused before anything is written.
fn refused(demo: &Demo, plan: &Plan, out: &str) -> lopper::Error {
    let before = entries(demo);
    let error = demo.prune(plan, out).expect_err("refused");
    assert_eq!(entries(demo), before, "nothing is left behind");
    error
}

#[test]
fn what_cannot_work_is_refused_before_anything_is_computed() {
    let demo = Demo::new();
    let base = demo.plan();
    let changed = |change: &dyn Fn(&mut Plan)| {
        let mut plan = base.clone();
        change(&mut plan);
        plan
    };
    let cases: Vec<(Plan, &str)> = vec![
        (changed(&|plan| plan.pruning.sparsity = Some(1.0)), "outside [0, 1)"),
        (changed(&|plan| plan.pruning.pattern = Some("2:5".into())), "does not divide"),
        (changed(&|plan| plan.pruning.pattern = Some("4:2".into())), "N < M"),
        (changed(&|plan| plan.pruning.criterion = Some("wander".into())), "wander"),
        (changed(&|plan| plan.calibration.samples = 100_000), "too short"),
        (changed(&|plan| plan.calibration.seqlen = Some(4096)), "max_position_embeddings"),
        (changed(&|plan| plan.calibration.files = vec![demo.path("absent.txt")]), "absent.txt"),
        (changed(&|plan| plan.calibration.wikitext = vec![demo.path("missing.raw")]), "missing.raw"),
        (changed(&|plan| plan.evaluation.texts = vec![demo.path("absent.txt")]), "absent.txt"),
        (changed(&|plan| plan.compute.device = "tpu".into()), "tpu"),
        (changed(&|plan| plan.reconstruction.learning_rate = f32::NAN), "learning_rate"),
    ];
    for (plan, expected) in cases {
        let error = refused(&demo, &plan, "out");
        assert!(error.to_string().contains(expected), "{error} should name {expected}");
    }
    assert!(refused(&demo, &base, "model").to_string().contains("model"));
    assert!(refused(&demo, &base, "model/inside").to_string().contains("model"));
    fs::create_dir(demo.path("full")).expect("created");
    fs::write(demo.path("full").join("file"), "mine").expect("written");
    assert!(refused(&demo, &base, "full").to_string().contains("full"));
}

#[test]
fn a_damaged_model_is_refused() {
    let demo = Demo::new();
    let config = demo.path("model").join("config.json");
    let text = fs::read_to_string(&config).expect("config");
    let tokenizer = demo.path("model").join("tokenizer.json");
    let tokens = fs::read_to_string(&tokenizer).expect("tokenizer");
    fs::write(&tokenizer, tokens.replacen("\"added_tokens\": [", "\"added_tokens\": [{\"id\": 1024, \"content\": \"<|new|>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": true},", 1)).expect("written");
    let (text_file, held_out) =
        (demo.path("held_out.txt"), fs::read_to_string(demo.path("held_out.txt")).expect("text"));
    fs::write(&text_file, format!("{held_out}<|new|>")).expect("written");
    let error = refused(&demo, &demo.plan(), "out");
    assert!(error.to_string().contains("the token 1024 (\"<|new|>\"), and the model knows only 1024"), "{error}");
    fs::write(&text_file, held_out).expect("written");
    fs::remove_file(&tokenizer).expect("removed");
    assert!(refused(&demo, &demo.plan(), "out").to_string().contains("tokenizer.json"));
    fs::write(&tokenizer, tokens).expect("written");
    fs::write(&config, text.replace("\"llama\"", "\"mamba9\"")).expect("written");
    assert!(refused(&demo, &demo.plan(), "out").to_string().contains("mamba9"));
    fs::write(&config, text).expect("written");
    let path = demo.path("model").join("model.safetensors");
    let mut bytes = fs::read(&path).expect("weights");
    let end = bytes.len();
    bytes[end - 2..].copy_from_slice(&0x7FC0u16.to_le_bytes());
    fs::write(&path, &bytes).expect("written");
    let error = refused(&demo, &demo.plan(), "out");
    assert!(error.to_string().to_lowercase().contains("nan"), "{error}");
    fs::write(&path, &bytes[..end / 2]).expect("written");
    assert!(refused(&demo, &demo.plan(), "out").to_string().contains("model.safetensors"));
}
