//! The small model that ships inside lopper, and the generator of the text it was trained on.
//!
//! The model is Llama-shaped with about a million weights. Its text is written by [`generate`]:
//! stories whose people keep their attributes, true arithmetic, the facts of an invented island,
//! recipes, sorted lists, dialogues and grammar. Some of it can be reasoned out from what stands
//! earlier in the document, some of it can only be memorised, so removing weights is felt.
//!
//! Documents are separated by [`END_OF_DOCUMENT`], written into the text after every document.
//! The tokenizer knows it as a special token, id 0, so encoding the whole text at once gives the
//! stream that the model was trained on; nothing else is added in front or behind.

mod dice;
mod document;
mod grammar;
mod lexicon;
mod numbers;
mod page;
mod world;

pub use numbers::number_words;

use std::path::Path;

/// Stands after every document of [`training_text`], [`calibration_text`] and [`held_out_text`].
pub const END_OF_DOCUMENT: &str = "<|endoftext|>";

/// The seed of the text that the model and its tokenizer are trained on.
pub const TRAINING_SEED: u64 = 1;

/// The seed of [`calibration_text`].
pub const CALIBRATION_SEED: u64 = 2;

/// The seed of [`held_out_text`].
pub const HELD_OUT_SEED: u64 = 3;

/// The files of the model's directory in Hugging Face's form: name and content.
pub const FILES: &[(&str, &[u8])] = &[
    ("config.json", include_bytes!("../model/config.json")),
    ("generation_config.json", include_bytes!("../model/generation_config.json")),
    ("model.safetensors", include_bytes!("../model/model.safetensors")),
    ("tokenizer.json", include_bytes!("../model/tokenizer.json")),
    ("tokenizer_config.json", include_bytes!("../model/tokenizer_config.json")),
];

/// Writes `documents` documents of about a hundred words, the same for the same `seed` always.
///
/// Document `n` depends on the seed and on `n` alone: asking for more documents appends.
pub fn generate(seed: u64, documents: usize) -> impl Iterator<Item = String> {
    (0..documents as u64).map(move |number| document::write(&mut dice::Dice::new(seed, number)))
}

/// Documents as one text, [`END_OF_DOCUMENT`] after each.
pub fn training_text(documents: usize) -> String {
    text(TRAINING_SEED, documents)
}

/// Text to calibrate a pruning run on; the model has not seen it in training.
pub fn calibration_text(documents: usize) -> String {
    text(CALIBRATION_SEED, documents)
}

/// Text to measure perplexity on; neither training nor calibration has seen it.
pub fn held_out_text(documents: usize) -> String {
    text(HELD_OUT_SEED, documents)
}

fn text(seed: u64, documents: usize) -> String {
    generate(seed, documents).flat_map(|document| [document, END_OF_DOCUMENT.to_owned()]).collect()
}

/// Writes [`FILES`] into `directory`, which is made if it is not there.
///
/// # Errors
/// When the directory cannot be made or a file cannot be written.
pub fn write_model(directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    FILES.iter().try_for_each(|(name, content)| std::fs::write(directory.join(name), content))
}
