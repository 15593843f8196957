//! Paths as what a reader copies: a word of a shell, a string of Python.

use std::path::Path;

/// A path as one word of a shell, which no one takes for a flag.
pub fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let text = if text.starts_with('-') { format!("./{text}") } else { text };
    let plain = |letter: char| letter.is_alphanumeric() || "/._-+=:,@%".contains(letter);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// A path as a string of Python.
pub fn python_string(path: &Path) -> String {
    let text = path.display().to_string();
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{python_string, shell_word};

    #[test]
    fn what_a_shell_would_take_apart_is_quoted() {
        let words = ["out", "a/b-c_1.5@x", "-x", "my model", "it's", "$HOME", "a;b", "é", ""];
        let quoted = words.map(|word| shell_word(Path::new(word)));
        assert_eq!(quoted, ["out", "a/b-c_1.5@x", "./-x", "'my model'", r"'it'\''s'", "'$HOME'", "'a;b'", "é", "''"]);
        assert_eq!(python_string(Path::new("a \"b\"\\c")), r#""a \"b\"\\c""#);
    }
}
