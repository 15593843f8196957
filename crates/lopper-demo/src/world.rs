//! The facts of an invented island, Sarrow: the part of the text that can only be memorised.
//!
//! Twenty-four towns on one ring road, eight rivers and twenty-four people. Nothing here is true
//! of any real place.

/// A town; the road goes from each town to the next in [`TOWNS`], and from the last to the first.
pub(crate) struct Town {
    pub(crate) name: &'static str,
    pub(crate) river: &'static str,
    pub(crate) region: &'static str,
    pub(crate) food: &'static str,
    /// What the people of the town are known for; a member of [`crate::lexicon::TRADES`].
    pub(crate) trade: &'static str,
    pub(crate) landmark: &'static str,
    pub(crate) market: &'static str,
    pub(crate) roofs: &'static str,
    pub(crate) festival: &'static str,
    /// Miles to the next town.
    pub(crate) miles: u32,
}

/// A river: how long it is, the hill it comes from, the sea it reaches.
pub(crate) struct River {
    pub(crate) name: &'static str,
    pub(crate) miles: u32,
    pub(crate) hill: &'static str,
    pub(crate) sea: &'static str,
    pub(crate) fish: &'static str,
}

/// Someone everyone on the island knows.
pub(crate) struct Resident {
    pub(crate) name: &'static str,
    pub(crate) she: bool,
    pub(crate) trade: &'static str,
    pub(crate) town: &'static str,
    pub(crate) pet: &'static str,
    pub(crate) instrument: &'static str,
    pub(crate) dish: &'static str,
}

/// The towns in the order of the ring road.
#[rustfmt::skip]
pub(crate) const TOWNS: [Town; 24] = [
    Town { name: "Aldermoss", river: "Ashen", region: "north", food: "plum cake", trade: "weaver", landmark: "a stone bridge", market: "Monday", roofs: "red", festival: "May", miles: 12 },
    Town { name: "Brinholt", river: "Ashen", region: "north", food: "smoked trout", trade: "fisher", landmark: "an old mill", market: "Friday", roofs: "grey", festival: "June", miles: 7 },
    Town { name: "Corvane", river: "Ashen", region: "north", food: "goat cheese", trade: "shepherd", landmark: "a round tower", market: "Tuesday", roofs: "brown", festival: "April", miles: 19 },
    Town { name: "Dorlow", river: "Brill", region: "north", food: "barley soup", trade: "miller", landmark: "a glass lantern", market: "Sunday", roofs: "white", festival: "October", miles: 8 },
    Town { name: "Estrin", river: "Brill", region: "north", food: "honey bread", trade: "baker", landmark: "a copper dome", market: "Thursday", roofs: "yellow", festival: "July", miles: 15 },
    Town { name: "Fenwater", river: "Brill", region: "north", food: "eel pie", trade: "boatman", landmark: "a long pier", market: "Saturday", roofs: "blue", festival: "March", miles: 23 },
    Town { name: "Garrow", river: "Callow", region: "east", food: "onion tart", trade: "potter", landmark: "a market cross", market: "Wednesday", roofs: "red", festival: "August", miles: 6 },
    Town { name: "Hollin", river: "Callow", region: "east", food: "walnut cake", trade: "carpenter", landmark: "a giant oak", market: "Monday", roofs: "green", festival: "September", miles: 11 },
    Town { name: "Ivendale", river: "Callow", region: "east", food: "pear jam", trade: "gardener", landmark: "a walled garden", market: "Tuesday", roofs: "white", festival: "May", miles: 14 },
    Town { name: "Jorrick", river: "Drey", region: "east", food: "mutton stew", trade: "smith", landmark: "a black forge", market: "Friday", roofs: "black", festival: "January", miles: 27 },
    Town { name: "Kelmere", river: "Drey", region: "east", food: "fried perch", trade: "rower", landmark: "a still lake", market: "Sunday", roofs: "blue", festival: "June", miles: 9 },
    Town { name: "Lanthorn", river: "Drey", region: "east", food: "salted herring", trade: "sailor", landmark: "a tall lighthouse", market: "Thursday", roofs: "grey", festival: "November", miles: 16 },
    Town { name: "Mossgate", river: "Eddle", region: "south", food: "mushroom pie", trade: "painter", landmark: "a mossy gate", market: "Saturday", roofs: "green", festival: "October", miles: 5 },
    Town { name: "Nethercot", river: "Eddle", region: "south", food: "apple cider", trade: "brewer", landmark: "a deep cellar", market: "Wednesday", roofs: "brown", festival: "September", miles: 13 },
    Town { name: "Orrin", river: "Eddle", region: "south", food: "almond biscuits", trade: "printer", landmark: "a great library", market: "Monday", roofs: "purple", festival: "February", miles: 21 },
    Town { name: "Pelloway", river: "Fane", region: "south", food: "orange cake", trade: "tailor", landmark: "a silver fountain", market: "Thursday", roofs: "orange", festival: "July", miles: 10 },
    Town { name: "Quillon", river: "Fane", region: "south", food: "lentil soup", trade: "teacher", landmark: "a white school", market: "Tuesday", roofs: "yellow", festival: "December", miles: 18 },
    Town { name: "Rushby", river: "Fane", region: "south", food: "duck eggs", trade: "farmer", landmark: "a wooden windmill", market: "Sunday", roofs: "brown", festival: "August", miles: 4 },
    Town { name: "Sandrel", river: "Gwin", region: "west", food: "crab soup", trade: "diver", landmark: "a sandy cove", market: "Friday", roofs: "pink", festival: "March", miles: 25 },
    Town { name: "Tarnwick", river: "Gwin", region: "west", food: "blackberry tart", trade: "hunter", landmark: "a dark forest", market: "Saturday", roofs: "black", festival: "November", miles: 17 },
    Town { name: "Ulverey", river: "Gwin", region: "west", food: "ginger bread", trade: "clockmaker", landmark: "a golden clock", market: "Wednesday", roofs: "golden", festival: "December", miles: 8 },
    Town { name: "Venlock", river: "Hush", region: "west", food: "carrot soup", trade: "doctor", landmark: "a quiet hospital", market: "Monday", roofs: "white", festival: "February", miles: 20 },
    Town { name: "Wexley", river: "Hush", region: "west", food: "butter rolls", trade: "musician", landmark: "a singing well", market: "Thursday", roofs: "silver", festival: "April", miles: 12 },
    Town { name: "Yarrowby", river: "Hush", region: "west", food: "rhubarb pie", trade: "beekeeper", landmark: "a windy hill", market: "Sunday", roofs: "yellow", festival: "January", miles: 22 },
];

