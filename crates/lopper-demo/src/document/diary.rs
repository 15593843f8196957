//! Diaries: a date, then the day in free sentences.

use super::scene;
use crate::dice::Dice;
use crate::lexicon::{DAYS, MONTHS, NAMES};
use crate::numbers::number_words;
use crate::page::Page;

/// Writes one or two days; the second is the day after the first.
pub(super) fn write(dice: &mut Dice, page: &mut Page) {
    let (day, month) = (dice.below(7), *dice.pick(&MONTHS));
    let date = dice.between(1, 27);
    let people = dice.several(2, &NAMES);
    let subjects = ["I", "I", "we", people[0].name, people[1].name];
    page.set("month", month);
    for (later, sentences) in [(0, dice.between(4, 7)), (1, dice.between(2, 5))] {
        page.set("day", DAYS[(day + later) % 7]);
        page.set("date", number_words(date + later as u32));
        page.say(dice, &["{day}, {month} {date}.", "it is {day}, {month} {date}."]);
        for _ in 0..sentences {
            scene::write(dice, page, &subjects);
        }
        page.line_break();
    }
}
