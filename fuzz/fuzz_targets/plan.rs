//! Any text as a plan: no panic when it is read and checked against a model, and what is accepted has a schedule.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use lopper::model::describe;
use lopper::plan::Plan;
use lopper::schedule::Schedule;

fuzz_target!(|text: &str| {
    let config = serde_json::json!({"model_type": "llama", "hidden_size": 32, "intermediate_size": 80,
        "num_attention_heads": 4, "num_hidden_layers": 3, "vocab_size": 96});
    let spec = describe(Path::new("config.json"), &config).expect("a configuration");
    let Ok(plan) = Plan::parse(text, "plan.toml") else { return };
    if plan.validate(&spec).is_ok() {
        let plan = plan.resolved(&spec).expect("a valid plan");
        let text = plan.to_toml().expect("text");
        assert_eq!(Plan::parse(&text, "again").and_then(|plan| plan.to_toml()).expect("a plan"), text);
        Schedule::new(&plan).expect("a schedule").steps(2);
    }
});
