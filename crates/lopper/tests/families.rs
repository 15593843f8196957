//! Every family against the logits and hidden states that transformers computes from the same files.

mod golden;

use std::path::Path;

use candle_core::Tensor;
use golden::{Golden, assert_close, fixtures, tiny};
use lopper::autograd::Tape;
use lopper::model::{Decoder, FAMILIES, NoTap, Sequences, describe};
use lopper_kernels::Precision;

/// Output of every block for one sequence; `composed` runs candle's ops instead of the kernels.
fn hidden_states(decoder: &Decoder, ids: &[u32], composed: bool) -> Vec<Tensor> {
    let tape = || if composed { Tape::inference(Precision::F32).composed() } else { Tape::inference(Precision::F32) };
    let rotary = decoder.rotary(ids.len()).expect("table");
    let mut x = decoder.embed(ids).expect("ids are in the vocabulary");
    let blocks = (0..decoder.spec().blocks).map(|index| {
        let block = decoder.load_block(index).expect("block");
        let y = block.forward(&mut tape(), &(&x).into(), &Sequences::new([ids.len()]), &rotary, &mut NoTap);
        x = y.expect("forward").tensor().clone();
        x.clone()
    });
    blocks.collect()
}

fn check(folder: &str) {
    let (_directory, decoder) = tiny(folder);
    let golden = Golden::open(&format!("{folder}/golden"));
    for sequence in 0..2 {
        let ids = golden.ids(&format!("input_ids.{sequence}"));
        for composed in [false, true] {
            let states = hidden_states(&decoder, &ids, composed);
            for (index, state) in states.iter().enumerate().filter(|_| sequence == 0) {
                assert_close(state, golden.get(&format!("hidden.{index}")), 1e-5, &format!("{folder} block {index}"));
            }
            let logits = decoder.head().expect("head").logits(&states[states.len() - 1]).expect("logits");
            assert_close(
                &logits,
                golden.get(&format!("logits.{sequence}")),
                1e-4,
                &format!("{folder} logits {sequence}"),
            );
        }
        let head = decoder.head().expect("head");
        let states = hidden_states(&decoder, &ids, false);
        let targets: Vec<u32> = ids.iter().rev().copied().collect();
        let nll =
            head.negative_log_likelihood(&states[states.len() - 1], &targets, Precision::F32).expect("likelihood");
        let logits = golden::vec(golden.get(&format!("logits.{sequence}")));
        for ((nll, logits), &target) in nll.iter().zip(logits.chunks(decoder.spec().vocabulary)).zip(&targets) {
            let normaliser = logits.iter().map(|&logit| f64::from(logit).exp()).sum::<f64>().ln();
            assert!((nll - (normaliser - f64::from(logits[target as usize]))).abs() < 1e-4, "{folder} likelihood");
        }
    }
}

#[test]
fn every_family_gives_the_logits_of_transformers() {
    for family in FAMILIES {
        assert!(fixtures().join(family.name).join("golden.safetensors").exists(), "no golden for {}", family.name);
        check(family.name);
    }
}

#[test]
fn rotary_scalings_and_biases_of_llama() {
    for variant in ["linear", "dynamic", "llama3", "yarn", "biased"] {
        check(&format!("llama/{variant}"));
    }
}

#[test]
fn windows_of_mistral_and_qwen2() {
    check("mistral/full_attention");
    check("qwen2/sliding_layers");
}

#[test]
fn a_ragged_batch_is_its_sequences() {
    let (_directory, decoder) = tiny("mistral");
    let ids: Vec<u32> = (0..30).map(|i| (i * 7) % 90).collect();
    let (first, second) = ids.split_at(19);
    let rotary = decoder.rotary(30).expect("table");
    let block = decoder.load_block(0).expect("block");
    let run = |ids: &[u32], lengths: &[usize]| {
        let x = decoder.embed(ids).expect("ids");
        let sequences = Sequences::new(lengths.iter().copied());
        let y = block.forward(&mut Tape::inference(Precision::F32), &x.into(), &sequences, &rotary, &mut NoTap);
        y.expect("forward").tensor().clone()
    };
    let apart = Tensor::cat(&[run(first, &[19]), run(second, &[11])], 0).expect("rows");
    assert_close(&run(&ids, &[19, 11]), &apart, 1e-6, "ragged batch");
}

#[test]
fn unknown_families_and_missing_tensors_are_named() {
    let (directory, _) = tiny("llama");
    let config = directory.path().join("config.json");
    let text = std::fs::read_to_string(&config).expect("config");
    let refused = |text: String| {
        std::fs::write(&config, text).expect("written");
        let checkpoint = lopper::checkpoint::Checkpoint::open(directory.path()).expect("opens");
        Decoder::open(checkpoint, candle_core::Device::Cpu).err().expect("refused")
    };
    let error = refused(text.replace("\"llama\"", "\"gpt_bigcode\""));
    assert!(error.to_string().contains("gpt_bigcode") && error.hint().is_some_and(|hint| hint.contains("qwen2")));
    let error = refused(text.replace("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4"));
    assert!(error.to_string().contains("model.layers.3."), "{error}");
    let error = refused(text.replace("\"vocab_size\": 96", "\"vocab_size\": 97"));
    assert!(error.to_string().contains("[96, 32]") && error.to_string().contains("[97, 32]"), "{error}");
}

#[test]
fn rotary_tables_are_those_of_transformers() {
    let text = std::fs::read_to_string(fixtures().join("rotary.json")).expect("fixture");
    let golden: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let positions: Vec<usize> = serde_json::from_value(golden["positions"].clone()).expect("positions");
    for (name, case) in golden.as_object().expect("cases").iter().filter(|(name, _)| *name != "positions") {
        let mut config = serde_json::json!({"model_type": "llama", "vocab_size": 8, "hidden_size": 64, "num_hidden_layers": 1,
            "num_attention_heads": 1, "intermediate_size": 64});
        config.as_object_mut().expect("object").extend(case["config"].as_object().expect("config").clone());
        let spec = describe(Path::new("config.json"), &config).expect("supported");
        // the longest sequence decides the frequencies of dynamic scaling
        let length = case["sequence_length"].as_u64().map_or(32768, |length| length as usize);
        let table = spec.rotary.table(length, &candle_core::Device::Cpu).expect("table");
        let values = |key: &str| serde_json::from_value::<Vec<Vec<f32>>>(case[key].clone()).expect("numbers");
        for (key, got) in [("cos", table.cos), ("sin", table.sin)] {
            let got = got.to_vec2::<f32>().expect("numbers");
            for (&position, want) in positions.iter().zip(values(key)).filter(|(position, _)| **position < length) {
                // an angle of p radians is known to about p·6e-8
                let tolerance = 2e-6 + position as f32 * 1.5e-7;
                let worst = got[position].iter().zip(&want).map(|(g, w)| (g - w).abs()).fold(0.0, f32::max);
                assert!(worst < tolerance, "{name} {key} at {position}: off by {worst:.1e}");
            }
        }
    }
}
