//! Byte-level BPE on the generator's text: 1 special token, 256 bytes, 767 merges.

use lopper_demo::{END_OF_DOCUMENT, TRAINING_SEED, generate};
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Result, Tokenizer, TokenizerBuilder};

/// Tokens in the vocabulary.
pub const VOCABULARY: usize = 1024;

/// Documents the merges are counted on.
const DOCUMENTS: usize = 10_000;

/// Trains the tokenizer; the same text gives the same merges, whatever the thread count.
///
/// # Errors
/// Those of the `tokenizers` crate.
pub fn train() -> Result<Tokenizer> {
    let mut trainer = BpeTrainerBuilder::new()
        .vocab_size(VOCABULARY)
        .min_frequency(2)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(vec![AddedToken::from(END_OF_DOCUMENT, true)])
        .build();
    let byte_level = ByteLevel::new(false, true, true);
    let mut tokenizer = TokenizerBuilder::new()
        .with_model(BPE::default())
        .with_normalizer(None::<tokenizers::NormalizerWrapper>)
        .with_pre_tokenizer(Some(byte_level))
        .with_post_processor(Some(byte_level))
        .with_decoder(Some(byte_level))
        .build()?;
    tokenizer.train(&mut trainer, generate(TRAINING_SEED, DOCUMENTS))?;
    Ok(tokenizer.into())
}
