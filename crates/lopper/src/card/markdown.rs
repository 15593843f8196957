//! What others have named, in Markdown (CommonMark with the tables of GitHub) and without a say in it.
//!
//! Names of files, tasks and models stand in code spans, where nothing is markup, and have no line breaks. A span ends at as many backticks
//! as it begins with, so it begins with more than the name has in a row.

/// A name on one line of a text.
pub(super) fn code(name: &str) -> String {
    let name: String =
        name.chars().map(|letter| if is_plain(letter) { letter } else { char::REPLACEMENT_CHARACTER }).collect();
    let runs = name.split(|letter| letter != '`').map(str::len);
    let fence = "`".repeat(1 + runs.max().unwrap_or(0));
    let joins = name.is_empty() || name.starts_with(['`', ' ']) || name.ends_with(['`', ' ']);
    // one space on each side is not part of the span
    let space = if joins { " " } else { "" };
    format!("{fence}{space}{name}{space}{fence}")
}

/// The same in a cell of a table. A bar would end it, in a code span too and however escaped where a backslash is before it: it is shown
/// as a broken one.
pub(super) fn cell(name: &str) -> String {
    code(name).replace('|', "¦")
}

/// A name as it stands where it is a word, else as code.
pub(super) fn word(name: &str) -> String {
    let edge = |letter: char| letter.is_ascii_alphanumeric();
    let inside = |letter: char| edge(letter) || letter == '_' || letter == '-';
    let is_word = name.starts_with(edge) && name.ends_with(edge) && name.chars().all(inside);
    if is_word { name.to_owned() } else { cell(name) }
}

/// The last part of a path of any system; what is before it is no one else's business.
pub(super) fn last_name(path: &str) -> &str {
    let name = path.split(['/', '\\']).rfind(|part| !part.is_empty()).unwrap_or_default();
    if name.is_empty() || name.chars().all(|letter| letter == '.') { "a directory" } else { name }
}

/// Neither a control character nor one that turns the order of those around it, ends a line, or is not to be seen.
fn is_plain(letter: char) -> bool {
    let hidden = matches!(letter, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    !(letter.is_control() || hidden)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{cell, code, last_name, word};

    #[test]
    fn a_name_stays_a_name() {
        assert_eq!(code("a_b*c"), "`a_b*c`");
        assert_eq!(code("<b>[x](http://y)</b>"), "`<b>[x](http://y)</b>`");
        assert_eq!(code("a`b``c"), "```a`b``c```");
        assert_eq!([code("`"), code(" a "), code("")], ["`` ` ``", "`  a  `", "`  `"]);
        assert_eq!(code("a\n---\r\u{202e}b\0"), "`a\u{fffd}---\u{fffd}\u{fffd}b\u{fffd}`");
        assert_eq!(code("a\u{61c}b\u{200f}c"), "`a\u{fffd}b\u{fffd}c`");
        assert_eq!(cell("a\\|b"), "`a\\¦b`");
        assert_eq!(["gemma3_text", "_x_", "a.b", "a b"].map(word), ["gemma3_text", "`_x_`", "`a.b`", "`a b`"]);
    }

    #[test]
    fn a_path_is_called_by_its_end() {
        let paths = ["/home/me/x.txt", "C:\\me\\x.txt", "x.txt/", "texts/*.jsonl", "../..", "/", ""];
        let names = ["x.txt", "x.txt", "x.txt", "*.jsonl", "a directory", "a directory", "a directory"];
        assert_eq!(paths.map(last_name), names);
    }

    proptest! {
        /// By the rules of CommonMark: the first run of as many backticks as there are at the beginning ends the span.
        #[test]
        fn a_span_ends_where_it_should(name in "\\PC*|[`|<a \n\\\\]{0,12}") {
            let span = code(&name);
            let fence = span.len() - span.trim_start_matches('`').len();
            let rest = &span[fence..];
            let runs: Vec<(usize, &str)> = rest.match_indices('`').collect();
            let mut ends = Vec::new();
            for (at, _) in runs {
                let begins = at == 0 || rest.as_bytes()[at - 1] != b'`';
                let length = rest[at..].len() - rest[at..].trim_start_matches('`').len();
                if begins && length == fence {
                    ends.push(at + length);
                }
            }
            prop_assert_eq!(ends.first(), Some(&rest.len()));
            prop_assert!(!span.contains(['\n', '\r']));
            prop_assert!(!cell(&name).contains('|'));
        }
    }
}
