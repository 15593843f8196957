//! What is always true of animals, trades and things.

use crate::dice::Dice;
use crate::lexicon::{ANIMALS, THINGS, TRADES};
use crate::page::Page;

/// Writes of three animals, a trade and two things.
pub(super) fn write(dice: &mut Dice, page: &mut Page) {
    for animal in dice.several(3, &ANIMALS) {
        page.set("animal", animal.name);
        page.set("animals", animal.plural);
        page.set("young", animal.young);
        page.set("sounded", animal.sounded);
        page.set("food", animal.food);
        page.set("home", animal.home);
        page.set("nature", animal.nature);
        page.say(
            dice,
            &["the {animal} lives in the {home} and eats {food}.", "{animals} eat {food} and live in the {home}."],
        );
        page.say(
            dice,
            &[
                "a young {animal} is called a~ {young}.",
                "people say that {animals} are {nature}.",
                "the last one we met {sounded} loudly.",
            ],
        );
    }
    write_trade(dice, page);
    for thing in dice.several(2, &THINGS) {
        page.set("thing", thing.name);
        page.set("material", thing.material);
        page.set("purpose", thing.purpose);
        page.say(dice, &["a~ {thing} is made of {material}.", "you need a~ {thing} {purpose}."]);
    }
}

fn write_trade(dice: &mut Dice, page: &mut Page) {
    let trade = dice.pick(&TRADES);
    page.set("trade", trade.name);
    page.set("trades", trade.plural);
    page.set("place", trade.place);
    page.set("does", trade.does);
    page.set("tool", trade.tool);
    page.say(dice, &["a {trade} {does}.", "{trades} work at the {place}.", "a {trade} cannot work without a~ {tool}."]);
}
