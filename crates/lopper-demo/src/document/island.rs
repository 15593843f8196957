//! Notes on the island of Sarrow: its towns, its people and its road.

use super::scene;
use crate::dice::Dice;
use crate::lexicon::{self, pronouns};
use crate::numbers::number_words;
use crate::page::Page;
use crate::world::{RESIDENTS, RIVERS, Resident, TOWNS, Town, river, town_position};

/// What can be said of a town; every sentence is a fact of the table.
const TOWN_FACTS: [&[&str]; 8] = [
    &["{town} stands on the river {river}, in the {region} of Sarrow.", "the river {river} flows through {town}."],
    &[
        "its people are famous for their {food}.",
        "ask for {food} when you are in {town}.",
        "the best {food} comes from {town}.",
    ],
    &["the roofs of {town} are {roofs}.", "you know the town by its {roofs} roofs."],
    &["in the middle of the town stands {landmark}.", "visitors come to see {landmark}."],
    &["the market of {town} is held on {market}.", "every {market} there is a market."],
    &[
        "in {festival} the {trades} of {town} hold their festival.",
        "most people in {town} are {trades}.",
        "{town} is a town of {trades}, and its festival is in {festival}.",
    ],
    &["from {town} it is {miles} miles to {next}.", "the road to {next} is {miles} miles long."],
    &[
        "{person} the {persontrade} lives in {town}.",
        "in {town} you may meet {person}, the {persontrade}, with {phis} {personpet}.",
    ],
];

const RIVER_FACTS: [&str; 4] = [
    "the {river} rises on {hill} and flows into the {sea} sea.",
    "the {river} is {rmiles} miles long.",
    "people catch {fish} in the {river}.",
    "the {river} begins at {hill}, and after {rmiles} miles it meets the {sea} sea.",
];

const RESIDENT_FACTS: [&[&str]; 6] = [
    &["{person} is a {persontrade} and lives in {town}.", "{person} of {town} is a {persontrade}."],
    &["{phe} {does}.", "you will find {phim} at the {tradeplace}, where {phe} {does}."],
    &[
        "{phis} {personpet} is {nature} and eats {petfood}.",
        "{phe} has a~ {nature} {personpet}.",
        "{person} lives with a~ {personpet}.",
    ],
    &["in the evening {phe} plays the {instrument}.", "nobody on the island plays the {instrument} like {person}."],
    &[
        "{phe} likes {dish} better than anything else.",
        "for supper {phe} always has {dish}.",
        "{person} loves {dish}, which comes from {dishtown}.",
    ],
    &[
        "{phis} house has a~ {roofs} roof, like all houses in {town}.",
        "from {phis} window {phe} sees {landmark}.",
        "{phe} goes to the market on {market}.",
    ],
];

/// Weather and what a traveller does in it.
const WEATHER: [(&str, &str); 8] = [
    ("rain", "take an umbrella"),
    ("snow", "wear thick boots"),
    ("fog", "carry a lamp"),
    ("wind", "hold on to your hat"),
    ("sunshine", "bring cold water"),
    ("frost", "put on a warm coat"),
    ("thunder", "stay away from tall trees"),
    ("hail", "wait under a bridge"),
];

/// A portrait of a town, then of its river.
pub(super) fn write_town(dice: &mut Dice, page: &mut Page) {
    let position = dice.below(TOWNS.len());
    set_town(page, position);
    let resident =
        RESIDENTS.iter().find(|resident| resident.town == TOWNS[position].name).expect("every town has its resident");
    set_resident(page, resident);
    set_town(page, position);
    page.say(dice, TOWN_FACTS[0]);
    let count = dice.between(5, 7) as usize;
    for facts in dice.several(count, &TOWN_FACTS[1..]) {
        page.say(dice, facts);
    }
    page.say(dice, &RIVER_FACTS);
    compare_rivers(dice, page, TOWNS[position].river);
    scene::write(dice, page, &["{person}"]);
    weather(dice, page);
}

/// Portraits of two people of the island.
pub(super) fn write_resident(dice: &mut Dice, page: &mut Page) {
    let people = dice.several(2, &RESIDENTS);
    for person in &people {
        set_resident(page, person);
        set_town(page, town_position(person.town));
        page.say(dice, RESIDENT_FACTS[0]);
        for facts in dice.several(4, &RESIDENT_FACTS[1..]) {
            page.say(dice, facts);
        }
        scene::write(dice, page, &["{person}", "{phe}"]);
        page.line_break();
    }
    let miles = miles_between(town_position(people[0].town), town_position(people[1].town));
    page.set("first", people[0].name);
    page.set("second", people[1].name);
    page.set("miles", number_words(miles));
    page.say(dice, &["along the road, {first} lives {miles} miles before {second}."]);
}

