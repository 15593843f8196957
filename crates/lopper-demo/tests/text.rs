//! The text is what the crate says it is: repeatable, true, and of the promised size.

use lopper_demo::{
    CALIBRATION_SEED, END_OF_DOCUMENT, HELD_OUT_SEED, TRAINING_SEED, calibration_text, generate, held_out_text,
    number_words,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

const DOCUMENTS: usize = 4000;

fn sentences(documents: usize) -> Vec<String> {
    generate(TRAINING_SEED, documents)
        .flat_map(|document| {
            document.split(['.', '\n', '?', '!']).map(|part| part.trim().to_lowercase()).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn the_same_seed_writes_the_same_text() {
    let long: Vec<String> = generate(11, 50).collect();
    assert_eq!(generate(11, 50).collect::<Vec<_>>(), long);
    assert_eq!(generate(11, 20).collect::<Vec<_>>(), long[..20]);
}

/// The text is part of the model: a change of it needs a new tokenizer and new weights.
#[test]
fn the_first_documents_are_those_the_model_was_trained_on() {
    let text: String = generate(TRAINING_SEED, 200).collect();
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    assert_eq!(hash, 0xaca7_30d9_8677_a8b9, "FNV-1a of the first 200 documents is now {hash:#018x}");
}

#[test]
fn seeds_share_no_document() {
    let documents = |seed| generate(seed, DOCUMENTS).collect::<BTreeSet<String>>();
    let training = documents(TRAINING_SEED);
    let calibration = documents(CALIBRATION_SEED);
    let held_out = documents(HELD_OUT_SEED);
    assert_eq!(training.len(), DOCUMENTS, "a document was written twice");
    assert!(training.is_disjoint(&calibration));
    assert!(training.is_disjoint(&held_out));
    assert!(calibration.is_disjoint(&held_out));
}

#[test]
fn texts_end_every_document_with_the_separator() {
    for text in [calibration_text(7), held_out_text(7)] {
        assert_eq!(text.matches(END_OF_DOCUMENT).count(), 7);
        assert!(text.ends_with(END_OF_DOCUMENT));
    }
    assert_ne!(calibration_text(7), held_out_text(7));
}

#[test]
fn no_mark_of_a_template_is_left() {
    for document in generate(TRAINING_SEED, DOCUMENTS) {
        assert!(!document.contains(['{', '}', '~']), "{document}");
        assert!(!document.contains("  ") && document.is_ascii(), "{document}");
    }
}

#[test]
fn sizes_are_as_promised() {
    let mut words = BTreeSet::new();
    let mut count = 0;
    for document in generate(TRAINING_SEED, DOCUMENTS) {
        for word in document.split(|letter: char| !letter.is_ascii_alphabetic()) {
            if !word.is_empty() {
                count += 1;
                words.insert(word.to_lowercase());
            }
        }
    }
    let mean = count / DOCUMENTS;
    assert!((1200..=1800).contains(&words.len()), "{} distinct words", words.len());
    assert!((80..=160).contains(&mean), "{mean} words in a document");
}

/// The text between `before` and `after`, and what follows `after`.
fn cut<'a>(text: &'a str, middle: &str) -> Option<(&'a str, &'a str)> {
    text.split_once(middle)
}

#[test]
fn arithmetic_is_true() {
    let number: HashMap<String, u32> = (0..1000).map(|number| (number_words(number), number)).collect();
    let mut checked = 0;
    for sentence in sentences(DOCUMENTS) {
        for (operator, apply) in [
            (" plus ", (|x, y| x + y) as fn(u32, u32) -> u32),
            (" minus ", |x, y| x - y),
            (" times ", |x, y| x * y),
            (" divided by ", |x, y| x / y),
        ] {
            let Some((x, rest)) = cut(&sentence, operator) else {
                continue;
            };
            let Some((y, z)) = cut(rest, " is ") else {
                continue;
            };
            assert_eq!(apply(number[x], number[y]), number[z], "{sentence}");
            checked += 1;
        }
        if let Some((x, y)) = sentence.strip_prefix("twice ").and_then(|rest| cut(rest, " is ")) {
            assert_eq!(number[x] * 2, number[y], "{sentence}");
            checked += 1;
        }
    }
    assert!(checked > 500, "only {checked} statements");
}

/// A subject never gets two answers to the same question anywhere in the text.
#[test]
fn facts_are_the_same_everywhere() {
    let relations = [
        (" stands on the river ", 24),
        ("the market of ", 24),
        ("the roofs of ", 24),
        (" rises on ", 8),
        (" is made of ", 36),
        ("the opposite of ", 30),
    ];
    for (relation, subjects) in relations {
        let mut answers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for sentence in sentences(DOCUMENTS) {
            let found = if let Some(rest) = sentence.strip_prefix(relation) {
                [" is held on ", " are ", " is "].iter().find_map(|verb| cut(rest, verb))
            } else {
                cut(&sentence, relation)
            };
            if let Some((subject, answer)) = found {
                answers.entry(subject.to_owned()).or_default().insert(answer.to_owned());
            }
        }
        assert!(answers.len() >= subjects, "{relation}: {} subjects", answers.len());
        for (subject, answer) in answers {
            assert_eq!(answer.len(), 1, "{subject}{relation}{answer:?}");
        }
    }
}

#[test]
fn sorted_lists_are_sorted() {
    let mut checked = 0;
    for sentence in sentences(DOCUMENTS) {
        if let Some((_, list)) = cut(&sentence, "in the order of the alphabet they are ") {
            let words: Vec<&str> = list.split(", ").flat_map(|part| part.split(" and ")).collect();
            assert!(words.len() >= 4 && words.is_sorted(), "{sentence}");
            checked += 1;
        }
    }
    assert!(checked > 200, "only {checked} lists");
}
