//! Sentences of daily life, free in every word but bound by what goes with what.
//!
//! A verb takes only its own objects, an object only its own adjectives, a manner only its own
//! verbs; the choices are many, so a good guess needs all of these tables at once.

use crate::dice::Dice;
use crate::page::Page;

/// A verb in the past, its objects (an index into [`OBJECTS`] each), its manners.
struct Deed {
    verb: &'static str,
    objects: [usize; 5],
    manners: [&'static str; 4],
}

/// A thing done to, and the adjectives it may have.
const OBJECTS: [(&str, [&str; 4]); 30] = [
    ("soup", ["hot", "thick", "salty", "bitter"]),
    ("bread", ["fresh", "stale", "dark", "warm"]),
    ("milk", ["sour", "cold", "creamy", "fresh"]),
    ("cheese", ["hard", "yellow", "mouldy", "rich"]),
    ("water", ["clear", "icy", "muddy", "clean"]),
    ("wood", ["dry", "wet", "rotten", "heavy"]),
    ("stones", ["round", "heavy", "mossy", "flat"]),
    ("fence", ["broken", "white", "crooked", "wooden"]),
    ("window", ["narrow", "dusty", "open", "broken"]),
    ("door", ["narrow", "heavy", "wooden", "secret"]),
    ("song", ["sad", "merry", "old", "simple"]),
    ("story", ["long", "strange", "sad", "old"]),
    ("secret", ["terrible", "old", "family", "strange"]),
    ("letter", ["long", "secret", "torn", "friendly"]),
    ("picture", ["strange", "bright", "tiny", "famous"]),
    ("sail", ["torn", "white", "broad", "wet"]),
    ("boat", ["leaky", "narrow", "painted", "fast"]),
    ("fish", ["silver", "fat", "slippery", "fresh"]),
    ("apples", ["ripe", "sour", "rotten", "sweet"]),
    ("flowers", ["wild", "sweet", "yellow", "pale"]),
    ("horse", ["tired", "wild", "fast", "gentle"]),
    ("sheep", ["lost", "woolly", "hungry", "fat"]),
    ("thief", ["clumsy", "famous", "masked", "fast"]),
    ("stranger", ["masked", "tired", "polite", "silent"]),
    ("children", ["noisy", "sleepy", "polite", "hungry"]),
    ("queen", ["old", "wise", "angry", "silent"]),
    ("shirt", ["torn", "clean", "wet", "striped"]),
    ("boots", ["muddy", "heavy", "tight", "worn"]),
    ("floor", ["dusty", "wooden", "slippery", "clean"]),
    ("roof", ["leaky", "steep", "mossy", "low"]),
];

#[rustfmt::skip]
const DEEDS: [Deed; 45] = [
    Deed { verb: "ate", objects: [0, 1, 3, 17, 18], manners: ["hungrily", "slowly", "alone", "with a spoon"] },
    Deed { verb: "tasted", objects: [0, 1, 2, 3, 18], manners: ["carefully", "with a smile", "twice", "first"] },
    Deed { verb: "sold", objects: [3, 16, 17, 20, 26], manners: ["cheaply", "for a penny", "too soon", "in secret"] },
    Deed { verb: "bought", objects: [1, 2, 19, 21, 27], manners: ["cheaply", "for a shilling", "at once", "with joy"] },
    Deed { verb: "carried", objects: [4, 5, 6, 18, 2], manners: ["slowly", "with both hands", "all day", "on a cart"] },
    Deed { verb: "painted", objects: [7, 8, 9, 14, 16], manners: ["neatly", "with a thin brush", "in a hurry", "all day"] },
    Deed { verb: "mended", objects: [7, 15, 29, 26, 27], manners: ["neatly", "with a nail", "at last", "without help"] },
    Deed { verb: "opened", objects: [8, 9, 13, 12, 3], manners: ["quietly", "with a key", "at once", "with care"] },
    Deed { verb: "sang", objects: [10, 10, 10, 11, 10], manners: ["loudly", "out of tune", "together", "sweetly"] },
    Deed { verb: "told", objects: [11, 12, 11, 12, 11], manners: ["quietly", "with a wink", "twice", "by heart"] },
    Deed { verb: "kept", objects: [12, 13, 21, 20, 14], manners: ["for years", "in secret", "with care", "alone"] },
    Deed { verb: "wrote", objects: [13, 11, 10, 13, 11], manners: ["neatly", "in ink", "by candlelight", "in a hurry"] },
    Deed { verb: "read", objects: [13, 11, 13, 11, 13], manners: ["aloud", "by candlelight", "twice", "with tears"] },
    Deed { verb: "hung", objects: [14, 26, 15, 14, 26], manners: ["straight", "with a nail", "too high", "to dry"] },
    Deed { verb: "washed", objects: [26, 27, 28, 8, 18], manners: ["with soap", "twice", "in a tub", "in a hurry"] },
    Deed { verb: "swept", objects: [28, 28, 29, 28, 28], manners: ["with a broom", "in a hurry", "every day", "again"] },
    Deed { verb: "climbed", objects: [29, 7, 29, 7, 29], manners: ["bravely", "without shoes", "in a hurry", "again"] },
    Deed { verb: "caught", objects: [17, 22, 20, 21, 17], manners: ["at last", "with a rope", "by luck", "with a trap"] },
    Deed { verb: "chased", objects: [22, 21, 20, 24, 22], manners: ["for hours", "with a stick", "in vain", "barefoot"] },
    Deed { verb: "greeted", objects: [23, 24, 25, 23, 24], manners: ["politely", "with a bow", "coldly", "warmly"] },
    Deed { verb: "fed", objects: [20, 21, 24, 20, 21], manners: ["by hand", "twice", "at dawn", "with oats"] },
    Deed { verb: "led", objects: [20, 21, 24, 23, 25], manners: ["gently", "by the hand", "too far", "downhill"] },
    Deed { verb: "feared", objects: [22, 23, 25, 22, 25], manners: ["greatly", "in silence", "for years", "without reason"] },
    Deed { verb: "picked", objects: [18, 19, 18, 19, 6], manners: ["by the dozen", "one by one", "at dawn", "with joy"] },
    Deed { verb: "threw", objects: [6, 27, 17, 5, 18], manners: ["far away", "with all force", "angrily", "by mistake"] },
    Deed { verb: "drank", objects: [4, 2, 0, 4, 2], manners: ["thirstily", "in one gulp", "from a cup", "slowly"] },
    Deed { verb: "cut", objects: [5, 1, 3, 19, 5], manners: ["in half", "with an axe", "into slices", "evenly"] },
    Deed { verb: "steered", objects: [16, 16, 16, 16, 16], manners: ["safely", "without a map", "by the stars", "downstream"] },
    Deed { verb: "wore", objects: [26, 27, 26, 27, 26], manners: ["proudly", "inside out", "all winter", "every day"] },
    Deed { verb: "burned", objects: [5, 13, 1, 0, 5], manners: ["by mistake", "in the stove", "to ashes", "in anger"] },
    Deed { verb: "hid", objects: [3, 12, 13, 22, 26], manners: ["under a stone", "in the hay", "from everyone", "at once"] },
    Deed { verb: "found", objects: [13, 14, 21, 27, 22], manners: ["by chance", "in a ditch", "under the stairs", "at last"] },
    Deed { verb: "lost", objects: [13, 20, 21, 27, 26], manners: ["by mistake", "in the fog", "at cards", "for ever"] },
    Deed { verb: "stole", objects: [1, 3, 16, 18, 20], manners: ["at night", "in secret", "without shame", "for a joke"] },
    Deed { verb: "drew", objects: [14, 16, 20, 25, 29], manners: ["with chalk", "in the sand", "from memory", "neatly"] },
    Deed { verb: "built", objects: [7, 16, 29, 9, 28], manners: ["of oak", "in a week", "without help", "with old nails"] },
    Deed { verb: "broke", objects: [8, 9, 7, 5, 28], manners: ["by mistake", "with a hammer", "in anger", "again"] },
    Deed { verb: "heard", objects: [10, 11, 22, 24, 25], manners: ["from afar", "through the wall", "in the dark", "twice"] },
    Deed { verb: "followed", objects: [20, 22, 23, 25, 24], manners: ["on tiptoe", "to the harbour", "for hours", "in the dark"] },
    Deed { verb: "helped", objects: [23, 24, 25, 23, 24], manners: ["gladly", "for nothing", "at once", "with a smile"] },
    Deed { verb: "forgot", objects: [10, 11, 12, 13, 24], manners: ["again", "at once", "on purpose", "for years"] },
    Deed { verb: "praised", objects: [0, 10, 14, 25, 24], manners: ["loudly", "with tears", "too much", "in a speech"] },
    Deed { verb: "cooked", objects: [0, 17, 18, 0, 17], manners: ["with onions", "too long", "over a fire", "for twelve guests"] },
    Deed { verb: "fetched", objects: [4, 5, 2, 20, 27], manners: ["from the well", "in the rain", "at dawn", "without a word"] },
    Deed { verb: "counted", objects: [6, 18, 21, 24, 17], manners: ["twice", "one by one", "on ten fingers", "aloud"] },
];

const TIMES: [&str; 20] = [
    "before breakfast",
    "after supper",
    "at noon",
    "at midnight",
    "all morning",
    "last week",
    "in the evening",
    "the day before",
    "a year ago",
    "soon after",
    "for a while",
    "just in time",
    "that night",
    "on the way home",
    "early in the day",
    "once a month",
    "at sunset",
    "from then on",
    "a little later",
    "as usual",
];

const SUBJECTS: [&str; 36] = [
    "the mayor",
    "the old judge",
    "a neighbour",
    "the cook",
    "the night watchman",
    "my uncle",
    "the youngest sister",
    "two soldiers",
    "the innkeeper",
    "a beggar",
    "the twins",
    "her cousin",
    "the blind fiddler",
    "his nephew",
    "the widow",
    "a monk",
    "the postman",
    "our aunt",
    "the guard",
    "a giant",
    "the wizard",
    "the captain",
    "both brothers",
    "the nurse",
    "a pirate",
    "the clown",
    "the princess",
    "an old man",
    "a young woman",
    "the grocer",
    "the king",
    "three students",
    "the landlord",
    "a tall lady",
    "the priest",
    "somebody",
];

const LINKS: [&str; 12] = [
    "but",
    "and",
    "while",
    "because",
    "before",
    "so",
    "although",
    "until",
    "after",
    "as soon as",
    "and yet",
    "just when",
];

/// Writes one sentence of daily life; the slots `a` and `b`, where set, may be its subjects.
pub(super) fn write(dice: &mut Dice, page: &mut Page, people: &[&str]) {
    let mut sentence = clause(dice, people);
    if dice.chance(35) {
        sentence = format!("{} {sentence}", dice.pick(&TIMES));
    }
    if dice.chance(40) {
        sentence = format!("{sentence}, {} {}", dice.pick(&LINKS), clause(dice, people));
    }
    page.say(dice, &[&format!("{sentence}.")]);
}

/// Subject, verb, object, perhaps a manner.
fn clause(dice: &mut Dice, people: &[&str]) -> String {
    let subject = if people.is_empty() || dice.chance(45) { *dice.pick(&SUBJECTS) } else { *dice.pick(people) };
    let deed = dice.pick(&DEEDS);
    let (object, adjectives) = OBJECTS[*dice.pick(&deed.objects)];
    let adjective = dice.pick(&adjectives);
    let manner = if dice.chance(60) { format!(" {}", dice.pick(&deed.manners)) } else { String::new() };
    format!("{subject} {} the {adjective} {object}{manner}", deed.verb)
}
