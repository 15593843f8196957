//! The kinds of documents, one file each, and how often each is written.

mod arithmetic;
mod dialogue;
mod drill;
mod island;
mod list;
mod nature;
mod plot;
mod recipe;
mod story;

use crate::dice::Dice;
use crate::page::Page;

type Writer = fn(&mut Dice, &mut Page);

/// Writers and how many documents of a hundred they write.
const WRITERS: [(usize, Writer); 9] = [
    (30, story::write),
    (12, island::write_town),
    (8, island::write_resident),
    (8, island::write_road),
    (10, arithmetic::write),
    (8, recipe::write),
    (8, list::write),
    (10, dialogue::write),
    (6, write_knowledge),
];

/// Writes one document.
pub(crate) fn write(dice: &mut Dice) -> String {
    let mut throw = dice.below(WRITERS.iter().map(|(share, _)| share).sum());
    let mut page = Page::new();
    for (share, writer) in WRITERS {
        if throw < share {
            writer(dice, &mut page);
            break;
        }
        throw -= share;
    }
    page.finish()
}

fn write_knowledge(dice: &mut Dice, page: &mut Page) {
    if dice.chance(50) {
        nature::write(dice, page);
    } else {
        drill::write(dice, page);
    }
}
