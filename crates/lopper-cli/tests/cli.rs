//! The whole program from outside: what it prints where, and its exit status.

mod program;
mod tiny;

use std::path::Path;

use program::{fails, lopper, stderr, stdout, succeeds};
use serde_json::Value;
use tiny::Tiny;

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&succeeds(arguments)).expect("JSON on stdout")
}

#[test]
fn help() {
    insta::assert_snapshot!("help", succeeds(&["--help"]));
    for command in ["prune", "eval", "inspect", "card", "explain", "study", "list", "doctor", "completions", "man"] {
        insta::assert_snapshot!(format!("help-{command}"), succeeds(&[command, "--help"]));
    }
}

#[test]
fn list() {
    insta::assert_snapshot!("list", succeeds(&["list"]));
    let list = json(&["list", "--json"]);
    for section in ["families", "criteria", "compensations", "patterns", "ratios"] {
        assert!(list[section].as_array().is_some_and(|rows| !rows.is_empty()), "{section}");
    }
}

#[test]
fn doctor() {
    let (text, found) = (succeeds(&["doctor"]), json(&["doctor", "--json"]));
    assert!(text.starts_with("lopper  ") && !text.contains('\x1b'), "{text}");
    let bf16 = found["processor"]["bf16"].as_bool().expect("known");
    let dtype = if bf16 { "bf16" } else { "f32" };
    assert_eq!(found["dtype"], dtype);
    assert!(text.contains(&format!("auto is {dtype} here")), "{text}");
    assert!(found["flops_per_second"]["f32"].as_f64().is_some_and(|rate| rate > 1e6), "{found}");
    assert!(found["disks"].as_array().is_some_and(|disks| disks.len() == 2), "{found}");
    for advice in found["advice"].as_array().expect("a list") {
        assert!(text.contains(advice["remedy"].as_str().expect("words")), "{text}");
    }
}

#[test]
fn errors_say_what_where_and_what_to_try() {
    let tiny = Tiny::new();
    let (model, text, out) = (tiny.path("model"), tiny.path("text.txt"), tiny.path("out"));
    let (model, text, out) = (model.as_str(), text.as_str(), out.as_str());
    let mut all = String::new();
    let cases: &[&[&str]] = &[
        &["prune", "-o", out],
        &["prune", "no/such/model", "-o", out],
        &["prune", model, "-o", out, "--pattern", "4:4"],
        &["prune", model, "-o", out, "--sparsity", "1.5"],
        &["prune", model, "-o", out, "--criterion", "wand"],
        &["prune", model, "-o", out, "--sparsity", "0.5", "--pattern", "2:4"],
        &["prune", model, "-o", out, "--calibration", text, "--samples", "100000"],
        &["prune", model, "-o", out, "--calibration", "missing.txt"],
        &["prune", model, "-o", out, "--seqlen", "100000"],
        &["prune", model, "-o", out, "--device", "tpu"],
        &["prune", model, "-o", out, "--rule", "down_prj=2:4"],
        &["prune", model, "-o", out, "--rule", "down_proj"],
        &["prune", model, "-o", out, "--ratios", "owl", "--pattern", "2:4"],
        &["prune", model, "-o", out, "--ratio", "0.9"],
        &["prune", model, "-o", out, "--width", "1.5"],
        &["prune", model, "-o", out, "--width", "0.75", "--sparsity", "0.5"],
        &["prune", model, "-o", out, "--width", "0.75", "--criterion", "mrp"],
        &["prune", model, "-o", out, "--width", "0.75", "--ratios", "owl"],
        &["prune", model, "-o", out, "--width", "0.75", "--multiple", "100000"],
        &["prune", model, "-o", model, "--calibration", text, "--samples", "4"],
        &["eval", model],
        &["eval", model, "--text", text, "--windows", "0"],
        &["eval", model, "--tasks", "piqqa"],
        &["eval", model, "--tasks", "piqa,rte", "--task-data", &tiny.path("")],
        &["eval", model, "--tasks", "missing.toml"],
        &["inspect", &tiny.path(".")],
        &["study", "dampin", "demo", "-o", out],
        &["study", "damping", "-o", out],
        &["study", "damping", model, "-o", out, "--damping", "0.1"],
        &["study", "damping", model, "-o", out, "--eval-text", text, "--axis", "pruning.dampin=1"],
        &["study", "damping", model, "-o", out, "--axis", "calibration.seed"],
        &["study", "scaling", "demo", "-o", out],
        &["prun", "demo"],
    ];
    for arguments in cases {
        let shown = arguments.join(" ").replace(&tiny.path("."), "DIR").replace(&tiny.path(""), "DIR/");
        let message = fails(1, arguments).replace(&tiny.path("."), "DIR").replace(&tiny.path(""), "DIR/");
        all = format!("{all}$ lopper {shown}\n{message}\n");
        assert!(message.contains("error: "), "{shown}: {message}");
    }
    assert!(!all.contains('\x1b'), "no colour into a pipe");
    assert!(!Path::new(out).exists());
    insta::assert_snapshot!("errors", all);
}

