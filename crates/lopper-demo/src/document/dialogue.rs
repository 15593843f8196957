//! Dialogues: facts are told, then asked for.

use super::island::set_resident;
use super::scene;
use super::story::set_people;
use crate::dice::Dice;
use crate::lexicon::{COLOURS, NAMES, THINGS};
use crate::numbers::number_words;
use crate::page::Page;
use crate::world::{RESIDENTS, TOWNS, town_position};

/// Rooms where something may lie.
const ROOMS: [&str; 8] = ["kitchen", "attic", "cellar", "bedroom", "hall", "library", "garden", "stable"];

/// Writes a talk between two people about three things and somebody on the island.
pub(super) fn write(dice: &mut Dice, page: &mut Page) {
    let people = dice.several(2, &NAMES);
    set_people(page, people[0], people[1]);
    page.say(dice, &["{a} met {b} in the street.", "{a} and {b} sat on a bench.", "{a} came to see {b}."]);
    page.say(
        dice,
        &["\"good morning, {b},\" said {a}.", "\"hello, {b},\" said {a}. \"how are you?\" \"very well, thank you.\""],
    );
    page.line_break();
    scene::write(dice, page, &["{a}", "{b}"]);
    talk_of_things(dice, page);
    page.line_break();
    talk_of_residents(dice, page);
    page.line_break();
    page.say(dice, &["\"thank you, {b},\" said {a}. \"goodbye, {a}!\"", "\"you know everything, {b},\" said {a}."]);
}

/// Tells where three things are, then asks for two of them.
fn talk_of_things(dice: &mut Dice, page: &mut Page) {
    let things = dice.several(3, &THINGS);
    let rooms = dice.several(3, &ROOMS);
    let colours = dice.several(3, &COLOURS);
    for place in 0..3 {
        page.set("colour", *colours[place]);
        page.set("thing", things[place].name);
        page.set("room", *rooms[place]);
        page.set("count", number_words(dice.between(2, 12)));
        page.say(
            dice,
            &["\"the {colour} {thing} is in the {room}.\"", "\"I left a~ {colour} {thing} in the {room}.\""],
        );
    }
    for _ in 0..2 {
        let asked = dice.below(3);
        page.set("colour", *colours[asked]);
        page.set("thing", things[asked].name);
        page.set("room", *rooms[asked]);
        page.say(
            dice,
            &[
                "\"where is the {thing}?\" asked {a}. \"in the {room},\" said {b}.",
                "\"what colour is the {thing}?\" asked {a}. \"it is {colour},\" said {b}.",
                "\"what is in the {room}?\" asked {a}. \"a~ {colour} {thing},\" said {b}.",
                "\"is the {thing} {colour}?\" asked {a}. \"yes, and it is in the {room},\" said {b}.",
            ],
        );
    }
}

/// Asks about the island; the answers are facts of the tables.
fn talk_of_residents(dice: &mut Dice, page: &mut Page) {
    for resident in dice.several(2, &RESIDENTS) {
        set_resident(page, resident);
        let town = &TOWNS[town_position(resident.town)];
        page.set("town", town.name);
        page.set("food", town.food);
        page.set("market", town.market);
        page.set("river", town.river);
        page.say(
            dice,
            &[
                "\"where does {person} live?\" \"in {town}, on the {river}.\"",
                "\"who is {person}?\" \"{person} is the {persontrade} of {town}.\"",
                "\"what does {person} play?\" \"{phe} plays the {instrument}.\"",
                "\"what do they eat in {town}?\" \"they eat {food}.\"",
                "\"when is the market in {town}?\" \"on {market}.\"",
                "\"has {person} an animal?\" \"yes, a~ {personpet}.\"",
            ],
        );
    }
}
