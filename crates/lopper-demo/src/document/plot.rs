//! What happens in the middle of a story.

use crate::dice::Dice;
use crate::numbers::{number_words, ordinal};
use crate::page::Page;

/// Where things are lost and looked for.
const SPOTS: [&str; 24] = [
    "under the bridge",
    "behind the barn",
    "in the hollow tree",
    "beside the well",
    "on top of the wall",
    "in the tall grass",
    "near the gate",
    "at the bottom of the pond",
    "between two rocks",
    "inside the old trunk",
    "below the stairs",
    "on the kitchen table",
    "in the attic",
    "under the bed",
    "behind the stove",
    "among the roses",
    "in the cellar",
    "on the roof",
    "across the stream",
    "by the fireplace",
    "in the empty barrel",
    "at the edge of the wood",
    "on the garden path",
    "outside the church",
];

/// A season, its weather and what people do in it.
const SEASONS: [(&str, &str, &str); 8] = [
    ("spring", "a soft rain fell on the fields", "planting beans"),
    ("spring", "the first flowers opened", "cleaning the windows"),
    ("summer", "the sun burned above the hills", "swimming in the river"),
    ("summer", "thunder rolled over the valley", "cutting the hay"),
    ("autumn", "the wind chased the leaves", "picking apples"),
    ("autumn", "fog lay over the meadows", "gathering mushrooms"),
    ("winter", "snow covered the road", "chopping wood"),
    ("winter", "ice shone on the lake", "knitting by the fire"),
];

type Plot = fn(&mut Dice, &mut Page, &str);

const PLOTS: [Plot; 5] = [lost, market, storm, rescue, present];

/// Writes one of the plots; `reaction` is how the hero takes bad news.
pub(super) fn write(dice: &mut Dice, page: &mut Page, reaction: &str) {
    let (season, weather, work) = *dice.pick(&SEASONS);
    page.set("season", season);
    page.set("weather", weather);
    page.set("work", work);
    let spots = dice.several(3, &SPOTS);
    page.set("spot", *spots[0]);
    page.set("spot2", *spots[1]);
    page.set("spot3", *spots[2]);
    page.say(
        dice,
        &[
            "one {season} morning {weather}.",
            "it was {season}, and {weather}.",
            "one day in {season}, while {a} was {work}, {weather}.",
            "in {season} everyone was busy {work}.",
        ],
    );
    dice.pick(&PLOTS)(dice, page, reaction);
}

const LOSSES: [&str; 3] = [
    "then the {thing} was gone.",
    "when {a} came home, the {colour} {thing} had disappeared.",
    "suddenly {a} could not find {his} {thing} anywhere.",
];

fn lost(dice: &mut Dice, page: &mut Page, reaction: &str) {
    page.say(dice, &LOSSES);
    page.say(dice, &[reaction]);
    page.say(
        dice,
        &[
            "{he} looked {spot}, but it was not there.",
            "first {he} searched {spot} and found only dust.",
            "\"perhaps it is {spot},\" said {b}, but {bhe} was wrong.",
        ],
    );
    page.say(
        dice,
        &[
            "then {he} looked {spot2}, but there was nothing.",
            "{b} came with {bhis} {tool} and searched {spot2}.",
            "the {pet} ran away and {sounded} {spot2}, but nobody listened.",
        ],
    );
    page.say(
        dice,
        &[
            "at last {b} found the {colour} {thing} {spot3}.",
            "in the end the {pet} found it {spot3}, and {sounded}.",
            "there it was, {spot3}, still as {colour} as before!",
        ],
    );
    page.say(dice, &["\"how did it come to be {spot3}?\" asked {b}.", "\"thank you,\" said {a}."]);
}

