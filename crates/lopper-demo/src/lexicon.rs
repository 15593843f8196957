//! What the words know: animals, trades and things with the facts that always go with them.

/// An animal and what is always true of it.
pub(crate) struct Animal {
    pub(crate) name: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) young: &'static str,
    /// The sound it makes, in the past tense.
    pub(crate) sounded: &'static str,
    pub(crate) food: &'static str,
    pub(crate) home: &'static str,
    /// A word that fits it.
    pub(crate) nature: &'static str,
}

/// A trade, where it is done and what it makes.
pub(crate) struct Trade {
    pub(crate) name: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) place: &'static str,
    pub(crate) does: &'static str,
    pub(crate) tool: &'static str,
}

/// A thing that can be owned, lost and found.
pub(crate) struct Thing {
    pub(crate) name: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) material: &'static str,
    /// What it is for: an infinitive.
    pub(crate) purpose: &'static str,
}

/// A first name and its pronoun.
pub(crate) struct Name {
    pub(crate) name: &'static str,
    pub(crate) she: bool,
}

pub(crate) const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

pub(crate) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

pub(crate) const MONTH_DAYS: [u32; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

pub(crate) const COLOURS: [&str; 13] = [
    "red", "blue", "green", "yellow", "white", "black", "brown", "grey", "orange", "purple", "pink", "golden", "silver",
];

#[rustfmt::skip]
const SHE: [&str; 18] = [
    "Anna", "Clara", "Ella", "Grace", "Ivy", "Kate", "Lucy", "Mia", "Nora", "Olive", "Pearl",
    "Rose", "Ruth", "Sara", "Tess", "Una", "Wendy", "Zoe",
];

#[rustfmt::skip]
const HE: [&str; 18] = [
    "Adam", "Ben", "David", "Finn", "Hugo", "Jack", "Leo", "Max", "Noah", "Oscar", "Paul", "Peter",
    "Ralph", "Sam", "Tom", "Victor", "Will", "Zack",
];

/// The names of the people in stories: eighteen of women, then eighteen of men.
pub(crate) const NAMES: [Name; 36] = {
    let mut names = [const { Name { name: "", she: true } }; 36];
    let mut place = 0;
    while place < 18 {
        names[place] = Name { name: SHE[place], she: true };
        names[18 + place] = Name { name: HE[place], she: false };
        place += 1;
    }
    names
};

/// The animals.
#[rustfmt::skip]
pub(crate) const ANIMALS: [Animal; 36] = [
    Animal { name: "ant", plural: "ants", young: "grub", sounded: "ticked", food: "crumbs", home: "hill", nature: "tiny" },
    Animal { name: "bat", plural: "bats", young: "pup", sounded: "squeaked", food: "moths", home: "cave", nature: "shy" },
    Animal { name: "bear", plural: "bears", young: "cub", sounded: "growled", food: "honey", home: "den", nature: "heavy" },
    Animal { name: "bee", plural: "bees", young: "grub", sounded: "hummed", food: "nectar", home: "hive", nature: "busy" },
    Animal { name: "camel", plural: "camels", young: "calf", sounded: "grunted", food: "thorns", home: "desert", nature: "patient" },
    Animal { name: "cat", plural: "cats", young: "kitten", sounded: "mewed", food: "cream", home: "basket", nature: "clever" },
    Animal { name: "cow", plural: "cows", young: "calf", sounded: "mooed", food: "grass", home: "meadow", nature: "gentle" },
    Animal { name: "crow", plural: "crows", young: "chick", sounded: "cawed", food: "seeds", home: "treetop", nature: "black-eyed" },
    Animal { name: "deer", plural: "deer", young: "fawn", sounded: "snorted", food: "leaves", home: "glade", nature: "swift" },
    Animal { name: "dog", plural: "dogs", young: "puppy", sounded: "barked", food: "bones", home: "kennel", nature: "faithful" },
    Animal { name: "donkey", plural: "donkeys", young: "foal", sounded: "brayed", food: "thistles", home: "stable", nature: "stubborn" },
    Animal { name: "duck", plural: "ducks", young: "duckling", sounded: "quacked", food: "weed", home: "pond", nature: "cheerful" },
    Animal { name: "eagle", plural: "eagles", young: "eaglet", sounded: "screamed", food: "hares", home: "cliff", nature: "proud" },
    Animal { name: "fox", plural: "foxes", young: "cub", sounded: "yelped", food: "berries", home: "burrow", nature: "sly" },
    Animal { name: "frog", plural: "frogs", young: "tadpole", sounded: "croaked", food: "flies", home: "marsh", nature: "slippery" },
    Animal { name: "goat", plural: "goats", young: "kid", sounded: "bleated", food: "ivy", home: "rock", nature: "greedy" },
    Animal { name: "goose", plural: "geese", young: "gosling", sounded: "hissed", food: "clover", home: "yard", nature: "angry" },
    Animal { name: "hedgehog", plural: "hedgehogs", young: "hoglet", sounded: "snuffled", food: "slugs", home: "hedge", nature: "prickly" },
    Animal { name: "hen", plural: "hens", young: "chick", sounded: "clucked", food: "corn", home: "coop", nature: "nervous" },
    Animal { name: "horse", plural: "horses", young: "foal", sounded: "neighed", food: "oats", home: "paddock", nature: "strong" },
    Animal { name: "lion", plural: "lions", young: "cub", sounded: "roared", food: "meat", home: "plain", nature: "brave" },
    Animal { name: "monkey", plural: "monkeys", young: "infant", sounded: "chattered", food: "bananas", home: "jungle", nature: "playful" },
    Animal { name: "mouse", plural: "mice", young: "pup", sounded: "squeaked", food: "cheese", home: "hole", nature: "small" },
    Animal { name: "otter", plural: "otters", young: "pup", sounded: "whistled", food: "crayfish", home: "riverbank", nature: "merry" },
    Animal { name: "owl", plural: "owls", young: "owlet", sounded: "hooted", food: "beetles", home: "barn", nature: "wise" },
    Animal { name: "ox", plural: "oxen", young: "calf", sounded: "bellowed", food: "hay", home: "shed", nature: "slow" },
    Animal { name: "parrot", plural: "parrots", young: "chick", sounded: "talked", food: "nuts", home: "cage", nature: "noisy" },
    Animal { name: "pig", plural: "pigs", young: "piglet", sounded: "grunted", food: "turnips", home: "sty", nature: "muddy" },
    Animal { name: "rabbit", plural: "rabbits", young: "kit", sounded: "thumped", food: "carrots", home: "warren", nature: "timid" },
    Animal { name: "sheep", plural: "sheep", young: "lamb", sounded: "bleated", food: "grass", home: "fold", nature: "woolly" },
    Animal { name: "snake", plural: "snakes", young: "hatchling", sounded: "hissed", food: "eggs", home: "sand", nature: "silent" },
    Animal { name: "squirrel", plural: "squirrels", young: "kit", sounded: "chirped", food: "acorns", home: "drey", nature: "quick" },
    Animal { name: "swan", plural: "swans", young: "cygnet", sounded: "sang", food: "reeds", home: "lake", nature: "graceful" },
    Animal { name: "turtle", plural: "turtles", young: "hatchling", sounded: "sighed", food: "jellyfish", home: "reef", nature: "old" },
    Animal { name: "wolf", plural: "wolves", young: "cub", sounded: "howled", food: "rabbits", home: "forest", nature: "hungry" },
    Animal { name: "whale", plural: "whales", young: "calf", sounded: "moaned", food: "shrimps", home: "ocean", nature: "enormous" },
];

/// The trades, by name; one for each town.
#[rustfmt::skip]
pub(crate) const TRADES: [Trade; 24] = [
    Trade { name: "baker", plural: "bakers", place: "bakery", does: "bakes bread", tool: "oven" },
    Trade { name: "beekeeper", plural: "beekeepers", place: "orchard", does: "gathers honey", tool: "smoker" },
    Trade { name: "boatman", plural: "boatmen", place: "harbour", does: "carries people over the water", tool: "oar" },
    Trade { name: "brewer", plural: "brewers", place: "brewery", does: "makes cider", tool: "barrel" },
    Trade { name: "carpenter", plural: "carpenters", place: "workshop", does: "builds tables", tool: "saw" },
    Trade { name: "clockmaker", plural: "clockmakers", place: "clock shop", does: "mends watches", tool: "tweezers" },
    Trade { name: "diver", plural: "divers", place: "cove", does: "looks for pearls", tool: "knife" },
    Trade { name: "doctor", plural: "doctors", place: "hospital", does: "heals the sick", tool: "stethoscope" },
    Trade { name: "farmer", plural: "farmers", place: "farm", does: "grows wheat", tool: "plough" },
    Trade { name: "fisher", plural: "fishers", place: "quay", does: "catches fish", tool: "net" },
    Trade { name: "gardener", plural: "gardeners", place: "garden", does: "plants roses", tool: "spade" },
    Trade { name: "hunter", plural: "hunters", place: "woods", does: "follows tracks", tool: "bow" },
    Trade { name: "miller", plural: "millers", place: "mill", does: "grinds flour", tool: "millstone" },
    Trade { name: "musician", plural: "musicians", place: "concert hall", does: "plays songs", tool: "music stand" },
    Trade { name: "painter", plural: "painters", place: "studio", does: "paints pictures", tool: "brush" },
    Trade { name: "potter", plural: "potters", place: "pottery", does: "shapes bowls", tool: "wheel" },
    Trade { name: "printer", plural: "printers", place: "print shop", does: "makes books", tool: "press" },
    Trade { name: "rower", plural: "rowers", place: "boathouse", does: "races boats", tool: "paddle" },
    Trade { name: "sailor", plural: "sailors", place: "ship", does: "crosses the sea", tool: "compass" },
    Trade { name: "shepherd", plural: "shepherds", place: "pasture", does: "guards the flock", tool: "crook" },
    Trade { name: "smith", plural: "smiths", place: "forge", does: "bends iron", tool: "hammer" },
    Trade { name: "tailor", plural: "tailors", place: "tailor shop", does: "sews coats", tool: "needle" },
    Trade { name: "teacher", plural: "teachers", place: "school", does: "teaches children", tool: "chalk" },
    Trade { name: "weaver", plural: "weavers", place: "mill house", does: "weaves cloth", tool: "loom" },
];

/// The things, by name.
#[rustfmt::skip]
pub(crate) const THINGS: [Thing; 40] = [
    Thing { name: "ball", plural: "balls", material: "rubber", purpose: "to play with" },
    Thing { name: "basket", plural: "baskets", material: "willow", purpose: "to carry fruit" },
    Thing { name: "blanket", plural: "blankets", material: "wool", purpose: "to keep warm" },
    Thing { name: "boat", plural: "boats", material: "wood", purpose: "to cross the lake" },
    Thing { name: "book", plural: "books", material: "paper", purpose: "to read at night" },
    Thing { name: "bottle", plural: "bottles", material: "glass", purpose: "to hold water" },
    Thing { name: "bowl", plural: "bowls", material: "clay", purpose: "to eat soup from" },
    Thing { name: "box", plural: "boxes", material: "wood", purpose: "to keep letters in" },
    Thing { name: "brush", plural: "brushes", material: "hair", purpose: "to paint the fence" },
    Thing { name: "bucket", plural: "buckets", material: "tin", purpose: "to fetch water" },
    Thing { name: "button", plural: "buttons", material: "bone", purpose: "to close a coat" },
    Thing { name: "candle", plural: "candles", material: "wax", purpose: "to light the room" },
    Thing { name: "coat", plural: "coats", material: "wool", purpose: "to wear in winter" },
    Thing { name: "coin", plural: "coins", material: "copper", purpose: "to buy bread" },
    Thing { name: "cup", plural: "cups", material: "clay", purpose: "to drink tea from" },
    Thing { name: "drum", plural: "drums", material: "leather", purpose: "to beat the time" },
    Thing { name: "feather", plural: "feathers", material: "down", purpose: "to write with" },
    Thing { name: "flute", plural: "flutes", material: "reed", purpose: "to play tunes on" },
    Thing { name: "glove", plural: "gloves", material: "leather", purpose: "to keep the hands warm" },
    Thing { name: "hat", plural: "hats", material: "felt", purpose: "to keep off the sun" },
    Thing { name: "jar", plural: "jars", material: "glass", purpose: "to store jam" },
    Thing { name: "key", plural: "keys", material: "iron", purpose: "to open the door" },
    Thing { name: "kite", plural: "kites", material: "paper", purpose: "to fly in the wind" },
    Thing { name: "knife", plural: "knives", material: "steel", purpose: "to cut bread" },
    Thing { name: "ladder", plural: "ladders", material: "wood", purpose: "to climb the wall" },
    Thing { name: "lamp", plural: "lamps", material: "brass", purpose: "to see in the dark" },
    Thing { name: "letter", plural: "letters", material: "paper", purpose: "to send good news" },
    Thing { name: "map", plural: "maps", material: "paper", purpose: "to find the way" },
    Thing { name: "mirror", plural: "mirrors", material: "glass", purpose: "to see a face" },
    Thing { name: "needle", plural: "needles", material: "steel", purpose: "to sew a shirt" },
    Thing { name: "pen", plural: "pens", material: "brass", purpose: "to write a name" },
    Thing { name: "pot", plural: "pots", material: "iron", purpose: "to cook stew" },
    Thing { name: "purse", plural: "purses", material: "leather", purpose: "to carry money" },
    Thing { name: "ring", plural: "rings", material: "copper", purpose: "to wear on a finger" },
    Thing { name: "rope", plural: "ropes", material: "hemp", purpose: "to tie the boat" },
    Thing { name: "scarf", plural: "scarves", material: "silk", purpose: "to wear round the neck" },
    Thing { name: "shoe", plural: "shoes", material: "leather", purpose: "to walk in" },
    Thing { name: "spade", plural: "spades", material: "steel", purpose: "to dig the garden" },
    Thing { name: "spoon", plural: "spoons", material: "wood", purpose: "to stir the pot" },
    Thing { name: "umbrella", plural: "umbrellas", material: "cloth", purpose: "to keep off the rain" },
];

/// The animal called `name`.
pub(crate) fn animal(name: &str) -> &'static Animal {
    ANIMALS.iter().find(|animal| animal.name == name).expect("every pet is an animal of the table")
}

/// The trade called `name`.
pub(crate) fn trade(name: &str) -> &'static Trade {
    TRADES.iter().find(|trade| trade.name == name).expect("every trade named is in the table")
}

/// `she` or `he`, `her` or `him`, `her` or `his`.
pub(crate) fn pronouns(she: bool) -> [&'static str; 3] {
    if she { ["she", "her", "her"] } else { ["he", "him", "his"] }
}
