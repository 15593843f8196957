//! Lists put into alphabetical order, and the days and months in theirs.

use crate::dice::Dice;
use crate::grammar::KINDS;
use crate::lexicon::{DAYS, MONTH_DAYS, MONTHS};
use crate::numbers::{number_words, ordinal};
use crate::page::{Page, join};

/// Writes two sorted lists, or a page of the calendar.
pub(super) fn write(dice: &mut Dice, page: &mut Page) {
    if dice.chance(55) {
        sorted(dice, page);
        page.line_break();
        sorted(dice, page);
    } else {
        for _ in 0..dice.between(5, 7) {
            if dice.chance(50) {
                day(dice, page);
            } else {
                month(dice, page);
            }
        }
    }
}

fn sorted(dice: &mut Dice, page: &mut Page) {
    let (kind, members) = *dice.pick(&KINDS);
    let count = dice.between(4, 8) as usize;
    let mut chosen: Vec<&str> = dice.several(count, members).into_iter().copied().collect();
    page.set("kind", kind);
    page.set("count", number_words(count as u32));
    page.set("mixed", join(&chosen));
    chosen.sort_unstable();
    page.set("sorted", join(&chosen));
    page.set("first", chosen[0]);
    page.set("last", chosen[count - 1]);
    let place = dice.below(count);
    page.set("nth", ordinal(place + 1));
    page.set("member", chosen[place]);
    page.say(dice, &["here are {count} {kind}: {mixed}.", "{count} {kind} in any order: {mixed}."]);
    page.say(dice, &["in the order of the alphabet they are {sorted}."]);
    page.say(dice, &["the first is {first} and the last is {last}.", "the {nth} of them is {member}."]);
}

fn day(dice: &mut Dice, page: &mut Page) {
    let today = dice.below(7);
    let ahead = dice.between(2, 6);
    page.set("today", DAYS[today]);
    page.set("tomorrow", DAYS[(today + 1) % 7]);
    page.set("yesterday", DAYS[(today + 6) % 7]);
    page.set("ahead", number_words(ahead));
    page.set("later", DAYS[(today + ahead as usize) % 7]);
    page.set("nth", ordinal(today + 1));
    let week: Vec<&str> = (0..7).map(|day| DAYS[(today + day) % 7]).collect();
    page.set("week", join(&week));
    page.say(
        dice,
        &[
            "the day after {today} is {tomorrow}, and the day before it is {yesterday}.",
            "today is {today}, so tomorrow is {tomorrow}.",
            "{ahead} days after {today} comes {later}.",
            "{today} is the {nth} day of the week.",
            "starting on {today}, the days are {week}.",
        ],
    );
}

fn month(dice: &mut Dice, page: &mut Page) {
    let this = dice.below(12);
    let ahead = dice.between(2, 6);
    page.set("this", MONTHS[this]);
    page.set("next", MONTHS[(this + 1) % 12]);
    page.set("before", MONTHS[(this + 11) % 12]);
    page.set("days", number_words(MONTH_DAYS[this]));
    page.set("nth", ordinal(this + 1));
    page.set("ahead", number_words(ahead));
    page.set("later", MONTHS[(this + ahead as usize) % 12]);
    page.say(
        dice,
        &[
            "{this} has {days} days, and then comes {next}.",
            "{this} is the {nth} month of the year.",
            "{ahead} months after {this} it is {later}.",
            "between {before} and {next} lies {this}.",
        ],
    );
}
