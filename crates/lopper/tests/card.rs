//! The card of a pruned model: what it says, what it must not say, and what becomes of the card of the input.

use crate::demo;
use crate::tiny::Tiny;

use std::fs;

use demo::{Demo, files};
use lopper::card::{CARD, card, remake};
use lopper::evaluation::HELD_OUT;
use lopper::plan::{Granularity, Plan, Ratios, RetrainingObjective};
use lopper::report::Summary;
use lopper::schedule::Run;
use serde_json::{Value, json};
use yaml_rust2::{Yaml, YamlLoader};

/// A run with everything that a card tells.
fn report() -> Value {
    let text = |perplexity: f64| json!({ "text": "/home/secret/wiki.test.raw", "perplexity": perplexity, "windows": 20, "seqlen": 2048, "nll": [] });
    let metrics = |acc: f64| json!([{ "metric": "acc", "value": acc, "standard_error": 0.01089 }, { "metric": "acc_norm", "value": acc + 0.01, "standard_error": null }]);
    let task = |acc: f64| {
        json!([
            { "task": "piqa", "version": "1.0", "questions": 1838, "available": 1838, "examples": 0, "metrics": metrics(acc) },
            { "task": "mine", "version": "1", "questions": 40, "available": 90, "examples": 2, "metrics": [{ "metric": "perplexity", "value": 12.5, "standard_error": 0.5 }] },
        ])
    };
    let model = |name: &str, perplexity: f64, acc: f64| json!({ "name": name, "texts": [text(perplexity)], "tasks": task(acc) });
    json!({
        "version": "0.1.0",
        "plan": {
            "model": "owner/name@main",
            "calibration": { "files": ["/home/secret/my-text.jsonl"], "seqlen": 512 },
            "pruning": { "pattern": "2:4", "criterion": "wanda", "rules": [{ "matrices": "down_proj", "sparsity": 0.25 }] },
            "reconstruction": { "granularity": "block" },
            "retraining": { "objective": "kl", "epochs": 1 },
            "compute": { "dtype": "f32" },
            "evaluation": { "wikitext": ["/home/secret/wiki.test.raw"], "ladder": true },
        },
        "model": {
            "path": "owner/name@main", "hub": { "id": "owner/name", "commit": "0a1b2c" }, "family": "llama",
            "prunable": 1000, "zeros": 437, "target": 437, "bytes": 269_060_552, "fingerprint": "5eed",
        },
        "evaluation": [model("dense", 20.97, 0.68118), model("pruned", 149.44, 0.55), model("reconstructed", 36.023_456, 0.61)],
        "matrices": "not read", "windows": null,
    })
}

fn summary(report: &Value) -> Summary {
    Summary::parse(report.to_string().as_bytes()).expect("a report")
}

/// A smaller model, made of one that was pruned by this program before.
fn shrunk() -> Value {
    let mut report = report();
    let earlier = ["version", "plan", "model"].map(|key| (key.to_owned(), report[key].clone()));
    report["earlier"] = json!([Value::Object(earlier.into_iter().collect())]);
    report["plan"] = json!({ "model": "/home/secret/first", "shrink": { "drop": [20, 21, 22, 23] }, "reconstruction": { "granularity": "none" }, "compute": { "dtype": "f32" } });
    report["model"]["path"] = "/home/secret/first".into();
    report["model"]["hub"] = Value::Null;
    let serving = json!({ "cache_bytes": 23_040, "flops": 2.69e8, "tensor_parallel": [1, 3], "k_quants": 0.5 });
    report["shrunk"] = json!({ "depth": [30, 26], "experts_kept": { "3": [0, 2] }, "parameters": [134_515_008, 120_000_000], "bytes": [269_060_552, 240_000_000], "serving": [serving, serving] });
    report["evaluation"] = json!([{ "name": "dense", "texts": [] }, { "name": "pruned", "texts": [] }]);
    report
}

const BASE: &str = "---\nlicense: other\nlicense_name: a-licence\nlicense_link: LICENSE\nlanguage:\n- en\n- no\ntags: [gguf]\nbase_model: someone/else\n---\n# The input\n";