/// What people give and is no text, or no model: each is told what it is, where, and what to try.
#[test]
fn inputs_that_are_something_else_are_named() {
    let tiny = Tiny::new();
    let write = |name: &str, contents: &[u8]| {
        let path = Path::new(&tiny.path(name)).to_owned();
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
        std::fs::write(path, contents).expect("written");
    };
    let texts: [(&str, &[u8]); 15] = [
        ("empty.txt", b""),
        ("latin1.txt", b"one\ntwo \xe4\n"),
        ("utf16.txt", b"\xff\xfea\0"),
        ("wikitext.zip", b"PK\x03\x04"),
        ("data.arrow", b"ARROW1\0\0"),
        ("pointer.txt", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"),
        ("cut.gz", b"\x1f\x8b\x08\0\0\0\0\0"),
        ("damaged.parquet", b"PAR1 and then nothing"),
        ("other.jsonl", b"{\"id\": 1, \"content\": \"a\"}"),
        ("numbers.jsonl", b"{\"text\": 1}"),
        ("broken.jsonl", b"{\"text\": \"a\"}\n{\"text\": \"b\"\n"),
        ("list.json", b"[1, 2]"),
        ("prose.json", b"prose"),
        ("chat.jsonl", b"{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}"),
        ("folder/README.md", b"no text"),
    ];
    for (name, contents) in texts {
        write(name, contents);
    }
    write("adapter/adapter_config.json", b"{\"base_model_name_or_path\": \"some/model\", \"peft_type\": \"LORA\"}");
    write("cache/snapshots/0a/config.json", b"{}");
    write("mistral/consolidated.safetensors", b"");
    let mut all = String::new();
    let mut show = |arguments: &[&str]| {
        let here = |text: String| text.replace(&tiny.path("."), "DIR").replace(&tiny.path(""), "DIR/");
        let message = here(fails(1, arguments));
        all = format!("{all}$ lopper {}\n{message}\n", here(arguments.join(" ")));
    };
    let model = tiny.path("model");
    for (name, _) in &texts[..14] {
        show(&["eval", &model, "--text", &tiny.path(name), "-q"]);
    }
    show(&["eval", &model, "--text", &tiny.path("folder"), "-q"]);
    show(&["eval", &model, "--text", &tiny.path("*.nothing"), "-q"]);
    for name in ["adapter", "cache", "mistral"] {
        show(&["inspect", &tiny.path(name), "-q"]);
    }
    insta::assert_snapshot!("inputs", all);
}

#[cfg(unix)]
#[test]
fn a_failing_machine_has_its_own_exit_status() {
    let tiny = Tiny::new();
    let (model, text) = (tiny.path("model"), tiny.path("text.txt"));
    let message = fails(2, &["eval", &model, "--text", &tiny.path("text.txt/inside")]);
    assert!(message.contains("error: cannot read"), "{message}");
    let message = fails(2, &["eval", &model, "--tasks", "piqa"]);
    assert!(message.contains("error: baber/piqa") && message.contains("--task-data"), "{message}");
    // a plan is read before anything else
    let message = fails(1, &["prune", &model, "-o", "x", "--plan", &text]);
    assert!(message.contains("try: `lopper explain MODEL --print-plan`"), "{message}");
}

#[test]
fn prunes_measures_and_tells_a_stranger() {
    let tiny = Tiny::new();
    let (model, out) = (tiny.path("model"), tiny.path("out"));
    let arguments = tiny.prune(&model, &out, &["--ladder", "--pattern", "2:4"]);
    let output = lopper(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(output.status.success(), "{}", stderr(&output));
    let table = stdout(&output);
    for word in ["dense", "pruned", "compensated", "reconstructed", "vs dense", "50 %", "2:4", "lopper eval", &out] {
        assert!(table.contains(word), "{word} is missing in\n{table}");
    }
    assert!(
        stderr(&output).contains("pruning 3 blocks") && !table.contains('\x1b') && !stderr(&output).contains('\x1b')
    );
    assert_eq!(tiny.entries(), ["model", "out", "text.txt"], "nothing else is left");

    let found = json(&["inspect", &out, "--json", "--quiet"]);
    for matrix in found["matrices"].as_array().expect("matrices") {
        assert_eq!(matrix["patterns"], serde_json::json!(["2:4"]), "{}", matrix["name"]);
    }
    let dense = json(&["inspect", &model, "--json"]);
    assert!(
        dense["matrices"]
            .as_array()
            .expect("matrices")
            .iter()
            .all(|matrix| matrix["patterns"] == serde_json::json!([]))
    );
    assert_eq!(dense["zeros"], 0);
    assert!(succeeds(&["inspect", &out]).contains("gate"));
    assert!(succeeds(&["inspect", &out, "--all"]).contains("model.layers.2.mlp.down_proj.weight"));

    // what eval says of the files is what prune said
    let report: Value =
        serde_json::from_slice(&std::fs::read(format!("{out}/report.json")).expect("report")).expect("JSON");
    let text = tiny.path("text.txt");
    let scored = json(&["eval", &out, "--text", &text, "--seqlen", "32", "--windows", "4", "--json"]);
    let last = &report["evaluation"].as_array().expect("models").last().expect("final")["texts"][0];
    assert_eq!(scored["texts"][0]["perplexity"], last["perplexity"]);
    assert_eq!(scored["model"], out.as_str());
    assert!(succeeds(&["eval", &out, "--text", &text, "--seqlen", "32"]).contains("perplexity"));
}

#[test]
fn matrices_may_differ_and_the_result_says_how() {
    let tiny = Tiny::new();
    let (model, out) = (tiny.path("model"), tiny.path("out"));
    let more = ["--rule", "down_proj=2:4", "--rule", r"layers\.[01]\.self_attn=dense", "--reconstruct", "none"];
    let mut arguments = tiny.prune(&model, &out, &more);
    let table = succeeds(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    for line in [
        "50 % of each row where no rule says otherwise, chosen by wanda",
        "left dense: 8 matrices (query, key, value, output)",
        "50 % of each row: 10 matrices (gate, up, query, key, value, output)",
        "2:4: 3 matrices (down)",
    ] {
        assert!(table.contains(line), "{line} is missing in\n{table}");
    }
    arguments.splice(0..4, ["explain".to_owned(), model]);
    let text = succeeds(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(text.contains("  2:4: 3 matrices (down)\n") && text.contains("or what the rules say"), "{text}");
    arguments.push("--json".into());
    let explained = json(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(explained["allocation"]["model.layers.1.self_attn.q_proj.weight"], "dense");
    assert_eq!(explained["allocation"]["model.layers.2.self_attn.q_proj.weight"], "50%");
    arguments.truncate(arguments.len() - 7);
    arguments.extend(["--scope", "model", "--json"].map(str::to_owned));
    let explained = json(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(explained["allocation"].is_null());
    assert!(
        explained["steps"].to_string().contains("run the dense model once: compare the wanda scores"),
        "{}",
        explained["steps"]
    );
}

#[test]
fn a_study_is_listed_made_and_taken_up() {
    insta::assert_snapshot!("study-list", succeeds(&["study", "--list"]));
    assert_eq!(json(&["study", "--list", "--json"]).as_array().map(Vec::len), Some(6));
    let tiny = Tiny::new();
    let (model, out) = (tiny.path("model"), tiny.path("out"));
    let mut arguments =
        tiny.prune(&model, &out, &["--axis", "pruning.damping=0.01,1", "--axis", "calibration.seed=0,1"]);
    arguments.splice(0..1, ["study".to_owned(), "damping".to_owned()]);
    // the study varies the samples itself
    let place = arguments.iter().position(|argument| argument == "--samples").expect("there");
    arguments.splice(place..place + 2, ["--axis".to_owned(), "calibration.samples=4".to_owned()]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = lopper(&arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    let table = stdout(&output);
    for word in ["How much damping", "perplexity", "±", "4 made now, 0 taken from before, 0 failed", "plots"] {
        assert!(table.contains(word), "{word} is missing in\n{table}");
    }
    assert!(stderr(&output).contains("run 4 of 4: samples 4, damping 1, seed 1 (all in about"), "{}", stderr(&output));
    assert!(std::fs::read_to_string(tiny.path("out/plot.svg")).expect("plot").ends_with("</svg>\n"));
    assert!(succeeds(&arguments).contains("0 made now, 4 taken from before"));
    let again = json(&["study", &tiny.path("out/study.toml"), "-o", &out, "--json"]);
    assert_eq!((&again["taken"], again["rows"].as_array().map(Vec::len)), (&4.into(), Some(2)));
    let file = succeeds(&["study", "scaling", "-o", &tiny.path("times"), "--axis", "kept=8,16,32", "--quiet"]);
    assert!(file.contains("time per row in ms"), "{file}");
}

#[test]
fn the_printed_plan_is_the_plan_that_runs() {
    let tiny = Tiny::new();
    let (model, out) = (tiny.path("model"), tiny.path("out"));
    let mut explain = tiny.prune(&model, &out, &["--sparsity", "0.25", "--print-plan"]);
    explain.splice(0..4, ["explain".to_owned(), model.clone()]);
    let plan = succeeds(&explain.iter().map(String::as_str).collect::<Vec<_>>());
    let file = tiny.path("plan.toml");
    std::fs::write(&file, plan).expect("written");
    let report = json(&["prune", "-o", &out, "--plan", &file, "--epochs", "1", "--json", "--quiet"]);
    assert_eq!(
        (&report["plan"]["pruning"]["sparsity"], &report["plan"]["reconstruction"]["epochs"]),
        (&0.25.into(), &1.into())
    );
    assert_eq!(
        report["model"]["zeros"].as_f64().map(|zeros| zeros / report["model"]["prunable"].as_f64().expect("count")),
        Some(0.25)
    );
}

#[test]
fn explains_before_anything_runs() {
    let tiny = Tiny::new();
    let (model, out) = (tiny.path("model"), tiny.path("out"));
    let mut arguments = tiny.prune(&model, &out, &[]);
    arguments.splice(0..4, ["explain".to_owned(), model.clone()]);
    let text = succeeds(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    for word in
        ["Memory: about", "Time: about", "for each of 3 blocks", "collect the Gram matrices", "train the kept weights"]
    {
        assert!(text.contains(word), "{word} is missing in\n{text}");
    }
    arguments.push("--json".into());
    let explained = json(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(explained["memory"]["peak"].as_u64().is_some_and(|bytes| bytes > 1 << 20));
    assert!(explained["time"]["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0));
    assert!(!Path::new(&out).exists());
}

#[test]
fn quiet_says_nothing_but_the_result() {
    let tiny = Tiny::new();
    let output = lopper(&["inspect", &tiny.path("model"), "--quiet"]);
    assert!(output.status.success() && output.stderr.is_empty() && !output.stdout.is_empty());
}

#[test]
fn completions_and_manual_are_made() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(succeeds(&["completions", shell]).contains("sparsity"), "{shell}");
    }
    assert!(succeeds(&["man"]).contains("Prune large language models"));
    let tiny = Tiny::new();
    succeeds(&["man", &tiny.path("man")]);
    assert!(Path::new(&tiny.path("man/lopper-prune.1")).exists());
}

#[test]
fn answers_tasks_and_tells_how_two_models_differ() {
    let tiny = Tiny::new();
    let (model, text, task) = (tiny.path("model"), tiny.path("text.txt"), tiny.task());
    let (out, records, results) = (tiny.path("out"), tiny.path("records.jsonl"), tiny.path("results.json"));
    let arguments = tiny.prune(&model, &out, &["--pattern", "2:4", "--reconstruct", "none", "--eval-tasks", &task]);
    let table = succeeds(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(table.contains("words acc_norm") && table.contains(" ± "), "{table}");

    let common = ["--text", &text, "--seqlen", "32", "--windows", "4", "--tasks", &task, "--quiet"];
    let eval = |more: &[&str]| json(&[&["eval", "--json"], &common[..], more].concat());
    let found = eval(&[&out, "--against", &model, "--records", &records, "--harness-json", &results]);
    let report: Value =
        serde_json::from_str(&std::fs::read_to_string(tiny.path("out/report.json")).expect("report")).expect("JSON");
    let last = &report["evaluation"].as_array().expect("models").last().expect("final")["tasks"];
    assert_eq!(found["tasks"], *last, "what eval says of the files is what prune said");
    let (apart, answers) = (&found["against"]["text_differences"][0], &found["against"]["task_differences"]);
    assert!(apart["kl_divergence"].as_f64().is_some_and(|divergence| divergence > 0.0), "{apart}");
    assert_eq!((&apart["predictions"], &answers[0]["questions"]), (&Value::from(4 * 31), &Value::from(40)));
    let lines = std::fs::read_to_string(&records).expect("records");
    let right = lines.lines().filter(|line| line.contains("\"acc\":true")).count();
    assert_eq!(found["tasks"][0]["metrics"][0]["value"], Value::from(right as f64 / 40.0));
    let harness: Value = serde_json::from_str(&std::fs::read_to_string(&results).expect("results")).expect("JSON");
    assert_eq!(harness["results"]["words"]["acc,none"], found["tasks"][0]["metrics"][0]["value"]);

    let same = eval(&[&model, "--against", &model, "--num-fewshot", "2", "--limit", "5"]);
    let difference = &same["against"]["text_differences"][0];
    assert_eq!((&difference["kl_divergence"], &difference["top1_agreement"]), (&Value::from(0.0), &Value::from(1.0)));
    let answers = &same["against"]["task_differences"][0];
    assert_eq!((&answers["flips"], &answers["p_value"]), (&Value::from(0), &Value::from(1.0)));
    let table = succeeds(&[&["eval", &out, "--against", &model], &common[..]].concat());
    for word in ["KL", "agreement", "right → wrong", "flips", "may be chance"] {
        assert!(table.contains(word), "{word} is missing in\n{table}");
    }
}
