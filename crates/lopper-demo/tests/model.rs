//! The embedded model directory: its tokenizer, and the agreement of its files.

#![allow(clippy::unwrap_used)] // a test that meets an error has failed

#[path = "../examples/train_tokenizer/trainer.rs"]
mod trainer;

use lopper_demo::{END_OF_DOCUMENT, FILES, generate, held_out_text, write_model};
use serde_json::Value;
use tokenizers::Tokenizer;

fn file(name: &str) -> &'static [u8] {
    FILES.iter().find(|(known, _)| *known == name).expect("the file is embedded").1
}

fn tokenizer() -> Tokenizer {
    Tokenizer::from_bytes(file("tokenizer.json")).unwrap()
}

#[test]
fn the_tokenizer_is_the_one_its_trainer_makes() {
    let trained = trainer::train().unwrap().to_string(true).unwrap();
    assert_eq!(trained.as_bytes(), file("tokenizer.json"));
}

#[test]
fn any_text_survives_the_tokenizer() {
    let tokenizer = tokenizer();
    let strange = "naïve  Ærøskøbing\t漢字 🦊\u{0}\r\n  x=3.14;  \u{10ffff}\u{7f} don't";
    let every_char: String = (0..0x3000).filter_map(char::from_u32).collect();
    for text in [strange, &every_char, "", " ", &held_out_text(20)] {
        let ids = tokenizer.encode(text, true).unwrap();
        assert_eq!(tokenizer.decode(ids.get_ids(), false).unwrap(), text);
    }
}

#[test]
fn documents_are_separated_by_token_zero() {
    let tokenizer = tokenizer();
    assert_eq!(tokenizer.token_to_id(END_OF_DOCUMENT), Some(0));
    let ids = tokenizer.encode(held_out_text(9), true).unwrap();
    assert_eq!(ids.get_ids().iter().filter(|id| **id == 0).count(), 9);
    assert_eq!(ids.get_ids().last(), Some(&0));
}

#[test]
fn the_vocabulary_is_used() {
    let tokenizer = tokenizer();
    assert_eq!(tokenizer.get_vocab_size(true), trainer::VOCABULARY);
    let mut seen = vec![false; trainer::VOCABULARY];
    let (mut tokens, mut documents) = (0, 0);
    for document in generate(lopper_demo::CALIBRATION_SEED, 2000) {
        let ids = tokenizer.encode(document, true).unwrap();
        tokens += ids.len();
        documents += 1;
        ids.get_ids().iter().for_each(|id| seen[*id as usize] = true);
    }
    let used = seen.iter().filter(|used| **used).count();
    assert!(used > 700, "{used} tokens used");
    let mean = tokens / documents;
    assert!((100..=230).contains(&mean), "{mean} tokens in a document");
}

#[test]
fn the_configuration_fits_itself_and_the_tokenizer() {
    let config: Value = serde_json::from_slice(file("config.json")).unwrap();
    let number = |name: &str| config[name].as_u64().unwrap();
    assert_eq!(number("vocab_size"), trainer::VOCABULARY as u64);
    assert_eq!(number("hidden_size"), number("num_attention_heads") * number("head_dim"));
    assert_eq!(number("num_attention_heads") % number("num_key_value_heads"), 0);
    assert_eq!(number("intermediate_size") % 32, 0);
    assert_eq!(config["tie_word_embeddings"], Value::Bool(true));
    for name in ["generation_config.json", "tokenizer_config.json"] {
        assert!(serde_json::from_slice::<Value>(file(name)).unwrap().is_object());
    }
}

#[test]
fn the_directory_holds_every_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new/model");
    write_model(&path).unwrap();
    for (name, content) in FILES {
        assert_eq!(std::fs::read(path.join(name)).unwrap(), *content, "{name}");
    }
}
