//! The kinds of documents, one file each, and how often each is written.

mod arithmetic;
mod dialogue;
mod diary;
mod drill;
mod island;
mod list;
mod nature;
mod plot;
mod recipe;
mod scene;
mod story;

use crate::dice::Dice;
use crate::page::Page;

type Writer = fn(&mut Dice, &mut Page);

/// Writers and how many documents of a hundred they write.
const WRITERS: [(usize, Writer); 10] = [
    (26, story::write),
    (18, diary::write),
    (11, island::write_town),
    (7, island::write_resident),
    (6, island::write_road),
    (8, arithmetic::write),
    (5, recipe::write),
    (5, list::write),
    (8, dialogue::write),
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