#[test]
fn cards_say_what_reports_do() {
    insta::assert_snapshot!("card", card("smollm2-pruned", &summary(&report()), Some(BASE)));
    insta::assert_snapshot!("card-of-a-smaller-model", card("second", &summary(&shrunk()), None));
}

/// Between the lines of `---`.
fn head(card: &str) -> &str {
    card.strip_prefix("---\n").and_then(|rest| rest.split("\n---\n").next()).expect("a head")
}

fn yaml(card: &str) -> Yaml {
    YamlLoader::load_from_str(head(card)).expect("YAML").remove(0)
}

#[test]
fn the_head_is_what_the_hub_reads() {
    let head = yaml(&card("smollm2-pruned", &summary(&report()), Some(BASE)));
    assert_eq!(
        (head["base_model"].as_str(), head["base_model_relation"].as_str()),
        (Some("owner/name"), Some("finetune"))
    );
    assert_eq!((head["license_name"].as_str(), head["language"][1].as_str()), (Some("a-licence"), Some("no")));
    assert_eq!((head["tags"][0].as_str(), head["pipeline_tag"].as_str()), (Some("lopper"), Some("text-generation")));
    let index = &head["model-index"][0];
    assert_eq!(index["name"].as_str(), Some("smollm2-pruned"));
    let [text, piqa, mine] = [0, 1, 2].map(|place| &index["results"][place]);
    assert_eq!(
        (text["dataset"]["type"].as_str(), text["metrics"][0]["value"].as_f64()),
        (Some("wikitext"), Some(36.023))
    );
    assert_eq!(
        (piqa["dataset"]["type"].as_str(), piqa["metrics"][1]["value"].as_f64()),
        (Some("baber/piqa"), Some(0.62))
    );
    assert_eq!(
        (mine["dataset"]["type"].as_str(), mine["dataset"]["args"]["num_few_shot"].as_i64()),
        (Some("custom"), Some(2))
    );
    // what is not known is not said
    let head = yaml(&card("second", &summary(&shrunk()), Some("no head")));
    assert_eq!(head["base_model"].as_str(), Some("owner/name"), "the nearest on the Hub");
    assert!(["license", "language", "model-index"].iter().all(|key| head[*key].is_badvalue()));
    let mut report = report();
    for hub in [
        json!(null),
        json!({ "id": "../../etc", "commit": "0a" }),
        json!({ "id": "a/b](x)", "commit": "0a" }),
        json!({ "id": "a/b", "commit": "main" }),
    ] {
        report["model"]["hub"] = hub;
        let card = card("x", &summary(&report), None);
        assert!(yaml(&card)["base_model"].is_badvalue() && card.contains("`name@main`"), "{card}");
    }
}

/// Every text of a report, and what a run cannot do without left alone.
fn overwrite(value: &mut Value, with: &str) {
    match value {
        Value::String(text)
            if !["2:4", "block", "kl", "f32", "acc", "acc_norm", "perplexity"].contains(&text.as_str()) =>
        {
            with.clone_into(text);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| overwrite(item, with)),
        Value::Object(fields) => fields.values_mut().for_each(|field| overwrite(field, with)),
        _ => {}
    }
}

/// A text without its code spans.
fn without_code(text: &str) -> String {
    let (mut plain, mut rest) = (String::new(), text);
    while let Some(begin) = rest.find('`') {
        plain.push_str(&rest[..begin]);
        let fence = rest[begin..].len() - rest[begin..].trim_start_matches('`').len();
        let inside = &rest[begin + fence..];
        let mut end = 0;
        loop {
            let at = end + inside[end..].find('`').expect("a span ends");
            let run = inside[at..].len() - inside[at..].trim_start_matches('`').len();
            end = at + run;
            if run == fence {
                break;
            }
        }
        rest = &inside[end..];
    }
    plain + rest
}

