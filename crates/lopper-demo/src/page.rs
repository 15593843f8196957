//! A document being written: sentences from templates whose slots are filled by name.
//!
//! A template is lower case and knows three marks: `{slot}` is replaced by the slot's value, `a~`
//! becomes `a` or `an` after the sound that follows, and sentences get their capital letter when
//! the page is finished.

use crate::dice::Dice;

/// A document being written.
#[derive(Default)]
pub(crate) struct Page {
    slots: Vec<(&'static str, String)>,
    text: String,
}

impl Page {
    /// An empty page.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Gives the slot `name` a value; a later value replaces an earlier one.
    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.slots.retain(|(known, _)| *known != name);
        self.slots.push((name, value.into()));
    }

    /// Writes one of `templates` as the next sentence.
    pub(crate) fn say(&mut self, dice: &mut Dice, templates: &[&str]) {
        let template: &&str = dice.pick(templates);
        let sentence = self.fill(template);
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push(' ');
        }
        self.text.push_str(&sentence);
    }

    /// Starts a new line.
    pub(crate) fn line_break(&mut self) {
        self.text.push('\n');
    }

    /// The finished text: articles chosen, sentences capitalised.
    pub(crate) fn finish(self) -> String {
        capitalise(&choose_articles(self.text.trim_end()))
    }

    fn fill(&self, template: &str) -> String {
        let mut filled = template.to_owned();
        for (name, value) in &self.slots {
            if filled.contains(name) {
                filled = filled.replace(&format!("{{{name}}}"), value);
            }
        }
        filled
    }
}

fn choose_articles(text: &str) -> String {
    let mut pieces = text.split("a~ ");
    let mut chosen = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        chosen.push_str(article(piece));
        chosen.push(' ');
        chosen.push_str(piece);
    }
    chosen
}

/// `a` or `an` before `word`; the words of this crate have no exception but `one` and `useful`.
fn article(word: &str) -> &'static str {
    let sounds_like_a_consonant = word.starts_with("one") || word.starts_with("use");
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) && !sounds_like_a_consonant { "an" } else { "a" }
}

/// Capitals after a full stop and where a quotation opens; `"why?" asked x` stays one sentence.
fn capitalise(text: &str) -> String {
    let (mut at_start, mut quoted) = (true, false);
    let mut previous = '\n';
    let mut capitalised = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '.' | '!' | '?' | '\n' => at_start = true,
            '"' => {
                quoted = !quoted;
                at_start = if quoted { previous != ',' } else { previous == '.' };
            }
            _ => {}
        }
        if letter != ' ' {
            previous = letter;
        }
        if at_start && letter.is_alphabetic() {
            at_start = false;
            capitalised.push(letter.to_ascii_uppercase());
        } else {
            capitalised.push(letter);
        }
    }
    capitalised
}

/// Joins words as English does: `a`, `a and b`, `a, b and c`.
pub(crate) fn join(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Page, join};
    use crate::dice::Dice;

    #[test]
    fn slots_articles_and_capitals() {
        let mut page = Page::new();
        page.set("thing", "orange hat");
        page.set("thing", "old hat");
        let mut dice = Dice::new(0, 0);
        page.say(&mut dice, &["she saw a~ {thing}."]);
        page.say(&mut dice, &["\"is it a~ one-eyed cat?\" asked he, \"and why?\" \"no.\" it was a~ cat."]);
        assert_eq!(
            page.finish(),
            "She saw an old hat. \"Is it a one-eyed cat?\" asked he, \"and why?\" \"No.\" It was a cat."
        );
    }

    #[test]
    fn joining() {
        assert_eq!(join(&["fig"]), "fig");
        assert_eq!(join(&["fig", "pear", "plum"]), "fig, pear and plum");
    }
}
