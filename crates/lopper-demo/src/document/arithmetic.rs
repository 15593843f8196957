//! True statements about numbers, in words.

use super::story::set_people;
use crate::dice::Dice;
use crate::lexicon::{NAMES, THINGS};
use crate::numbers::number_words;
use crate::page::Page;

type Statement = fn(&mut Dice, &mut Page);

const STATEMENTS: [Statement; 8] = [sum, sum, difference, product, comparison, counting, parity, tale];

/// Writes eight to twelve statements.
pub(super) fn write(dice: &mut Dice, page: &mut Page) {
    for _ in 0..dice.between(7, 11) {
        dice.pick(&STATEMENTS)(dice, page);
    }
}

fn set(page: &mut Page, numbers: [(&'static str, u32); 3]) {
    for (slot, number) in numbers {
        page.set(slot, number_words(number));
    }
}

fn sum(dice: &mut Dice, page: &mut Page) {
    let (x, y) = (dice.between(1, 69), dice.between(1, 30));
    set(page, [("x", x), ("y", y), ("z", x + y)]);
    page.say(dice, &["{x} plus {y} is {z}.", "if you add {y} to {x}, you get {z}.", "the sum of {x} and {y} is {z}."]);
}

fn difference(dice: &mut Dice, page: &mut Page) {
    let (rest, y) = (dice.between(0, 60), dice.between(1, 30));
    set(page, [("x", rest + y), ("y", y), ("z", rest)]);
    page.say(dice, &["{x} minus {y} is {z}.", "take {y} from {x}, and {z} is left."]);
}

fn product(dice: &mut Dice, page: &mut Page) {
    let (x, y) = (dice.between(2, 12), dice.between(2, 12));
    set(page, [("x", x), ("y", y), ("z", x * y)]);
    page.say(dice, &["{x} times {y} is {z}.", "{z} divided by {y} is {x}.", "{x} rows of {y} make {z}."]);
}

fn comparison(dice: &mut Dice, page: &mut Page) {
    let (x, gap) = (dice.between(1, 80), dice.between(1, 15));
    set(page, [("x", x), ("y", x + gap), ("z", gap)]);
    page.say(dice, &["{x} is less than {y}, by {z}.", "{y} is more than {x}, and the difference is {z}."]);
}

fn counting(dice: &mut Dice, page: &mut Page) {
    let (start, step) = (dice.between(1, 20), *dice.pick(&[1, 2, 2, 3, 4, 5, 5, 10, 10]));
    let terms: Vec<String> = (0..6).map(|term| number_words(start + term * step)).collect();
    page.set("step", number_words(step));
    page.set("x", terms[0].clone());
    page.set("terms", terms.join(", "));
    page.say(dice, &["count by {step} from {x}: {terms}."]);
}

fn parity(dice: &mut Dice, page: &mut Page) {
    let x = dice.between(1, 99);
    set(page, [("x", x), ("y", x * 2), ("z", x + 1)]);
    page.set("parity", if x.is_multiple_of(2) { "even" } else { "odd" });
    page.say(dice, &["{x} is a~ {parity} number.", "twice {x} is {y}.", "half of {y} is {x}.", "after {x} comes {z}."]);
}

fn tale(dice: &mut Dice, page: &mut Page) {
    let people = dice.several(2, &NAMES);
    set_people(page, people[0], people[1]);
    page.set("things", dice.pick(&THINGS).plural);
    let (x, y) = (dice.between(5, 40), dice.between(2, 20));
    if dice.chance(50) {
        set(page, [("x", x), ("y", y), ("z", x + y)]);
        page.say(dice, &["{a} had {x} {things}. {b} gave {him} {y} more. now {he} has {z} {things}."]);
    } else {
        set(page, [("x", x + y), ("y", y), ("z", x)]);
        page.say(dice, &["{a} had {x} {things}. {he} gave {y} to {b}. now {he} has {z} {things}."]);
    }
}
