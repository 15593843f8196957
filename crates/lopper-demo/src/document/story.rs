//! Stories: two people, an animal and a thing whose attributes are told once and come back later.
//!
//! A trait of character told at the start decides a reaction near the end; the thing keeps its
//! colour and the animal its habits, so the text is easier for a reader with a memory.

use super::{plot, scene};
use crate::dice::Dice;
use crate::lexicon::{ANIMALS, COLOURS, NAMES, Name, THINGS, TRADES, pronouns};
use crate::page::Page;
use crate::world::TOWNS;

/// A trait, what someone of that trait does when things go wrong, and when they go well.
const TRAITS: [(&str, &str, &str); 12] = [
    ("brave", "walked straight into the dark", "lifted {his} chin and smiled"),
    ("shy", "hid behind the curtain", "whispered a quick thank you"),
    ("lazy", "sat down and yawned", "fell asleep in the sun"),
    ("clever", "made a careful plan", "wrote the answer in a notebook"),
    ("greedy", "asked who would pay for it", "counted the money twice"),
    ("kind", "asked whether anybody was hurt", "shared supper with everyone"),
    ("proud", "refused to ask for help", "told the whole village about it"),
    ("curious", "looked under every stone", "asked a hundred questions"),
    ("honest", "told the plain truth", "gave back every penny"),
    ("impatient", "stamped on the floor", "ran home without a coat"),
    ("cheerful", "whistled a merry tune", "danced round the kitchen"),
    ("forgetful", "forgot which way to turn", "left the gate open again"),
];

const OPENINGS: [&str; 6] = [
    "once there was a~ {trait} {girl} called {a}.",
    "{a} was a~ {trait} {girl} who lived in {town}.",
    "in the town of {town} lived a~ {trait} {girl} named {a}.",
    "this is the story of {a}, a~ {trait} {girl} from {town}.",
    "long ago, a~ {trait} {girl} called {a} lived next to a {tradeplace}.",
    "everybody in {town} knew {a}, for {he} was the most {trait} {girl} in the street.",
];

const PETS: [&str; 5] = [
    "{he} had a~ {nature} {pet} that {sounded} all day and loved {petfood}.",
    "{his} best companion was a~ {nature} {pet}, which ate nothing but {petfood}.",
    "with {him} lived a~ {pet}, as {nature} as {pets} often are.",
    "every morning {he} gave {petfood} to {his} {nature} {pet}.",
    "{he} kept a~ {pet} in a little {pethome}, and it {sounded} when it was hungry.",
];

const THINGS_OWNED: [&str; 5] = [
    "what {he} liked best was a~ {colour} {thing} made of {material}.",
    "{his} grandmother had given {him} a~ {colour} {thing}, {purpose}.",
    "on the shelf stood {his} {colour} {thing}, made of {material}.",
    "{he} owned one fine thing, a~ {colour} {thing}.",
    "{he} used a~ {colour} {thing} {purpose}.",
];

const FRIENDS: [&str; 4] = [
    "{his} friend {b} was a {trade} who worked at the {tradeplace}.",
    "next door lived {b}, the {trade}, who {does}.",
    "{he} often visited {b}, a {trade}, at the {tradeplace}.",
    "{b} the {trade} was {his} oldest friend.",
];

const ENDINGS: [&str; 6] = [
    "from that day on, {a} and {b} were never apart.",
    "and the {pet} {sounded} until the stars came out.",
    "{a} put the {colour} {thing} in a safe place and went to bed.",
    "{b} went back to the {tradeplace}, and {a} went home to {town}.",
    "that night {a} dreamed of the {colour} {thing} and the {nature} {pet}.",
    "everyone ate {townfood}, which is what people eat in {town}, and was happy.",
];

/// Writes a story.
pub(super) fn write(dice: &mut Dice, page: &mut Page) {
    let (good, bad) = cast(dice, page);
    page.say(dice, &OPENINGS);
    page.say(dice, &PETS);
    page.say(dice, &THINGS_OWNED);
    page.say(dice, &FRIENDS);
    write_scenes(dice, page);
    let reaction = format!("{{a}}, who was always {{trait}}, {bad}.");
    plot::write(dice, page, &reaction);
    write_scenes(dice, page);
    let reaction = format!("being so {{trait}}, {{a}} {good}.");
    page.say(dice, &[&reaction]);
    page.say(dice, &ENDINGS);
}

/// One to three sentences of daily life.
fn write_scenes(dice: &mut Dice, page: &mut Page) {
    for _ in 0..dice.between(1, 3) {
        scene::write(dice, page, &["{a}", "{b}", "{he}"]);
    }
}

/// Chooses who and what the story is about; returns how its hero takes good and bad news.
fn cast(dice: &mut Dice, page: &mut Page) -> (&'static str, &'static str) {
    let people = dice.several(2, &NAMES);
    set_people(page, people[0], people[1]);
    let (nature, bad, good) = *dice.pick(&TRAITS);
    page.set("trait", nature);
    let pet = dice.pick(&ANIMALS);
    page.set("pet", pet.name);
    page.set("pets", pet.plural);
    page.set("young", pet.young);
    page.set("sounded", pet.sounded);
    page.set("petfood", pet.food);
    page.set("pethome", pet.home);
    page.set("nature", pet.nature);
    set_thing(dice, page);
    let trade = dice.pick(&TRADES);
    page.set("trade", trade.name);
    page.set("tradeplace", trade.place);
    page.set("does", trade.does);
    page.set("tool", trade.tool);
    let town = dice.pick(&TOWNS);
    page.set("town", town.name);
    page.set("townfood", town.food);
    page.set("market", town.market);
    page.set("river", town.river);
    page.set("landmark", town.landmark.split_once(' ').map_or("", |(_, place)| place));
    (good, bad)
}

fn set_thing(dice: &mut Dice, page: &mut Page) {
    let thing = dice.pick(&THINGS);
    page.set("thing", thing.name);
    page.set("things", thing.plural);
    page.set("material", thing.material);
    page.set("purpose", thing.purpose);
    page.set("colour", *dice.pick(&COLOURS));
}

/// Names and pronouns of the hero (`a`) and the friend (`b`).
pub(super) fn set_people(page: &mut Page, hero: &Name, friend: &Name) {
    page.set("a", hero.name);
    page.set("b", friend.name);
    page.set("girl", if hero.she { "girl" } else { "boy" });
    let [he, him, his] = pronouns(hero.she);
    page.set("he", he);
    page.set("him", him);
    page.set("his", his);
    let [he, him, his] = pronouns(friend.she);
    page.set("bhe", he);
    page.set("bhim", him);
    page.set("bhis", his);
}
