//! Every key of a plan has a flag, every flag a key, and the help of a flag tells the key's default.

use clap::{CommandFactory, Parser};
use lopper::method::METHODS;
use lopper::plan::Plan;
use toml::{Table, Value};

use crate::args::{Cli, Command};

/// Key, flag, and a value that is not the default: as an argument, and as it stands in the plan.
const FLAGS: &[(&str, &str, &str, &str)] = &[
    ("calibration.files", "calibration", "a.txt", r#"["a.txt"]"#),
    ("calibration.wikitext", "calibration-wikitext", "a.txt", r#"["a.txt"]"#),
    ("calibration.samples", "samples", "3", "3"),
    ("calibration.held_out", "held-out", "3", "3"),
    ("calibration.seqlen", "seqlen", "64", "64"),
    ("calibration.sampling", "sampling", "first", r#""first""#),
    ("calibration.inputs", "inputs", "dense", r#""dense""#),
    ("calibration.expert_tokens", "expert-tokens", "all", r#""all""#),
    ("calibration.min_expert_tokens", "min-expert-tokens", "9", "9"),
    ("calibration.seed", "seed", "7", "7"),
    ("shrink.ratio", "ratio", "0.25", "0.25"),
    ("shrink.width", "width", "0.75", "0.75"),
    ("shrink.kv_heads", "kv-heads", "2", "2"),
    ("shrink.multiple", "multiple", "64", "64"),
    ("shrink.experts", "experts", "3", "3"),
    ("shrink.depth", "depth", "3", "3"),
    ("shrink.drop", "drop", "3,5-7", "[3, 5, 6, 7]"),
    ("pruning.sparsity", "sparsity", "0.7", "0.7"),
    ("pruning.pattern", "pattern", "2:4", r#""2:4""#),
    ("pruning.criterion", "criterion", "magnitude", r#""magnitude""#),
    ("pruning.scope", "scope", "matrix", r#""matrix""#),
    ("pruning.ratios", "ratios", "owl", r#""owl""#),
    ("pruning.owl_threshold", "owl-threshold", "7.5", "7.5"),
    ("pruning.owl_lambda", "owl-lambda", "0.125", "0.125"),
    ("pruning.rules", "rule", "up=2:4", r#"[{ matrices = "up", pattern = "2:4" }]"#),
    ("pruning.compensation", "compensation", "none", r#""none""#),
    ("pruning.order", "order", "blocks", r#""blocks""#),
    ("pruning.damping", "damping", "0.5", "0.5"),
    ("pruning.iterations", "iterations", "3", "3"),
    ("pruning.column_block", "column-block", "3", "3"),
    ("pruning.swaps", "swaps", "3", "3"),
    ("pruning.granularity", "prune-granularity", "block", r#""block""#),
    ("reconstruction.granularity", "reconstruct", "blocks:3", r#""blocks:3""#),
    ("reconstruction.epochs", "epochs", "5", "5"),
    ("reconstruction.learning_rate", "learning-rate", "0.5", "0.5"),
    ("reconstruction.warm_up", "warm-up", "0.25", "0.25"),
    ("reconstruction.batch", "batch", "4", "4"),
    ("reconstruction.parameters", "parameters", "norm+masklora", r#""norm+masklora""#),
    ("reconstruction.targets", "targets", "local", r#""local""#),
    ("reconstruction.loss", "loss", "cosine", r#""cosine""#),
    ("reconstruction.rank", "rank", "3", "3"),
    ("reconstruction.alpha", "alpha", "0.5", "0.5"),
    ("reconstruction.optimizer", "optimizer", "sgd", r#""sgd""#),
    ("reconstruction.decay", "decay", "cosine", r#""cosine""#),
    ("reconstruction.accumulate", "accumulate", "3", "3"),
    ("reconstruction.clip", "clip", "0.5", "0.5"),
    ("reconstruction.patience", "patience", "3", "3"),
    ("reconstruction.weight_decay", "weight-decay", "0.5", "0.5"),
    ("retraining.objective", "retrain", "kl", r#""kl""#),
    ("retraining.parameters", "retrain-parameters", "bias", r#""bias""#),
    ("retraining.temperature", "temperature", "2.5", "2.5"),
    ("retraining.epochs", "retrain-epochs", "5", "5"),
    ("retraining.learning_rate", "retrain-learning-rate", "0.5", "0.5"),
    ("retraining.batch", "retrain-batch", "4", "4"),
    ("evaluation.texts", "eval-text", "a.txt", r#"["a.txt"]"#),
    ("evaluation.wikitext", "eval-wikitext", "a.txt", r#"["a.txt"]"#),
    ("evaluation.seqlen", "eval-seqlen", "64", "64"),
    ("evaluation.windows", "eval-windows", "2", "2"),
    ("evaluation.tasks", "eval-tasks", "piqa,rte", r#"["piqa", "rte"]"#),
    ("evaluation.task_data", "eval-task-data", "dir", r#""dir""#),
    ("evaluation.limit", "eval-limit", "2", "2"),
    ("evaluation.examples", "eval-num-fewshot", "3", "3"),
    ("evaluation.ladder", "ladder", "true", "true"),
    ("compute.dtype", "dtype", "bf16", r#""bf16""#),
    ("compute.hidden_states", "hidden-states", "bf16", r#""bf16""#),
    ("compute.device", "device", "cuda:1", r#""cuda:1""#),
    ("compute.threads", "threads", "3", "3"),
    ("compute.memory", "memory", "24GB", r#""24GB""#),
];

/// Keys without a flag: `model` is the argument MODEL.
const WITHOUT_FLAG: &[&str] = &["model"];
/// Options without a key: they say where the plan is, where the result goes, and how it is shown, or set several keys at once.
const WITHOUT_KEY: &[&str] =
    &["redo-from", "method", "plan", "out", "json", "quiet", "help", "print-plan", "axis", "keep", "list"];

/// The keys that a table of the plan accepts, those absent by default included, from the message that refuses another.
fn accepted(table: &str) -> Vec<String> {
    let text = if table.is_empty() { "bogus = 1".into() } else { format!("[{table}]\nbogus = 1") };
    let message = toml::from_str::<Plan>(&text).expect_err("no such key").to_string();
    let list = message.split_once("expected one of").expect("serde lists the keys").1;
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Every key of a plan, as `table.key`.
fn keys() -> Vec<String> {
    let defaults = table(&Plan::default());
    let mut keys = Vec::new();
    for key in accepted("") {
        match defaults.get(&key) {
            Some(Value::Table(_)) => keys.extend(accepted(&key).into_iter().map(|inner| format!("{key}.{inner}"))),
            _ => keys.push(key),
        }
    }
    keys
}

fn table(plan: &Plan) -> Table {
    plan.to_toml().expect("a plan").parse().expect("TOML")
}

fn at<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    let (outer, inner) = key.split_once('.')?;
    table.get(outer)?.get(inner)
}

fn planned(arguments: &[String]) -> Plan {
    let fixed = ["lopper", "prune", "m", "--out", "o"].map(str::to_owned);
    let cli = Cli::try_parse_from(fixed.iter().chain(arguments)).expect("arguments");
    let Command::Prune(prune) = cli.command else { panic!("not prune") };
    let file = prune.plan.plan.as_deref().map(Plan::read).transpose().expect("plan");
    let mut plan = file.unwrap_or_default();
    prune.plan.apply(&mut plan);
    plan
}

#[test]
fn every_key_has_a_flag_and_every_flag_a_key() {
    let mut known: Vec<&str> = FLAGS.iter().map(|(key, ..)| *key).chain(WITHOUT_FLAG.iter().copied()).collect();
    let mut keys = keys();
    known.sort_unstable();
    keys.sort_unstable();
    assert_eq!(keys, known, "a key of the plan has no flag");
    let mut cli = Cli::command();
    cli.build();
    for command in ["prune", "explain", "study"] {
        let command = cli.find_subcommand(command).expect("command");
        for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
            let listed = FLAGS.iter().any(|(_, known, ..)| *known == flag) || WITHOUT_KEY.contains(&flag);
            assert!(listed, "--{flag} has no key");
        }
    }
}

#[test]
fn a_method_of_the_literature_is_what_can_be_chosen_and_repaired() {
    for method in METHODS {
        let plan = planned(&["--method".into(), method.name.into(), "--pattern".into(), "2:4".into()]);
        let chosen = plan.method().expect("its criterion and its compensation exist");
        assert_eq!((chosen.selection.name(), chosen.compensation.name), (method.criterion, method.compensation));
        chosen.selection.check(&plan.pattern().expect("2:4")).expect("it can choose this way");
    }
}

#[test]
fn a_flag_changes_its_key_and_no_other() {
    let before = table(&Plan::default());
    for (key, flag, argument, value) in FLAGS {
        let after = table(&planned(&[format!("--{flag}={argument}")]));
        let expected: Table = format!("value = {value}").parse().expect("TOML");
        assert_eq!(at(&after, key), expected.get("value"), "{key}");
        for (other, ..) in FLAGS.iter().filter(|(other, ..)| other != key) {
            assert_eq!(at(&after, other), at(&before, other), "--{flag} changed {other}");
        }
    }
}

#[test]
fn help_tells_the_default() {
    let defaults = table(&Plan::default());
    let cli = Cli::command();
    let prune = cli.find_subcommand("prune").expect("command");
    for (key, flag, ..) in FLAGS {
        let argument = prune.get_arguments().find(|argument| argument.get_long() == Some(flag)).expect("flag");
        let help = argument.get_help().expect("help").to_string();
        let said = help.split_once("[default: ").unwrap_or_else(|| panic!("--{flag} does not tell its default")).1;
        match at(&defaults, key) {
            None | Some(Value::Array(_)) => {}
            Some(Value::Float(value)) => {
                let said: f64 = said.trim_end_matches(']').parse().expect("number");
                assert!((said - value).abs() < 1e-6, "--{flag} says {said}, the plan {value}");
            }
            Some(value) => assert_eq!(said.trim_end_matches(']'), value.to_string().trim_matches('"'), "--{flag}"),
        }
    }
}

#[test]
fn the_names_of_choices_are_those_of_the_plan() {
    let (cli, defaults) = (Cli::command(), Plan::default().to_toml().expect("plan"));
    let prune = cli.find_subcommand("prune").expect("command");
    for (key, flag) in [
        ("calibration.sampling", "sampling"),
        ("calibration.inputs", "inputs"),
        ("calibration.expert_tokens", "expert-tokens"),
        ("pruning.granularity", "prune-granularity"),
        ("pruning.ratios", "ratios"),
        ("pruning.scope", "scope"),
        ("reconstruction.targets", "targets"),
        ("reconstruction.loss", "loss"),
        ("reconstruction.optimizer", "optimizer"),
        ("reconstruction.decay", "decay"),
        ("retraining.objective", "retrain"),
        ("compute.dtype", "dtype"),
        ("compute.hidden_states", "hidden-states"),
    ] {
        let argument = prune.get_arguments().find(|argument| argument.get_long() == Some(flag)).expect("flag");
        let mut offered: Vec<String> =
            argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        let mut plan: Table = defaults.parse().expect("TOML");
        let (outer, inner) = key.split_once('.').expect("two parts");
        plan.get_mut(outer).and_then(Value::as_table_mut).expect("table").insert(inner.into(), "bogus".into());
        let message = toml::from_str::<Plan>(&plan.to_string()).expect_err("no such variant").to_string();
        let list = message.split_once("expected").expect("serde lists the variants").1;
        let mut accepted: Vec<String> = list.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        offered.sort_unstable();
        accepted.sort_unstable();
        assert_eq!(offered, accepted, "--{flag}");
    }
}

#[test]
fn rules_keep_their_order() {
    let plan =
        planned(&["--rule", "down_proj=2:4", "--rule", "layers.0=dense", "--rule", "mlp=0.25"].map(str::to_owned));
    let told: Vec<_> =
        plan.pruning.rules.iter().map(|rule| (rule.matrices.as_str(), rule.dense, rule.sparsity)).collect();
    assert_eq!(told, [("down_proj", false, None), ("layers.0", true, None), ("mlp", false, Some(0.25))]);
}

#[test]
fn a_pattern_on_the_command_line_replaces_the_sparsity_of_the_file() {
    let file = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(file.path(), "[pruning]\nsparsity = 0.6\nscope = \"matrix\"\n[calibration]\nsamples = 9\n")
        .expect("written");
    let plan = planned(&[format!("--plan={}", file.path().display()), "--pattern=2:4".into()]);
    assert_eq!((plan.pruning.sparsity, plan.pruning.pattern.as_deref(), plan.pruning.scope), (None, Some("2:4"), None));
    assert_eq!(plan.calibration.samples, 9);
    assert!(plan.pattern().is_ok());
}