#[test]
fn hostile_names_stay_names() {
    let good = card("good", &summary(&report()), Some(BASE));
    assert!(!good.contains("/home"), "{good}");
    let keys = |card: &str| -> Vec<String> {
        let head = yaml(card);
        head.as_hash().expect("a map").keys().map(|key| key.as_str().expect("a key").to_owned()).collect()
    };
    let body = |card: &str| without_code(card.split_once("\n---\n").expect("a head").1);
    let headings = |body: &str| body.lines().filter(|line| line.starts_with('#')).count();
    for evil in [
        "\n---\nlicense: mit",
        "evil|evil\\|evil",
        "`evil` ``` evil",
        "<script>evil</script>",
        "[evil](http://evil)",
        "![evil](evil) www.evil.com evil@evil.com",
        "\u{1b}[2Jevil\u{202e}\u{2028}",
        "# evil",
        "evil: [",
    ] {
        let mut report = report();
        overwrite(&mut report, evil);
        report["model"]["hub"] = json!({ "id": "owner/name", "commit": "0a1b2c" });
        // JSON is YAML
        let quoted = Value::from(evil);
        let base = format!(
            "---\nlicense: {quoted}\nlicense_name: {quoted}\nlicense_link: {quoted}\nlanguage: [{quoted}]\n---\n"
        );
        let card = card(evil, &summary(&report), Some(&base));
        assert_eq!(keys(&card), keys(&good), "{card}");
        let head = yaml(&card);
        assert_eq!(
            [&head["license"], &head["language"][0], &head["model-index"][0]["name"]].map(Yaml::as_str),
            [Some(evil); 3]
        );
        let (plain, expected) = (body(&card), body(&good));
        assert!(!plain.contains("evil") && !plain.contains("license: mit"), "{card}");
        assert_eq!(headings(&plain), headings(&expected), "{card}");
        assert!(!card.contains(['\u{1b}', '\u{202e}', '\u{2028}']), "{card}");
        let bars = |line: &str| line.matches('|').count();
        // a name and three models
        assert!(card.lines().filter(|line| line.starts_with('|')).all(|row| bars(row) == 5), "{card}");
    }
}

#[test]
fn a_run_writes_the_card_and_keeps_those_of_its_inputs() {
    let demo = Demo::new();
    fs::write(demo.path("model").join(CARD), BASE).expect("written");
    let mut plan = demo.short();
    plan.reconstruction.granularity = Granularity::None;
    demo.prune(&plan, "first").expect("a valid run");
    let first = files(&demo.path("first"));
    assert_eq!(first["README-base.md"], BASE.as_bytes());
    let card = String::from_utf8(first[CARD].clone()).expect("UTF-8");
    assert!(card.contains("# first\n") && card.contains("license_name: a-licence"), "{card}");
    let here = demo.path("").display().to_string();
    assert!(!card.contains(here.trim_end_matches('/')), "{card}");
    // a smaller one of that: its card tells of both runs
    plan.shrink.drop = vec![1];
    let second = lopper::prune::prune(
        &plan,
        &demo.open("first").expect("a model"),
        &demo.path("second"),
        &mut lopper::progress::Silent,
    );
    assert_eq!(second.expect("a valid run").earlier.len(), 1);
    let second = files(&demo.path("second"));
    assert_eq!((&second["README-base.md"], &second["README-base-2.md"]), (&first[CARD], &first["README-base.md"]));
    let card = String::from_utf8(second[CARD].clone()).expect("UTF-8");
    assert!(card.contains("### Before that") && card.contains("license_name: a-licence"), "{card}");
    for out in ["first", "second"] {
        fs::remove_file(demo.path(out).join(CARD)).expect("removed");
        remake(&demo.path(out), &[]).expect("made");
    }
    assert_eq!([files(&demo.path("first")), files(&demo.path("second"))], [first, second], "made anew it is the same");
    // a card that is missing is not taken for another: those below it keep their order
    fs::remove_file(demo.path("second").join(CARD)).expect("removed");
    plan.shrink.drop.clear();
    let model = demo.open("second").expect("a model");
    lopper::prune::prune(&plan, &model, &demo.path("third"), &mut lopper::progress::Silent).expect("a valid run");
    let [second, third] = ["second", "third"].map(|out| files(&demo.path(out)));
    assert_eq!(
        [third.get("README-base.md"), third.get("README-base-2.md"), third.get("README-base-3.md")],
        [None, second.get("README-base.md"), second.get("README-base-2.md")]
    );
    let card = String::from_utf8(third[CARD].clone()).expect("UTF-8");
    assert!(!card.contains("README-base.md") && !card.contains("a-licence"), "{card}");
}

