//! YAML as the head of a model card has it, in a form that readers of YAML 1.1 and of 1.2 understand alike.
//!
//! A text is written bare only where it cannot be anything else: `no`, `1:2`, `2026-11-28` and `---` are texts here, and mean something
//! else to one reader or the other.

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Text(String),
    /// Finite.
    Number(f64),
    List(Vec<Node>),
    /// Its keys are bare words.
    Map(Vec<(&'static str, Node)>),
}

/// Words that a reader takes for something else than themselves.
const WORDS: [&str; 10] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "none"];

impl Node {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A list of texts.
    pub fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::List(texts.into_iter().map(Self::text).collect())
    }

    /// As YAML, a line or more.
    pub fn to_yaml(&self) -> String {
        self.indented(0)
    }

    /// Every line of it after so many spaces.
    fn indented(&self, indent: usize) -> String {
        let space = " ".repeat(indent);
        match self {
            Self::Text(text) => format!("{space}{}\n", scalar(text)),
            Self::Number(number) => format!("{space}{number}\n"),
            Self::List(items) if items.is_empty() => format!("{space}[]\n"),
            Self::Map(entries) if entries.is_empty() => format!("{space}{{}}\n"),
            Self::List(items) => {
                items.iter().map(|item| format!("{space}- {}", item.indented(indent + 2).trim_start())).collect()
            }
            Self::Map(entries) => {
                entries.iter().map(|(key, value)| format!("{space}{key}:{}", value.after_key(indent))).collect()
            }
        }
    }

    /// What follows a key that stands after so many spaces.
    fn after_key(&self, indent: usize) -> String {
        match self {
            Self::List(items) if !items.is_empty() => format!("\n{}", self.indented(indent)),
            Self::Map(entries) if !entries.is_empty() => format!("\n{}", self.indented(indent + 2)),
            _ => format!(" {}", self.indented(0)),
        }
    }
}

/// A text on one line.
fn scalar(text: &str) -> String {
    let bare = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.' | '/');
    let begins = text.starts_with(|letter: char| letter.is_ascii_alphabetic());
    if begins && text.chars().all(bare) && !WORDS.contains(&text.to_ascii_lowercase().as_str()) {
        return text.to_owned();
    }
    let quoted = |letter: char| match letter {
        '"' | '\\' => format!("\\{letter}"),
        ' '..='~'
        | '\u{a0}'..='\u{61b}'
        | '\u{61d}'..='\u{200a}'
        | '\u{2010}'..='\u{2027}'
        | '\u{202f}'..='\u{205f}'
        | '\u{2070}'..='\u{d7ff}'
        | '\u{e000}'..='\u{fefe}'
        | '\u{ff00}'..='\u{fffd}' => letter.to_string(),
        // beyond 16 bits some readers take nothing bare, and all take eight digits
        _ => format!("\\U{:08X}", u32::from(letter)),
    };
    format!("\"{}\"", text.chars().map(quoted).collect::<String>())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use yaml_rust2::{Yaml, YamlLoader};

    use super::Node;

    /// As another program reads it.
    fn read(yaml: &str) -> Yaml {
        YamlLoader::load_from_str(yaml).unwrap_or_else(|error| panic!("{error}: {yaml}")).remove(0)
    }

    fn is_same(node: &Node, yaml: &Yaml) -> bool {
        match (node, yaml) {
            (Node::Text(text), Yaml::String(read)) => text == read,
            (Node::Number(number), Yaml::Integer(read)) => number.to_string() == read.to_string(),
            (Node::Number(number), Yaml::Real(read)) => read.parse() == Ok(*number),
            (Node::List(items), Yaml::Array(read)) => {
                items.len() == read.len() && items.iter().zip(read).all(|(item, read)| is_same(item, read))
            }
            (Node::Map(entries), Yaml::Hash(read)) => {
                let mut read = read.iter();
                entries.iter().all(|(key, value)| {
                    read.next().is_some_and(|(name, read)| name.as_str() == Some(key) && is_same(value, read))
                }) && read.next().is_none()
            }
            _ => false,
        }
    }

    #[test]
    fn lists_and_maps_are_laid_out_as_people_do() {
        let metric = Node::Map(vec![("type", Node::text("perplexity")), ("value", Node::Number(27.71))]);
        let node = Node::Map(vec![
            ("license", Node::text("apache-2.0")),
            ("language", Node::texts(["en", "no"])),
            (
                "index",
                Node::List(vec![Node::Map(vec![("name", Node::text("2:4")), ("metrics", Node::List(vec![metric]))])]),
            ),
            (
                "task",
                Node::Map(vec![("args", Node::Map(vec![("shots", Node::Number(5.0))])), ("none", Node::List(vec![]))]),
            ),
        ]);
        let expected = "license: apache-2.0\nlanguage:\n- en\n- \"no\"\nindex:\n- name: \"2:4\"\n  metrics:\n  - type: perplexity\n    value: 27.71\ntask:\n  args:\n    shots: 5\n  none: []\n";
        assert_eq!(node.to_yaml(), expected);
        assert!(is_same(&node, &read(expected)));
    }

    fn nodes() -> impl Strategy<Value = Node> {
        let text = prop_oneof![
            any::<String>(),
            "[-:#'\"\\\\ \n\t{}\\[\\],&*!|>%@`?~a0]{0,8}",
            "---|\\.\\.\\.|no|Yes|~|null|0x1f|1e5|1_000|12:30:45|2026-11-28|\\.inf|=|<<|a: b|a #b| a|a |\u{feff}\u{85}\u{2028}\u{202e}|😀",
        ];
        let leaf = prop_oneof![
            text.prop_map(Node::Text),
            (-1e9..1e9).prop_map(Node::Number),
            (0..9_u32).prop_map(|n| Node::Number(n.into()))
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Node::List),
                prop::collection::vec(inner, 0..3).prop_map(|values| Node::Map(
                    ["name", "base_model", "model-index"].into_iter().zip(values).collect()
                )),
            ]
        })
    }

    proptest! {
        #[test]
        fn another_program_reads_what_was_written(node in nodes()) {
            let yaml = node.to_yaml();
            prop_assert!(is_same(&node, &read(&yaml)), "{yaml}");
            // nothing can end the head of a card
            prop_assert!(!matches!(node, Node::Map(_)) || yaml.lines().all(|line| !line.starts_with("---")), "{yaml}");
        }
    }
}
