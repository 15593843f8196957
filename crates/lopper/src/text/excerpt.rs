//! As much of some files as is asked for, in tokens: of a small text all, of a large one its beginning or a seeded choice of its parts.
//! So neither memory nor the work of the tokenizer grows with a text of which little is wanted.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::corpus::{Form, Part, Reader};
use super::tokenizer::Tokenizer;
use crate::error::Result;

/// Bytes of text that are kept for each token asked for: a token is four bytes or so, and a choice should have much to choose from.
const BYTES_PER_TOKEN: usize = 64;
/// Bytes of text that are always kept.
const SMALL: usize = 1 << 20;

/// Bytes of text that are kept at most to choose so many tokens from.
pub(crate) fn bytes_for(tokens: usize) -> usize {
    tokens.saturating_mul(BYTES_PER_TOKEN).max(SMALL)
}

/// Texts that are given to the tokenizer at one time.
const TEXTS_AT_ONCE: usize = 64;

/// Which parts of texts are taken where they are much longer than what is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The first.
    First,
    /// A choice by this seed, in an order by this seed.
    Seeded(u64),
}

/// Files, each with how its lines are joined.
pub(crate) struct Excerpt<'a> {
    /// What is read, in this order.
    pub files: Vec<(PathBuf, Form)>,
    /// What is taken of it.
    pub choice: Choice,
    /// Tokens that are asked for; `None`: all.
    pub tokens: Option<usize>,
    /// What makes tokens of it.
    pub tokenizer: &'a Tokenizer,
}

impl Excerpt<'_> {
    /// The tokens: of the whole text, if it is not much longer than asked for; else at least as many as asked for, if there are so many.
    /// `progress` is told the share of the files that has been read.
    ///
    /// # Errors
    /// If a file cannot be read as text, or the tokenizer fails.
    pub fn read(&self, reader: &mut Reader, progress: &mut dyn FnMut(f64)) -> Result<Vec<u32>> {
        // a pipe cannot be read again, should that be too little
        let is_read_once = self.files.iter().any(|(path, _)| path.exists() && !path.is_file());
        let mut most = self.tokens.filter(|_| !is_read_once).map_or(usize::MAX, bytes_for);
        let sizes = self.files.iter().filter_map(|(path, _)| Some(std::fs::metadata(path).ok()?.len()));
        let size = sizes.sum::<u64>().max(1) as f64;
        loop {
            let (mut kept, mut bytes) = (Kept::new(self.choice, most), 0);
            for (path, form) in &self.files {
                if kept.is_cut && self.choice == Choice::First {
                    break;
                }
                reader.parts(path, *form, &mut |part| {
                    bytes += part.text.len();
                    progress((bytes as f64 / size).min(1.0));
                    Ok(kept.push(part))
                })?;
            }
            let enough = self.tokens.filter(|_| kept.is_cut);
            let mut tokens = Vec::new();
            for texts in kept.texts().chunks(TEXTS_AT_ONCE) {
                if enough.is_some_and(|enough| tokens.len() >= enough) {
                    break;
                }
                tokens.extend(self.tokenizer.encode_all(texts)?);
            }
            if enough.is_none_or(|enough| tokens.len() >= enough) {
                return Ok(tokens);
            }
            // few tokens of many bytes: as good as never
            most = most.saturating_mul(4);
        }
    }
}

/// Parts of texts, of which no more than so many bytes are kept.
struct Kept {
    choice: Choice,
    most: usize,
    generator: ChaCha8Rng,
    /// By the place in the order of the choice, and the place in the text.
    parts: BTreeMap<(u64, usize), Part>,
    seen: usize,
    bytes: usize,
    /// Whether there is more than is kept.
    is_cut: bool,
}

impl Kept {
    fn new(choice: Choice, most: usize) -> Self {
        let seed = if let Choice::Seeded(seed) = choice { seed } else { 0 };
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        // windows are drawn from the first stream
        generator.set_stream(1);
        Self { choice, most, generator, parts: BTreeMap::new(), seen: 0, bytes: 0, is_cut: false }
    }

    /// Takes a part; returns whether it wants more.
    fn push(&mut self, part: Part) -> bool {
        if self.choice == Choice::First && self.bytes >= self.most {
            self.is_cut = true;
            return false;
        }
        let place = if self.choice == Choice::First { 0 } else { self.generator.next_u64() };
        self.bytes += part.text.len();
        self.parts.insert((place, self.seen), part);
        self.seen += 1;
        while self.choice != Choice::First && self.bytes > self.most && self.parts.len() > 1 {
            self.is_cut = true;
            self.bytes -= self.parts.pop_last().map_or(0, |(_, part)| part.text.len());
        }
        true
    }

    /// The texts: parts of a chosen one stand alone, those of all, or of the first, are joined.
    fn texts(self) -> Vec<String> {
        let chosen = self.is_cut && self.choice != Choice::First;
        let mut parts: Vec<_> = self.parts.into_iter().map(|((_, place), part)| (place, part)).collect();
        if !chosen {
            parts.sort_by_key(|(place, _)| *place);
        }
        let mut texts: Vec<String> = Vec::new();
        for (_, part) in parts {
            match texts.last_mut().filter(|_| part.continues && !chosen) {
                Some(text) => text.push_str(&part.text),
                None => texts.push(part.text),
            }
        }
        texts
    }
}

#[cfg(test)]
mod tests {
    use super::{Choice, Kept};
    use crate::text::corpus::Part;

    fn kept(choice: Choice, most: usize, parts: usize) -> (Vec<String>, bool) {
        let mut kept = Kept::new(choice, most);
        for part in 0..parts {
            if !kept.push(Part { text: format!("{part:04}"), continues: part % 3 > 0 }) {
                break;
            }
        }
        let is_cut = kept.is_cut;
        (kept.texts(), is_cut)
    }

    #[test]
    fn a_small_text_is_kept_whole_and_in_order() {
        for choice in [Choice::First, Choice::Seeded(7)] {
            assert_eq!(kept(choice, 16, 4), (vec!["000000010002".into(), "0003".into()], false));
        }
    }

    #[test]
    fn the_first_parts_of_a_large_text_are_those_that_are_enough() {
        assert_eq!(kept(Choice::First, 13, 100), (vec!["000000010002".into(), "0003".into()], true));
    }

    #[test]
    fn a_choice_is_seeded_bounded_and_fair() {
        let (texts, is_cut) = kept(Choice::Seeded(1), 40, 100);
        assert!(is_cut && texts.len() == 10);
        assert_eq!(kept(Choice::Seeded(1), 40, 100).0, texts);
        assert_ne!(kept(Choice::Seeded(2), 40, 100).0, texts);
        // each of 100 parts is among the ten of 400 seeds 40 times or so: six standard deviations are 36
        let mut counts = [0; 100];
        for seed in 0..400 {
            for text in kept(Choice::Seeded(seed), 40, 100).0 {
                counts[text.parse::<usize>().expect("a number")] += 1;
            }
        }
        assert!(counts.iter().all(|count| (4..76).contains(count)), "{counts:?}");
    }
}
