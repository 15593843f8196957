//! Prints what the text costs: tokens per document and the entropy of the token stream.
//!
//! `cargo run -p lopper-demo --example statistics`. The entropies are those of a token given the
//! tokens before it, `H = −Σ p(context, t) log₂ p(t | context)`, from counts on one half of the
//! training text, applied to the held-out text with interpolation back to shorter contexts.

use lopper_demo::{FILES, calibration_text, generate, held_out_text, training_text};
use std::collections::HashMap;
use tokenizers::Tokenizer;

const TRAINING_DOCUMENTS: usize = 20_000;
const HELD_OUT_DOCUMENTS: usize = 500;

fn main() -> tokenizers::Result<()> {
    let file = FILES.iter().find(|(name, _)| *name == "tokenizer.json");
    let tokenizer = Tokenizer::from_bytes(file.map_or(&b""[..], |(_, content)| content))?;
    let encode = |text: String| tokenizer.encode_fast(text, true).map(|ids| ids.get_ids().to_vec());
    let training = encode(training_text(TRAINING_DOCUMENTS))?;
    let held_out = encode(held_out_text(HELD_OUT_DOCUMENTS))?;
    let words: usize = generate(1, 2000).map(|text| text.split_whitespace().count()).sum();
    println!("words per document: {}", words / 2000);
    println!("tokens per document: {}", training.len() / TRAINING_DOCUMENTS);
    println!("tokens in 128 calibration documents: {}", encode(calibration_text(128))?.len());
    for order in 1..=6 {
        let bits = cross_entropy(&training, &held_out, order);
        println!("{order}-gram: {bits:.3} bits per token, perplexity {:.2}", bits.exp2());
    }
    Ok(())
}

/// Bits per token of `held_out` under an interpolated `order`-gram model of `training`
/// (Witten and Bell's weights: a context seen with `u` different successors gives `u` to the
/// shorter context).
fn cross_entropy(training: &[u32], held_out: &[u32], order: usize) -> f64 {
    let tables: Vec<Table> = (1..=order).map(|length| Table::count(training, length)).collect();
    let bits: f64 = (order..held_out.len())
        .map(|place| {
            let probability = tables.iter().fold(1.0 / 1024.0, |shorter, table| {
                table.probability(&held_out[place + 1 - table.order..=place], shorter)
            });
            -probability.log2()
        })
        .sum();
    bits / (held_out.len() - order) as f64
}

/// Counts of n-grams and of their contexts.
struct Table<'a> {
    order: usize,
    grams: HashMap<&'a [u32], u32>,
    /// Context to (occurrences, different successors).
    contexts: HashMap<&'a [u32], (u32, u32)>,
}

impl<'a> Table<'a> {
    fn count(tokens: &'a [u32], order: usize) -> Self {
        let mut table = Self { order, grams: HashMap::new(), contexts: HashMap::new() };
        for gram in tokens.windows(order) {
            let seen = table.grams.entry(gram).or_default();
            let context = table.contexts.entry(&gram[..order - 1]).or_default();
            context.1 += u32::from(*seen == 0);
            context.0 += 1;
            *seen += 1;
        }
        table
    }

    fn probability(&self, gram: &[u32], shorter: f64) -> f64 {
        let Some((total, different)) = self.contexts.get(&gram[..self.order - 1]) else {
            return shorter;
        };
        let count = self.grams.get(gram).copied().unwrap_or(0);
        (f64::from(count) + f64::from(*different) * shorter) / f64::from(total + different)
    }
}
