//! The card of a pruned model: what it says, what it must not say, and what becomes of the card of the input.

use crate::demo;

use std::fs;

use demo::{Demo, files};
use lopper::card::{CARD, card, remake};
use lopper::report::Summary;
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
        Value::String(text) if !["2:4", "block", "kl", "acc", "acc_norm", "perplexity"].contains(&text.as_str()) => {
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
    plan.reconstruction.granularity = lopper::plan::Granularity::None;
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
}

#[test]
fn a_card_is_made_anew_with_scores_and_nothing_is_lost() {
    let directory = tempfile::tempdir().expect("directory");
    let path = |name: &str| directory.path().join(name);
    let error = remake(directory.path(), &[]).expect_err("no report");
    assert!(error.to_string().contains("there is no report.json"), "{error}");
    fs::write(path("report.json"), report().to_string()).expect("written");
    // outputs of before there were cards have that of the input
    fs::write(path(CARD), BASE).expect("written");
    let scores = json!({
        "model": "out", "texts": [{ "text": "c4.txt", "perplexity": 30.5, "windows": 3, "seqlen": 2048, "nll": [] }],
        "against": { "model": "owner/name@main", "texts": [{ "text": "c4.txt", "perplexity": 15.5, "windows": 3, "seqlen": 2048, "nll": [] }], "text_differences": [], "task_differences": [] },
    });
    fs::write(path("scores.json"), scores.to_string()).expect("written");
    remake(directory.path(), &[path("scores.json")]).expect("made");
    let card = fs::read_to_string(path(CARD)).expect("a card");
    assert!(card.contains("| `c4.txt` (3 windows of 2,048 tokens) | 15.50 | – | 30.50 |"), "{card}");
    assert!(card.contains("license_name: a-licence"), "{card}");
    assert_eq!(fs::read_to_string(path("README-base.md")).expect("kept"), BASE);
    // a card of someone's own
    fs::write(path(CARD), "# Mine\n").expect("written");
    let error = remake(directory.path(), &[]).expect_err("it would be lost");
    assert!(error.to_string().contains("would be lost"), "{error}");
    fs::write(path("report.json"), "{}").expect("written");
    let error = remake(directory.path(), &[]).expect_err("no report");
    assert!(error.to_string().contains("missing field"), "{error}");
}
