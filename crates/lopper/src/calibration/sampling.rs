//! Windows of tokens from a text.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::error::{Error, Result};

/// Tokens by which blocks are compared.
const COMPARED: usize = 4096;

/// How many of the sequences of a length are looked at to compare blocks; at least one is.
pub(crate) fn looked_at(length: usize, sequences: usize) -> usize {
    COMPARED.div_ceil(length.max(1)).min(sequences)
}

/// Numbers of the products of what experts give that are kept at most, to choose among them.
pub(crate) const MOST_PRODUCTS: usize = 1 << 26;
/// Numbers that all experts give at a time.
pub(crate) const MOST_OUTPUTS: usize = 1 << 25;

/// Where windows are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sampling {
    /// Consecutive windows from the beginning.
    First,
    /// Of all consecutive windows, a seeded choice without repetition, in random order.
    Random,
}

/// Cuts `tokens` into windows of `length` and takes `count` of them.
///
/// # Errors
/// If there are fewer than `count` windows.
pub fn draw_windows(
    tokens: &[u32],
    length: usize,
    count: usize,
    sampling: Sampling,
    seed: u64,
) -> Result<Vec<Vec<u32>>> {
    let available = tokens.len() / length;
    if available < count {
        return Err(Error::Text {
            problem: format!(
                "the calibration text is too short: {count} windows of {length} tokens need {}, it has {}",
                count * length,
                tokens.len()
            ),
            hint: Some(format!(
                "give more text, or take at most {available} windows with --samples, or shorter ones with --seqlen"
            )),
        });
    }
    let mut order: Vec<usize> = (0..available).collect();
    if sampling == Sampling::Random {
        shuffle(&mut order, seed);
    }
    Ok(order[..count].iter().map(|&window| tokens[window * length..][..length].to_vec()).collect())
}

/// A seeded permutation in place (Fisher & Yates).
pub fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    for last in (1..items.len()).rev() {
        // the product's high half is below last + 1; its bias is below 2⁻³² for any list that fits in memory
        let chosen = (u128::from(generator.next_u64()) * (last as u128 + 1)) >> 64;
        items.swap(last, chosen as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::{Sampling, draw_windows};

    #[test]
    fn windows_are_whole_disjoint_and_seeded() {
        let tokens: Vec<u32> = (0..105).collect();
        assert_eq!(
            draw_windows(&tokens, 10, 2, Sampling::First, 7).expect("enough"),
            [(0..10).collect::<Vec<_>>(), (10..20).collect()]
        );
        let draw = |seed| draw_windows(&tokens, 10, 10, Sampling::Random, seed).expect("enough");
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let mut all = draw(3).concat();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn too_short_a_text_says_what_would_do() {
        let error = draw_windows(&[0; 25], 10, 3, Sampling::First, 0).expect_err("too short");
        assert!(
            error.to_string().contains("need 30, it has 25")
                && error.hint().is_some_and(|hint| hint.contains("at most 2"))
        );
    }
}