#[test]
fn a_card_is_made_anew_with_scores_and_nothing_is_lost() {
    let directory = tempfile::tempdir().expect("directory");
    let path = |name: &str| directory.path().join(name);
    let error = remake(directory.path(), &[]).expect_err("no report");
    assert!(error.to_string().contains("there is no report.json"), "{error}");
    fs::write(path("report.json"), report().to_string()).expect("written");
    // what someone has written may be the card of the input, or their own
    fs::write(path(CARD), BASE).expect("written");
    let error = remake(directory.path(), &[]).expect_err("it would be lost");
    assert!(error.to_string().contains("would be lost"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("name it README-base.md")), "{error}");
    fs::rename(path(CARD), path("README-base.md")).expect("renamed");
    let scores = json!({
        "model": directory.path(), "texts": [{ "text": "c4.txt", "perplexity": 30.5, "windows": 3, "seqlen": 2048, "nll": [] }],
        "against": { "model": "owner/name@main", "texts": [{ "text": "c4.txt", "perplexity": 15.5, "windows": 3, "seqlen": 2048, "nll": [] }], "text_differences": [], "task_differences": [] },
    });
    fs::write(path("scores.json"), scores.to_string()).expect("written");
    remake(directory.path(), &[path("scores.json")]).expect("made");
    let card = fs::read_to_string(path(CARD)).expect("a card");
    assert!(card.contains("| `c4.txt` (3 windows of 2,048 tokens) | 15.50 | – | 30.50 |"), "{card}");
    assert!(card.contains("license_name: a-licence"), "{card}");
    assert_eq!(fs::read_to_string(path("README-base.md")).expect("kept"), BASE);
    // a new card is a new file: who reads the old one has all of it
    fs::hard_link(path(CARD), path("old.md")).expect("a link");
    remake(directory.path(), &[]).expect("made");
    assert_ne!(fs::read_to_string(path(CARD)).expect("a card"), card);
    assert_eq!(fs::read_to_string(path("old.md")).expect("the old card"), card);
    assert!(files(directory.path()).keys().all(|name| !name.starts_with('.')), "nothing is left");
    // a card of someone's own
    fs::write(path(CARD), "# Mine\n").expect("written");
    let error = remake(directory.path(), &[]).expect_err("it would be lost");
    assert!(error.hint().is_some_and(|hint| hint == "move it elsewhere first"), "{error}");
    fs::write(path("report.json"), "{}").expect("written");
    let error = remake(directory.path(), &[]).expect_err("no report");
    assert!(error.to_string().contains("missing field"), "{error}");
}

#[test]
fn scores_of_another_model_are_refused() {
    let directory = tempfile::tempdir().expect("directory");
    let [out, other] = ["name", "other"].map(|name| directory.path().join(name));
    for path in [&out, &other] {
        fs::create_dir(path).expect("created");
    }
    fs::write(out.join("report.json"), report().to_string()).expect("written");
    let scores = directory.path().join("scores.json");
    let remake_with = |model: &str| {
        let measured = json!({ "model": model, "texts": [], "against": null });
        fs::write(&scores, measured.to_string()).expect("written");
        remake(&out, std::slice::from_ref(&scores))
    };
    let here = |path: &std::path::Path| path.display().to_string();
    for own in
        [here(&out), format!("{}/.", here(&out)), here(&other.join("../name")), "./name/".into(), "runs/name".into()]
    {
        remake_with(&own).unwrap_or_else(|error| panic!("{own}: {error}"));
    }
    // one that is there, ones that are not, and the input
    for model in
        [here(&other), here(directory.path()), "no/such/model".into(), "owner/name".into(), "owner/name@main".into()]
    {
        let error = remake_with(&model).expect_err(&model);
        assert!(error.to_string().contains(&format!("these are scores of {model:?}, not of")), "{error}");
    }
}