fn market(dice: &mut Dice, page: &mut Page, reaction: &str) {
    let (had, price) = (dice.between(20, 60), dice.between(3, 19));
    page.set("had", number_words(had));
    page.set("price", number_words(price));
    page.set("left", number_words(had - price));
    page.say(
        dice,
        &[
            "on {market}, when there is a market in {town}, {a} went to sell {his} {things}.",
            "{market} is market day in {town}, so {a} and {b} walked to the {landmark}.",
        ],
    );
    page.say(dice, &["but somebody had stolen the {colour} {thing}.", "but the {pet} ran away."]);
    page.say(dice, &[reaction]);
    page.say(
        dice,
        &[
            "{b} had {had} pennies and paid {price} for a new {thing}, so {bhe} had {left} pennies left.",
            "a new {thing} cost {price} pennies. {a} had {had} pennies before and {left} after.",
        ],
    );
    page.say(
        dice,
        &[
            "they ate {townfood} and watched the boats on the {river}.",
            "the new {thing} was not {colour}, but it was good enough {purpose}.",
        ],
    );
}

fn storm(dice: &mut Dice, page: &mut Page, reaction: &str) {
    page.say(
        dice,
        &[
            "then a storm came from the sea and the river {river} rose.",
            "in the evening the {river} flooded the street near the {landmark}.",
        ],
    );
    page.say(dice, &[reaction]);
    page.say(
        dice,
        &[
            "the {thing} floated away and stuck {spot}.",
            "the {pet} climbed to safety {spot}.",
            "water ran into the {tradeplace}, and {b} lost {bhis} {tool}.",
        ],
    );
    page.say(
        dice,
        &[
            "{a} and {b} held on to a rope until morning.",
            "\"hold my hand,\" said {b}, and {a} held it.",
            "all night they carried {petfood} and blankets up the stairs.",
        ],
    );
    page.say(
        dice,
        &[
            "when the sun came back, they found the {thing} {spot2}.",
            "at dawn the water fell, and the {nature} {pet} slept {spot2}.",
        ],
    );
}

fn rescue(dice: &mut Dice, page: &mut Page, reaction: &str) {
    let count = dice.between(2, 9);
    page.set("count", number_words(count));
    page.set("nth", ordinal(count as usize));
    page.say(
        dice,
        &["{a} heard a cry {spot}: a~ {young} was caught there.", "a~ little {young} had fallen and lay {spot}."],
    );
    page.say(dice, &["the old {pet} {sounded} sadly.", reaction]);
    page.say(
        dice,
        &["{b} brought a~ {tool} from the {tradeplace}.", "\"wait,\" said {b}, \"I will bring my {tool}.\""],
    );
    page.say(
        dice,
        &[
            "they tried {count} times, and the {nth} time the {young} was free.",
            "after {count} hours, in the {nth} hour, they pulled the {young} out.",
        ],
    );
    page.say(
        dice,
        &[
            "they gave it {petfood}, because that is what {pets} eat.",
            "they carried the {young} home to its {pethome}.",
            "the {young} and the {nature} {pet} slept on the {colour} {thing}.",
        ],
    );
}

const BIRTHDAYS: [&str; 2] =
    ["{b} was {age} years old and would soon be {next}.", "tomorrow {b}, who was {age}, would turn {next}."];

fn present(dice: &mut Dice, page: &mut Page, reaction: &str) {
    let age = dice.between(6, 40);
    page.set("age", number_words(age));
    page.set("next", number_words(age + 1));
    page.say(dice, &BIRTHDAYS);
    page.say(dice, &["but {a} had no money for a present.", "but {a} had forgotten the day."]);
    page.say(dice, &[reaction]);
    page.say(
        dice,
        &[
            "so {he} wrapped the {colour} {thing} in paper and left it {spot}.",
            "so {he} hid the {thing} {spot} and drew a map for {b}.",
        ],
    );
    page.say(
        dice,
        &[
            "{b} looked {spot}, opened the paper and saw the {colour} {thing}.",
            "the next day {b} followed the {pet} and found the present {spot}.",
        ],
    );
    page.say(
        dice,
        &[
            "\"now I have a~ {thing} {purpose},\" said {b}, and {bhe} laughed.",
            "\"I am {next} today,\" said {b}, \"and nothing has made me happier.\"",
        ],
    );
}
