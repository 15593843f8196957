//! Recipes: each dish has its own ingredients, vessel and time; the amounts told first come back.

use crate::dice::Dice;
use crate::lexicon::NAMES;
use crate::numbers::number_words;
use crate::page::Page;

/// A dish: two things to count, one thing to measure, how it is cooked, in what, for how long.
struct Dish {
    name: &'static str,
    counted: [&'static str; 2],
    measured: [&'static str; 2],
    cook: &'static str,
    vessel: &'static str,
    minutes: u32,
    served: &'static str,
}

#[rustfmt::skip]
const DISHES: [Dish; 14] = [
    Dish { name: "carrot soup", counted: ["carrots", "onions"], measured: ["cups", "water"], cook: "boil", vessel: "iron pot", minutes: 25, served: "with black bread" },
    Dish { name: "plum cake", counted: ["plums", "eggs"], measured: ["cups", "flour"], cook: "bake", vessel: "round tin", minutes: 45, served: "with cream" },
    Dish { name: "mushroom pie", counted: ["mushrooms", "leeks"], measured: ["spoons", "butter"], cook: "bake", vessel: "deep dish", minutes: 35, served: "with salad" },
    Dish { name: "lentil soup", counted: ["tomatoes", "garlic cloves"], measured: ["cups", "lentils"], cook: "boil", vessel: "iron pot", minutes: 40, served: "with lemon" },
    Dish { name: "apple pancakes", counted: ["apples", "eggs"], measured: ["cups", "milk"], cook: "fry", vessel: "flat pan", minutes: 8, served: "with sugar" },
    Dish { name: "pear jam", counted: ["pears", "lemons"], measured: ["cups", "sugar"], cook: "simmer", vessel: "copper kettle", minutes: 50, served: "on toast" },
    Dish { name: "honey bread", counted: ["walnuts", "figs"], measured: ["spoons", "honey"], cook: "bake", vessel: "long tin", minutes: 55, served: "with butter" },
    Dish { name: "bean stew", counted: ["potatoes", "peppers"], measured: ["cups", "beans"], cook: "simmer", vessel: "clay pot", minutes: 70, served: "with rice" },
    Dish { name: "cheese omelette", counted: ["eggs", "tomatoes"], measured: ["spoons", "cheese"], cook: "fry", vessel: "flat pan", minutes: 5, served: "with parsley" },
    Dish { name: "onion tart", counted: ["onions", "eggs"], measured: ["spoons", "cream"], cook: "bake", vessel: "round tin", minutes: 30, served: "with pickles" },
    Dish { name: "fish pie", counted: ["herrings", "potatoes"], measured: ["cups", "milk"], cook: "bake", vessel: "deep dish", minutes: 60, served: "with peas" },
    Dish { name: "fruit salad", counted: ["oranges", "bananas"], measured: ["spoons", "juice"], cook: "cool", vessel: "glass bowl", minutes: 20, served: "with nuts" },
    Dish { name: "pumpkin curry", counted: ["pumpkins", "peppers"], measured: ["spoons", "ginger"], cook: "simmer", vessel: "clay pot", minutes: 32, served: "with rice" },
    Dish { name: "almond biscuits", counted: ["almonds", "eggs"], measured: ["cups", "flour"], cook: "bake", vessel: "flat tray", minutes: 15, served: "with tea" },
];

/// The steps in their order, each in several wordings.
#[rustfmt::skip]
const STEPS: [&[&str]; 9] = [
    &["how to make {dish} for {people}.", "{dish} for {people} people.", "{cookname}'s {dish}, for {people} people."],
    &["you need {n} {first}, {m} {second} and {k} {measure} of {stuff}.", "take {n} {first}, {m} {second} and {k} {measure} of {stuff}."],
    &["wash the {n} {first} and cut them into small pieces.", "first prepare the {first}, all {n} of them."],
    &["mix them with the {m} {second} in the {vessel}.", "put the {m} {second} into the {vessel} and stir."],
    &["add the {stuff} slowly, {k} {measure} in all.", "pour in the {k} {measure} of {stuff}."],
    &["{cook} everything for {minutes} minutes.", "then {cook} it for {minutes} minutes in the {vessel}."],
    &["season with salt and pepper if you like.", "do not let it stand too long.", "taste it, and wait until it is ready."],
    &["serve the {dish} {served}.", "{dish} is best {served}."],
    &["for {crowd} people, use {nn} {first}, {mm} {second} and {kk} {measure} of {stuff}."],
];

/// Writes a recipe, and the same for twice as many people.
pub(super) fn write(dice: &mut Dice, page: &mut Page) {
    let dish = dice.pick(&DISHES);
    set_dish(page, dish);
    let people = dice.between(2, 6);
    let amounts = [dice.between(2, 9), dice.between(2, 5), dice.between(2, 6)];
    for (slot, double, amount) in [("n", "nn", amounts[0]), ("m", "mm", amounts[1]), ("k", "kk", amounts[2])] {
        page.set(slot, number_words(amount));
        page.set(double, number_words(2 * amount));
    }
    page.set("people", number_words(people));
    page.set("crowd", number_words(2 * people));
    page.set("cookname", dice.pick(&NAMES).name);
    for step in STEPS {
        page.say(dice, step);
    }
}

fn set_dish(page: &mut Page, dish: &Dish) {
    page.set("dish", dish.name);
    page.set("first", dish.counted[0]);
    page.set("second", dish.counted[1]);
    page.set("measure", dish.measured[0]);
    page.set("stuff", dish.measured[1]);
    page.set("cook", dish.cook);
    page.set("vessel", dish.vessel);
    page.set("minutes", number_words(dish.minutes));
    page.set("served", dish.served);
}