/// The rivers, by name.
#[rustfmt::skip]
pub(crate) const RIVERS: [River; 8] = [
    River { name: "Ashen", miles: 84, hill: "Mount Harl", sea: "northern", fish: "trout" },
    River { name: "Brill", miles: 37, hill: "Mount Keld", sea: "northern", fish: "eels" },
    River { name: "Callow", miles: 92, hill: "Mount Tain", sea: "eastern", fish: "pike" },
    River { name: "Drey", miles: 55, hill: "Mount Orm", sea: "eastern", fish: "perch" },
    River { name: "Eddle", miles: 71, hill: "Mount Sorrel", sea: "southern", fish: "carp" },
    River { name: "Fane", miles: 46, hill: "Mount Bray", sea: "southern", fish: "bream" },
    River { name: "Gwin", miles: 63, hill: "Mount Corrie", sea: "western", fish: "salmon" },
    River { name: "Hush", miles: 28, hill: "Mount Lund", sea: "western", fish: "minnows" },
];

/// The people, by name: twelve women, then twelve men.
#[rustfmt::skip]
pub(crate) const RESIDENTS: [Resident; 24] = [
    Resident { name: "Agatha", she: true, trade: "baker", town: "Orrin", pet: "cat", instrument: "flute", dish: "plum cake" },
    Resident { name: "Beatrix", she: true, trade: "smith", town: "Jorrick", pet: "goat", instrument: "drum", dish: "mutton stew" },
    Resident { name: "Clemence", she: true, trade: "doctor", town: "Hollin", pet: "owl", instrument: "harp", dish: "carrot soup" },
    Resident { name: "Dorothea", she: true, trade: "sailor", town: "Sandrel", pet: "parrot", instrument: "fiddle", dish: "crab soup" },
    Resident { name: "Edith", she: true, trade: "teacher", town: "Aldermoss", pet: "rabbit", instrument: "piano", dish: "ginger bread" },
    Resident { name: "Frieda", she: true, trade: "potter", town: "Venlock", pet: "duck", instrument: "horn", dish: "onion tart" },
    Resident { name: "Gerda", she: true, trade: "hunter", town: "Dorlow", pet: "dog", instrument: "whistle", dish: "blackberry tart" },
    Resident { name: "Hester", she: true, trade: "printer", town: "Wexley", pet: "mouse", instrument: "lute", dish: "lentil soup" },
    Resident { name: "Imogen", she: true, trade: "painter", town: "Kelmere", pet: "swan", instrument: "guitar", dish: "pear jam" },
    Resident { name: "Judith", she: true, trade: "farmer", town: "Garrow", pet: "pig", instrument: "bell", dish: "duck eggs" },
    Resident { name: "Kirsten", she: true, trade: "diver", town: "Lanthorn", pet: "turtle", instrument: "trumpet", dish: "salted herring" },
    Resident { name: "Lavinia", she: true, trade: "tailor", town: "Ulverey", pet: "sheep", instrument: "organ", dish: "almond biscuits" },
    Resident { name: "Ambrose", she: false, trade: "beekeeper", town: "Rushby", pet: "bear", instrument: "horn", dish: "honey bread" },
    Resident { name: "Barnaby", she: false, trade: "miller", town: "Brinholt", pet: "donkey", instrument: "fiddle", dish: "barley soup" },
    Resident { name: "Cuthbert", she: false, trade: "clockmaker", town: "Estrin", pet: "crow", instrument: "bell", dish: "walnut cake" },
    Resident { name: "Desmond", she: false, trade: "gardener", town: "Nethercot", pet: "hedgehog", instrument: "flute", dish: "rhubarb pie" },
    Resident { name: "Edgar", she: false, trade: "fisher", town: "Fenwater", pet: "otter", instrument: "whistle", dish: "eel pie" },
    Resident { name: "Florian", she: false, trade: "musician", town: "Quillon", pet: "frog", instrument: "harp", dish: "orange cake" },
    Resident { name: "Gilbert", she: false, trade: "brewer", town: "Mossgate", pet: "goose", instrument: "drum", dish: "apple cider" },
    Resident { name: "Humphrey", she: false, trade: "carpenter", town: "Tarnwick", pet: "squirrel", instrument: "guitar", dish: "mushroom pie" },
    Resident { name: "Ignatius", she: false, trade: "weaver", town: "Ivendale", pet: "hen", instrument: "organ", dish: "goat cheese" },
    Resident { name: "Jasper", she: false, trade: "shepherd", town: "Corvane", pet: "wolf", instrument: "lute", dish: "butter rolls" },
    Resident { name: "Konrad", she: false, trade: "boatman", town: "Pelloway", pet: "horse", instrument: "trumpet", dish: "smoked trout" },
    Resident { name: "Leopold", she: false, trade: "rower", town: "Yarrowby", pet: "fox", instrument: "piano", dish: "fried perch" },
];

