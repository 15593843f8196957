//! Real models against what transformers computes: SmolLM2-135M and stories260k.
//!
//! `LOPPER_TEST_SMOLLM2`, `LOPPER_TEST_STORIES260K` (checkpoint directories) and `LOPPER_TEST_WIKITEXT2` (the raw test split)
//! say where they are. A test whose files are not there says so and passes, but never in CI.

use crate::golden;

use golden::{fixtures, path};
use lopper::autograd::Tape;
use lopper::checkpoint::Checkpoint;
use lopper::evaluation::{Windows, perplexity};
use lopper::model::{Context, Decoder, NoTap, Sequences};
use lopper::text::{Tokenizer, read_wikitext};
use lopper_kernels::Precision;
use serde_json::Value;

fn goldens() -> Value {
    serde_json::from_str(&std::fs::read_to_string(fixtures().join("real_models.json")).expect("fixture")).expect("JSON")
}

fn ids(golden: &Value) -> Vec<u32> {
    serde_json::from_value(golden.clone()).expect("token ids")
}

fn check(variable: &str, golden: &str) {
    let Some(directory) = path(variable) else { return };
    let golden = &goldens()[golden];
    let tokenizer = Tokenizer::open(&directory).expect("tokenizer");
    let sentence = golden["sentence"].as_str().expect("text");
    assert_eq!(tokenizer.encode(sentence, false).expect("encodes"), ids(&golden["sentence_ids"]));
    assert_eq!(tokenizer.encode(sentence, true).expect("encodes"), ids(&golden["sentence_ids_with_special_tokens"]));
    let decoder = Decoder::open(Checkpoint::open(&directory).expect("opens")).expect("a decoder");
    let prompt = ids(&golden["prompt_ids"]);
    let (sequences, rotary) = (Sequences::new([prompt.len()]), decoder.rotary(prompt.len()));
    let mut x = decoder.embed(&prompt, &sequences.positions()).expect("embeds").into();
    for index in 0..decoder.spec().blocks.len() {
        let block = decoder.load_block(index).expect("block");
        let context = Context { sequences: &sequences, rotary: &rotary };
        x = block.forward(&mut Tape::new(Precision::F32), &x, context, &mut NoTap).expect("forward");
    }
    let logits = decoder.head().expect("head").logits(x.tensor()).expect("logits");
    let logits: Vec<&[f32]> = logits.host().chunks(logits.width()).collect();
    let want: Vec<Vec<f32>> = serde_json::from_value(golden["logits"].clone()).expect("numbers");
    for (got, want) in logits[prompt.len() - 2..].iter().zip(&want) {
        let got: Vec<f32> = ids(&golden["vocabulary_ids"]).iter().map(|&id| got[id as usize]).collect();
        let error = golden::distance(&got, want);
        assert!(error < 1e-4, "relative error {error:.2e}");
    }
}

#[test]
fn logits_of_smollm2() {
    check("LOPPER_TEST_SMOLLM2", "smollm2");
}

#[test]
fn logits_of_stories260k() {
    check("LOPPER_TEST_STORIES260K", "stories260k");
}

#[test]
fn perplexity_of_smollm2_on_wikitext2() {
    let (Some(directory), Some(text)) = (path("LOPPER_TEST_SMOLLM2"), path("LOPPER_TEST_WIKITEXT2")) else { return };
    let golden = &goldens()["smollm2_wikitext2"];
    let tokenizer = Tokenizer::open(&directory).expect("tokenizer");
    let tokens = tokenizer.encode(&read_wikitext(&text).expect("text"), false).expect("encodes");
    assert_eq!(Some(tokens.len() as u64), golden["tokens"].as_u64());
    assert_eq!(tokens[..8], ids(&golden["first_ids"]));
    assert_eq!(tokens[tokens.len() - 8..], ids(&golden["last_ids"]));
    let decoder = Decoder::open(Checkpoint::open(&directory).expect("opens")).expect("a decoder");
    // four of the twenty: each takes many seconds
    let windows = Windows { length: 2048, count: Some(4) };
    let score = perplexity(&decoder, &tokens, windows, Precision::F32, &mut |_| {}).expect("scores");
    let want: Vec<f64> = serde_json::from_value(golden["window_nll"].clone()).expect("numbers");
    let want = &want[..4];
    assert_eq!(score.nll.len(), want.len());
    for (got, want) in score.nll.iter().zip(want) {
        assert!((got - want).abs() < 1e-4, "{got} against {want}");
    }
    let exact = (want.iter().sum::<f64>() / want.len() as f64).exp();
    assert!((score.perplexity - exact).abs() < 0.01, "{} against {exact}", score.perplexity);
}