/// A walk along the ring road, from town to town, with the miles added up.
pub(super) fn write_road(dice: &mut Dice, page: &mut Page) {
    let start = dice.below(TOWNS.len());
    let stages = dice.between(3, 5) as usize;
    set_town(page, start);
    page.set("start", TOWNS[start].name);
    page.say(dice, &["we left {town} on a {market}.", "our journey began in {town}, on the {river}."]);
    weather(dice, page);
    let mut total = 0;
    for stage in 0..stages {
        let from = (start + stage) % TOWNS.len();
        total += TOWNS[from].miles;
        write_stage(dice, page, from, total);
    }
    page.say(
        dice,
        &["so from {start} to {town} it is {total} miles in all.", "that makes {total} miles from {start} to {town}."],
    );
}

fn write_stage(dice: &mut Dice, page: &mut Page, from: usize, total: u32) {
    let next = (from + 1) % TOWNS.len();
    page.set("miles", number_words(TOWNS[from].miles));
    set_town_only(page, &TOWNS[next]);
    page.set("total", number_words(total));
    page.say(
        dice,
        &[
            "after {miles} miles we came to {town}.",
            "we walked {miles} miles to {town}.",
            "the next town was {town}, {miles} miles away.",
        ],
    );
    page.say(
        dice,
        &[
            "there we saw {landmark} and ate {food}.",
            "its roofs were {roofs}, and the {trades} greeted us.",
            "we slept by the {river}, and had {food} for breakfast.",
            "by then we had walked {total} miles.",
        ],
    );
    if dice.chance(40) {
        scene::write(dice, page, &[]);
    }
}

fn set_town(page: &mut Page, position: usize) {
    let town = &TOWNS[position];
    set_town_only(page, town);
    page.set("next", TOWNS[(position + 1) % TOWNS.len()].name);
    page.set("miles", number_words(town.miles));
}

fn set_town_only(page: &mut Page, town: &Town) {
    page.set("town", town.name);
    page.set("river", town.river);
    page.set("region", town.region);
    page.set("food", town.food);
    page.set("trades", lexicon::trade(town.trade).plural);
    page.set("landmark", town.landmark);
    page.set("market", town.market);
    page.set("roofs", town.roofs);
    page.set("festival", town.festival);
    let river = river(town.river);
    page.set("hill", river.hill);
    page.set("sea", river.sea);
    page.set("fish", river.fish);
    page.set("rmiles", number_words(river.miles));
}

/// Sets everything known of `resident`, but not the town.
pub(super) fn set_resident(page: &mut Page, resident: &Resident) {
    let [he, him, his] = pronouns(resident.she);
    page.set("person", resident.name);
    page.set("phe", he);
    page.set("phim", him);
    page.set("phis", his);
    page.set("persontrade", resident.trade);
    page.set("personpet", resident.pet);
    page.set("instrument", resident.instrument);
    page.set("dish", resident.dish);
    let origin = TOWNS.iter().find(|town| town.food == resident.dish);
    page.set("dishtown", origin.expect("every dish is some town's food").name);
    let trade = lexicon::trade(resident.trade);
    page.set("does", trade.does);
    page.set("tradeplace", trade.place);
    let pet = lexicon::animal(resident.pet);
    page.set("nature", pet.nature);
    page.set("petfood", pet.food);
}

/// Miles along the road from one town to another, always onwards.
fn miles_between(from: usize, to: usize) -> u32 {
    let stages = (to + TOWNS.len() - from) % TOWNS.len();
    (0..stages).map(|stage| TOWNS[(from + stage) % TOWNS.len()].miles).sum()
}

fn compare_rivers(dice: &mut Dice, page: &mut Page, name: &str) {
    let (this, other) = (river(name), dice.pick(&RIVERS));
    if this.name == other.name {
        return;
    }
    page.set("other", other.name);
    page.set("longer", if this.miles > other.miles { "longer" } else { "shorter" });
    page.say(dice, &["the {river} is {longer} than the {other}."]);
}

fn weather(dice: &mut Dice, page: &mut Page) {
    let (weather, advice) = *dice.pick(&WEATHER);
    page.set("weather", weather);
    page.set("advice", advice);
    page.say(dice, &["if there is {weather}, {advice}.", "expect {weather}, so {advice}."]);
}