/// The card of a report in which some values are others.
fn changed(mut report: Value, changes: &[(&str, Value)]) -> String {
    for (path, value) in changes {
        let (parent, key) = path.rsplit_once('/').expect("a path");
        report.pointer_mut(parent).expect("a place")[key] = value.clone();
    }
    card("x", &summary(&report), None)
}

/// What a card says of a step, where it does.
fn said<'a>(card: &'a str, what: &str) -> Option<&'a str> {
    card.lines().find_map(|line| line.strip_prefix(&format!("* **{what}**: ")))
}

#[test]
fn what_trained_and_to_what_end_is_said_as_it_was() {
    let dense = "trained (full) to give the activations of the dense model, 2 epochs";
    let submodule = ("/plan/reconstruction", json!({ "granularity": "submodule" }));
    let pruning = |value: Value| ("/plan/pruning", value);
    let rule = json!({ "rules": [{ "matrices": "down_proj", "sparsity": 0.25 }] });
    let local = json!({ "granularity": "blocks:3", "targets": "local" });
    let cases = [
        (report(), vec![], format!("each block in which something was pruned, {dense}")),
        (report(), vec![pruning(json!({ "pattern": "2:4" }))], format!("each block {dense}")),
        (
            report(),
            vec![pruning(json!({})), ("/plan/reconstruction", local)],
            "every 3 blocks together trained (full) to give what the dense model makes of the same inputs, 2 epochs"
                .into(),
        ),
        (
            report(),
            vec![pruning(json!({})), submodule.clone(), ("/plan/shrink", json!({ "width": 0.75 }))],
            format!("each submodule in which something was pruned, {dense}"),
        ),
        (shrunk(), vec![submodule.clone()], format!("each submodule that makes up for what went, {dense}")),
        (
            shrunk(),
            vec![submodule, pruning(rule)],
            format!("each submodule in which something was pruned, or that makes up for what went, {dense}"),
        ),
    ];
    for (report, changes, expected) in cases {
        let card = changed(report, &changes);
        assert_eq!(said(&card, "Reconstruction"), Some(expected.as_str()), "{card}");
    }
    assert!(said(&changed(shrunk(), &[]), "Compensation").is_some_and(|words| words.contains("by least squares")));
    assert_eq!(said(&changed(shrunk(), &[pruning(json!({ "compensation": "none" }))]), "Compensation"), None);
}

#[test]
fn calibration_and_zeros_are_claimed_only_where_they_were() {
    let judged = "have also judged its repair";
    let text = json!([{ "text": HELD_OUT, "perplexity": 30.5, "windows": 8, "seqlen": 512, "nll": [] }]);
    let held_out = |model: usize| (format!("/evaluation/{model}/texts"), text.clone());
    let (first, second) = (held_out(2), held_out(1));
    let (first, second) = ((first.0.as_str(), first.1), (second.0.as_str(), second.1));
    assert!(changed(report(), std::slice::from_ref(&first)).contains(judged));
    assert!(!changed(report(), &[]).contains(judged));
    assert!(changed(shrunk(), std::slice::from_ref(&second)).contains(judged), "by the damping of what stands in");
    let unrepaired = ("/plan/pruning", json!({ "compensation": "none" }));
    assert!(!changed(shrunk(), &[second.clone(), unrepaired.clone()]).contains(judged));
    // the text of the earlier run counts
    let card = changed(shrunk(), &[unrepaired.clone(), ("/calibrated", json!(false))]);
    assert!(card.contains("* It was calibrated on `my-text.jsonl` and scored on nothing."), "{card}");
    assert_eq!(said(&card, "Calibration"), Some("none"));
    let card = changed(shrunk(), &[unrepaired, ("/calibrated", json!(false)), ("/earlier", json!([])), second]);
    assert!(card.contains("* It was scored on `held-out calibration windows`."), "{card}");
    let calibration = "none; 8 windows of text that is built into lopper held out for the scores, seed 0";
    assert_eq!(said(&card, "Calibration"), Some(calibration));
    let card = changed(report(), &[("/model/zeros", json!(0))]);
    assert!(!card.contains("- sparse") && !card.contains("zeros make them"), "{card}");
    assert_eq!(said(&card, "Outcome"), Some("no weight became zero, and nothing was taken out"));
}

