//! Scores as files for other programs: the results of lm-evaluation-harness, and a line of JSON per document.

use serde_json::{Map, Value, json};

use super::scores::{Measure, TaskScore};
use super::tasks::Metric;

/// The object that lm-evaluation-harness 0.4 writes as `results_*.json`, as far as its tools read it: `results`, `versions`,
/// `n-shot`, `n-samples`, `higher_is_better`, `configs`.
pub fn harness(model: &str, scores: &[TaskScore]) -> Value {
    let by_task = |of: &dyn Fn(&TaskScore) -> Value| {
        Value::Object(scores.iter().map(|score| (score.task.clone(), of(score))).collect())
    };
    json!({
        "results": by_task(&results),
        "group_subtasks": by_task(&|_| json!([])),
        "configs": by_task(&|score| json!({
            "task": score.task, "num_fewshot": score.examples, "metadata": { "version": version(score) },
        })),
        "versions": by_task(&version),
        "n-shot": by_task(&|score| json!(score.examples)),
        "higher_is_better": by_task(&|score| {
            let better = |measure: &Measure| (measure.metric.name().into(), json!(measure.metric != Metric::Perplexity));
            Value::Object(score.metrics.iter().map(better).collect())
        }),
        "n-samples": by_task(&|score| json!({ "original": score.available, "effective": score.questions })),
        "config": { "model": "lopper", "model_args": format!("pretrained={model}") },
        "model_source": "lopper",
        "model_name": model,
        "lopper_version": env!("CARGO_PKG_VERSION"),
    })
}

/// A number where the version is one, as the harness has it.
fn version(score: &TaskScore) -> Value {
    score.version.parse::<f64>().map_or_else(|_| json!(score.version), |version| json!(version))
}

fn results(score: &TaskScore) -> Value {
    let mut fields: Map<String, Value> = Map::new();
    fields.insert("alias".into(), json!(score.task));
    fields.insert("sample_len".into(), json!(score.questions));
    for Measure { metric, value, standard_error } in &score.metrics {
        fields.insert(format!("{},none", metric.name()), json!(value));
        let error = standard_error.map_or_else(|| json!("N/A"), |error| json!(error));
        fields.insert(format!("{}_stderr,none", metric.name()), error);
    }
    Value::Object(fields)
}

/// A line of JSON for each question of each task.
pub fn records(scores: &[TaskScore]) -> String {
    let mut lines = String::new();
    for score in scores {
        for record in &score.records {
            let mut line = json!({ "task": score.task });
            if let (Some(line), Value::Object(fields)) = (line.as_object_mut(), json!(record)) {
                line.extend(fields);
            }
            lines.push_str(&format!("{line}\n"));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{harness, records};
    use crate::evaluation::{Answer, Asking, QuestionSet, Source, Task, TaskScore};
    use crate::progress::Silent;

    #[test]
    fn results_have_the_names_that_the_harness_gives_them() {
        let folder = tempfile::tempdir().expect("folder");
        let rows = "{\"goal\": \"g\", \"sol1\": \"a\", \"sol2\": \"b\", \"label\": 1}\n".repeat(3);
        std::fs::write(folder.path().join("piqa.validation.jsonl"), rows).expect("written");
        let asking = Asking { data: Source::Directory(folder.path().into()), limit: Some(2), ..Asking::default() };
        let set = QuestionSet::read(Task::open("piqa").expect("a task"), &asking, &mut Silent).expect("a set");
        let answers = [-1.0, -2.0, -2.0, -1.0].map(|log_likelihood| Answer { log_likelihood, greedy: false });
        let scores = [TaskScore::new(&set, &answers)];
        let found = harness("m", &scores);
        assert_eq!(found["results"]["piqa"]["acc,none"], json!(0.5));
        assert_eq!(found["results"]["piqa"]["acc_norm_stderr,none"], json!(0.5));
        assert_eq!(found["n-samples"]["piqa"], json!({ "original": 3, "effective": 2 }));
        assert_eq!((&found["versions"]["piqa"], &found["n-shot"]["piqa"]), (&json!(1.0), &json!(0)));
        let lines: Vec<serde_json::Value> =
            records(&scores).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(
            (&lines[1]["task"], &lines[1]["document"], &lines[1]["acc"]),
            (&json!("piqa"), &json!(1), &json!(true))
        );
    }
}