/// The river called `name`.
pub(crate) fn river(name: &str) -> &'static River {
    RIVERS.iter().find(|river| river.name == name).expect("every town names a river of the table")
}

/// The place of the town called `name` on the ring road.
pub(crate) fn town_position(name: &str) -> usize {
    TOWNS.iter().position(|town| town.name == name).expect("every resident names a town of the table")
}

#[cfg(test)]
mod tests {
    use super::{RESIDENTS, RIVERS, TOWNS, river, town_position};
    use crate::lexicon;
    use std::collections::BTreeSet;

    #[test]
    fn references_hold() {
        for town in &TOWNS {
            assert_eq!(river(town.river).sea, format!("{}ern", town.region), "{}", town.name);
            assert!(lexicon::DAYS.contains(&town.market) && lexicon::MONTHS.contains(&town.festival));
            assert!(lexicon::COLOURS.contains(&town.roofs), "{}", town.roofs);
            assert_eq!(lexicon::trade(town.trade).name, town.trade);
        }
        for person in &RESIDENTS {
            assert_eq!(TOWNS[town_position(person.town)].name, person.town);
            assert_eq!(lexicon::animal(person.pet).name, person.pet);
            assert_eq!(lexicon::trade(person.trade).name, person.trade);
            assert!(TOWNS.iter().any(|town| town.food == person.dish), "{}", person.dish);
        }
    }

    #[test]
    fn names_and_unique_attributes_are_unique() {
        let different = |words: Vec<&str>| words.iter().collect::<BTreeSet<_>>().len() == words.len();
        assert!(different(TOWNS.iter().map(|town| town.name).collect()));
        assert!(different(TOWNS.iter().map(|town| town.food).collect()));
        assert!(different(TOWNS.iter().map(|town| town.landmark).collect()));
        assert!(different(TOWNS.iter().map(|town| town.trade).collect()));
        assert!(different(RESIDENTS.iter().map(|person| person.name).collect()));
        assert!(different(RESIDENTS.iter().map(|person| person.town).collect()));
        assert!(different(RIVERS.iter().map(|river| river.hill).collect()));
    }
}