#[test]
fn scores_are_named_once_and_their_units_told() {
    let tasks = report()["evaluation"][2]["tasks"].clone();
    let mut again = tasks[0].clone();
    again["examples"] = 5.into();
    let more = json!([tasks[0], tasks[1], again]);
    let card = changed(report(), &[("/evaluation/2/tasks", more)]);
    assert!(card.contains("and scored on `wiki.test.raw`, `piqa`, `mine`."), "{card}");
    assert!(card.contains("Accuracies in percent, perplexities (lower is better) as they are, ± one"), "{card}");
    let card = changed(report(), &[("/evaluation/2/tasks", json!([tasks[0]]))]);
    assert!(card.contains("Accuracies in percent, ± one standard error. Prompts"), "{card}");
}

#[test]
fn models_of_images_load_by_the_class_that_knows_them() {
    let tiny = Tiny::new("qwen2_vl");
    // a report of something else has its name
    fs::write(tiny.path("model/report.json"), "{}").expect("written");
    let report = tiny.prune(&tiny.plan(), "out");
    assert_eq!(report.model.architecture.as_deref(), Some("Qwen2VLForConditionalGeneration"));
    let warned = |warning: &String| warning.starts_with("how the input was made is not told in report and card");
    assert!(report.warnings.iter().any(warned) && report.earlier.is_empty(), "{:?}", report.warnings);
    let images = fs::read_to_string(tiny.path("out").join(CARD)).expect("a card");
    assert_eq!(yaml(&images)["pipeline_tag"].as_str(), Some("image-text-to-text"));
    assert!(images.contains("model = AutoModelForImageTextToText.from_pretrained(place)"), "{images}");
    assert!(!images.contains("AutoModelForCausalLM"), "{images}");
    let text = card("x", &summary(&self::report()), None);
    assert!(text.contains("model = AutoModelForCausalLM.from_pretrained(place)"), "{text}");
    let base = "---\npipeline_tag: translation\n---\n";
    let other = card("x", &summary(&self::report()), Some(base));
    assert!(!other.contains("from_pretrained") && other.contains("pipeline_tag: translation"), "{other}");
}

/// What is done to a plan.
type Change<'a> = &'a dyn Fn(&mut Plan);

#[test]
fn a_run_knows_whether_the_text_had_a_say() {
    let tiny = Tiny::new("llama");
    let plan = |change: &dyn Fn(&mut Plan)| {
        let mut plan = tiny.plan();
        plan.pruning.compensation = "none".into();
        change(&mut plan);
        plan
    };
    let magnitude = |plan: &mut Plan| plan.pruning.criterion = Some("magnitude".into());
    let cases: [(Change, bool); 10] = [
        (&|_| (), true),
        (&magnitude, false),
        (&|plan| (magnitude(plan), plan.pruning.compensation = "joint".into()).1, true),
        (&|plan| (magnitude(plan), plan.pruning.ratios = Ratios::Owl).1, true),
        (&|plan| (magnitude(plan), plan.reconstruction.granularity = Granularity::Block).1, true),
        (&|plan| (magnitude(plan), plan.retraining.objective = RetrainingObjective::Kl).1, true),
        (&|plan| plan.shrink.drop = vec![1], false),
        (&|plan| (plan.shrink.drop = vec![1], plan.pruning.compensation = "joint".into()).1, true),
        (&|plan| (plan.shrink.drop = vec![1], plan.reconstruction.granularity = Granularity::Submodule).1, true),
        (&|plan| plan.shrink.depth = Some(tiny.spec.blocks.len() - 1), true),
    ];
    for (place, (change, expected)) in cases.into_iter().enumerate() {
        let plan = plan(change);
        let omitted = plan.omitted(&tiny.spec).expect("a plan");
        let smaller = tiny.open("model").without(&omitted).expect("a model");
        let run = Run::new(&plan, smaller.spec()).expect("a run");
        assert_eq!(run.is_calibrated(), expected, "{place}");
    }
    let report = tiny.prune(&plan(&magnitude), "out");
    let card = fs::read_to_string(tiny.path("out").join(CARD)).expect("a card");
    assert!(!report.calibrated && !card.contains("calibrated on"), "{card}");
}
