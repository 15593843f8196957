//! Forms of irregular words, and sentences that must agree with them.

use crate::dice::Dice;
use crate::grammar::{DEGREES, OPPOSITES, PLURALS, VERBS};
use crate::lexicon::{ANIMALS, NAMES, THINGS};
use crate::numbers::number_words;
use crate::page::Page;

type Drill = fn(&mut Dice, &mut Page);

const DRILLS: [Drill; 5] = [verb, plural, opposite, degree, agreement];

/// Writes seven to ten drills.
pub(super) fn write(dice: &mut Dice, page: &mut Page) {
    for _ in 0..dice.between(7, 10) {
        dice.pick(&DRILLS)(dice, page);
    }
}

fn verb(dice: &mut Dice, page: &mut Page) {
    let [stem, third, past, participle] = *dice.pick(&VERBS[1..]);
    page.set("stem", stem);
    page.set("third", third);
    page.set("past", past);
    page.set("participle", participle);
    page.set("name", dice.pick(&NAMES).name);
    page.say(
        dice,
        &[
            "today they {stem}, yesterday they {past}, and they have often {participle}.",
            "{name} {third} every day, and {name} {past} last week too.",
            "to {stem}: {third}, {past}, {participle}.",
            "did {name} {stem}? yes, {name} {past}.",
        ],
    );
}

fn plural(dice: &mut Dice, page: &mut Page) {
    let [one, many] = *dice.pick(&PLURALS);
    page.set("one", one);
    page.set("many", many);
    page.set("count", number_words(dice.between(2, 20)));
    page.say(dice, &["one {one}, {count} {many}.", "there is a~ {one}, and there are {count} {many}."]);
}

fn opposite(dice: &mut Dice, page: &mut Page) {
    let [left, right] = *dice.pick(&OPPOSITES);
    page.set("left", left);
    page.set("right", right);
    page.say(dice, &["the opposite of {left} is {right}.", "what is not {right} may be {left}."]);
}

fn degree(dice: &mut Dice, page: &mut Page) {
    let [plain, more, most] = *dice.pick(&DEGREES);
    let animals = dice.several(3, &ANIMALS);
    page.set("plain", plain);
    page.set("more", more);
    page.set("most", most);
    page.set("one", animals[0].name);
    page.set("two", animals[1].name);
    page.set("three", animals[2].name);
    page.say(
        dice,
        &["the {one} is {plain}, the {two} is {more}, but the {three} is the {most}.", "{plain}, {more}, {most}."],
    );
}

fn agreement(dice: &mut Dice, page: &mut Page) {
    let (animal, thing) = (dice.pick(&ANIMALS), dice.pick(&THINGS));
    page.set("animal", animal.name);
    page.set("animals", animal.plural);
    page.set("thing", thing.name);
    page.set("things", thing.plural);
    page.say(
        dice,
        &[
            "the {animal} near the {things} is asleep, and the {animals} near the {thing} are awake.",
            "the {thing} was lost, but the {things} were found.",
            "this {thing} belongs to those {animals}; these {things} belong to that {animal}.",
        ],
    );
}
