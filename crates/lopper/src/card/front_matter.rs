//! The head of a model card: YAML between two lines of `---`.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser};

/// Bytes of a card that are looked at, at most: heads are far shorter.
const LARGEST: usize = 1 << 18;
/// Bytes of a text that is taken for what it says, at most.
const LONGEST: usize = 500;
/// Texts in a list, at most: as many as there are languages, and more.
const MOST: usize = 1000;

/// A value of the head that a card made of this one may carry on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Text(String),
    List(Vec<String>),
}

impl Entry {
    /// Its texts: one, or those of the list.
    pub fn texts(&self) -> &[String] {
        match self {
            Self::Text(text) => std::slice::from_ref(text),
            Self::List(texts) => texts,
        }
    }
}

/// The texts, and lists of texts, at the top of the head of a card, by key. Nothing of a head that is no YAML.
pub(super) fn read(card: &str) -> BTreeMap<String, Entry> {
    head(card).and_then(entries).unwrap_or_default()
}

/// What is between the lines, where a card has a head.
fn head(card: &str) -> Option<&str> {
    let card = card.trim_start_matches('\u{feff}').trim_start();
    let rest = card.strip_prefix("---").filter(|rest| rest.starts_with(['\n', '\r']))?;
    let mut end = 0;
    for line in rest.split_inclusive('\n') {
        if line.trim_end() == "---" {
            return rest.get(..end).filter(|head| head.len() <= LARGEST);
        }
        end += line.len();
    }
    None
}

/// Aliases are not followed: nothing can grow. What is neither a text nor a list of texts is passed over.
fn entries(head: &str) -> Option<BTreeMap<String, Entry>> {
    // keys and values at the top in turn, and the list that is open
    let (mut nodes, mut depth, mut list) = (Vec::new(), 0_usize, None);
    for event in Parser::new_from_str(head) {
        match event.ok()?.0 {
            Event::Scalar(text, ..) => match depth {
                1 => nodes.push(Some(Entry::Text(text.into_owned()))),
                2 => list.iter_mut().for_each(|list: &mut Vec<String>| list.push(text.clone().into_owned())),
                _ => {}
            },
            Event::Alias(_) if depth == 1 => nodes.push(None),
            Event::Alias(_) => list = None,
            Event::SequenceStart(..) if depth == 0 => return None,
            start @ (Event::SequenceStart(..) | Event::MappingStart(..)) => {
                depth += 1;
                list = (depth == 2 && matches!(start, Event::SequenceStart(..))).then(Vec::new);
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if depth == 2 {
                    nodes.push(list.take().map(Entry::List));
                }
                depth -= 1;
            }
            _ => {}
        }
    }
    let short = |entry: &Entry| entry.texts().len() <= MOST && entry.texts().iter().all(|text| text.len() <= LONGEST);
    let named = nodes.chunks_exact(2).filter_map(|pair| match pair {
        [Some(Entry::Text(key)), Some(value)] if short(value) => Some((key.clone(), value.clone())),
        _ => None,
    });
    Some(named.collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Entry, read};

    fn shown(card: &str) -> Vec<String> {
        read(card).into_iter().map(|(key, entry)| format!("{key}: {:?}", entry.texts())).collect()
    }

    #[test]
    fn the_heads_that_people_write_are_read() {
        let card = "\u{feff}---\r\nlicense: apache-2.0 # a comment\r\nlanguage:\r\n- en\r\n- no\r\n---\r\n# A model\n\n---\nlicense: mit\n---\n";
        assert_eq!(shown(card), ["language: [\"en\", \"no\"]", "license: [\"apache-2.0\"]"]);
        let card = "---\nlicense_name: 'gemma'\nlanguage: [de, \"en\"]\nbase: &a x\nother: *a\nwidget: [{text: a}, b]\nmodel-index:\n- name: x\n  results: []\nlibrary_name: >-\n  transformers\n---";
        let expected = [
            "base: [\"x\"]",
            "language: [\"de\", \"en\"]",
            "library_name: [\"transformers\"]",
            "license_name: [\"gemma\"]",
        ];
        assert_eq!(shown(card), expected);
        assert_eq!(read("---\nlanguage: en\n---\n")["language"], Entry::Text("en".into()));
    }

    #[test]
    fn of_what_is_no_head_nothing_is_taken() {
        let long = format!("---\nlicense: {}\n---\n", "x".repeat(501));
        let deep = format!("---\nlicense: mit\na: {}\n---\n", "[".repeat(100_000));
        let none = [
            "",
            "# A model",
            "---",
            "---\nlicense: mit",
            "---\nlicense: [mit\n---\n",
            "---\n- a\n- b\n---\n",
            "----\na: b\n---\n",
            &long,
            &deep,
        ];
        for card in none {
            assert!(read(card).is_empty(), "{card:.60}");
        }
    }

    proptest! {
        #[test]
        fn any_head_can_be_tried(head in "\\PC*|([-:#'\"\\[\\]{},&*!|>%@`?a\n ]|no|---|&a|\\*a|<<){0,40}") {
            read(&format!("---\n{head}\n---\n"));
        }
    }
}
