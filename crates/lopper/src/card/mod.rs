//! The card of a model that was pruned, `README.md` as the Hub expects it: of the report, the name of the model and the card of its input,
//! and of nothing else. What others have named (files, tasks, licences) cannot become markup, and of paths only the last name is told.

mod files;
mod front_matter;
mod making;
mod markdown;
mod results;
mod scores;
mod yaml;

use crate::checkpoint::BASE_CARD;
use crate::evaluation::HELD_OUT;
use crate::report::{Made, ModelFacts, Summary};
use markdown::{code, word};
use yaml::Node;

pub use crate::checkpoint::CARD;
pub use files::{base_cards, name_of, remake};

/// What this program calls itself among the tags of a card.
const TAG: &str = "lopper";
/// What is carried over from the card of the input, in this order.
const CARRIED: [&str; 5] = ["license", "license_name", "license_link", "language", "datasets"];

/// The card of a model called `name`; `base` is the card of its input, where it had one.
pub fn card(name: &str, summary: &Summary, base: Option<&str>) -> String {
    let carried = base.map(front_matter::read).unwrap_or_default();
    let text =
        |key: &str| carried.get(key).and_then(|entry| Some(entry.texts()).filter(|texts| texts.len() == 1)?.first());
    let task = text("pipeline_tag").map_or_else(|| task(&summary.made.model), String::as_str);
    let mut head = base_model(summary);
    head.extend(CARRIED.iter().filter_map(|&key| Some((key, node(carried.get(key)?)))));
    head.push(("library_name", Node::text("transformers")));
    head.push(("tags", Node::texts(tags(summary))));
    head.push(("pipeline_tag", Node::text(task)));
    head.extend(
        summary
            .evaluation
            .last()
            .and_then(|model| Some(("model-index", results::model_index(name, model, &summary.made.plan)?))),
    );
    let head = Node::Map(head).to_yaml();
    format!("---\n{head}---\n\n{}", body(name, summary, base.is_some(), (text("license").map(String::as_str), task)))
}

/// Whether a card is one of these.
fn is_ours(card: &str) -> bool {
    front_matter::read(card).get("tags").is_some_and(|tags| tags.texts().iter().any(|tag| tag == TAG))
}

/// What the Hub calls that which such models do.
fn task(model: &ModelFacts) -> &'static str {
    if model.reads_images() { "image-text-to-text" } else { "text-generation" }
}

fn node(entry: &front_matter::Entry) -> Node {
    match entry {
        front_matter::Entry::Text(text) => Node::text(text),
        front_matter::Entry::List(texts) => Node::texts(texts),
    }
}

/// The nearest model on the Hub that this one was made from. Of the relations that the Hub knows, a model with other weights of the same kind is
/// a finetune.
fn base_model(summary: &Summary) -> Vec<(&'static str, Node)> {
    let runs = [&summary.made].into_iter().chain(summary.earlier.iter().rev());
    let Some(base) = runs.into_iter().find_map(|made| making::hub(&made.model)) else { return Vec::new() };
    vec![("base_model", Node::text(&base.id)), ("base_model_relation", Node::text("finetune"))]
}

fn tags(summary: &Summary) -> Vec<&'static str> {
    let runs = || summary.earlier.iter().chain([&summary.made]);
    let kinds =
        [("sparse", runs().any(making::has_zeros)), ("structured-pruning", runs().any(|made| made.shrunk.is_some()))];
    [TAG, "pruned"].into_iter().chain(kinds.into_iter().filter_map(|(tag, holds)| holds.then_some(tag))).collect()
}

/// The text below the head.
fn body(name: &str, summary: &Summary, has_base: bool, (license, task): (Option<&str>, &str)) -> String {
    let Summary { made, earlier, evaluation } = summary;
    let (input, outcome) = (making::input(&made.model), making::outcome(made));
    let intro = format!("{input}, pruned after training by lopper: {outcome}.");
    let license =
        license.map_or_else(String::new, |license| format!(" Its licence is that of its input: {}.", code(license)));
    let base = if has_base { format!(" The card of its input is [{BASE_CARD}]({BASE_CARD}).") } else { String::new() };
    let mut sections = vec![
        format!("# {}\n\n{intro}{license}{base}\n", word(name)),
        format!("## Scores\n\n{}", scores::section(evaluation)),
        format!("## How it was made\n\n{}", making::steps(made, scores_held_out(summary))),
    ];
    for (place, run) in earlier.iter().enumerate().rev() {
        let of = if place + 1 == earlier.len() { "Its input" } else { "The input of that" };
        sections.push(format!(
            "### Before that\n\n{of} was made by lopper too, as the report that came with it says.\n\n{}",
            making::steps(run, false)
        ));
    }
    sections.push(format!("## Size\n\n{}", size(made)));
    sections.push(format!("## Limits\n\n{}", limits(summary)));
    sections.push(format!("## Loading it\n\n{}", loading(&made.model, task)));
    sections.push(format!("## Making it again\n\n{}", repeating(made)));
    sections.join("\n")
}

fn size(made: &Made) -> String {
    let zeros = if making::has_zeros(made) {
        " The files are dense: zeros make them no smaller, and the model no faster, unless a runtime is given that knows of them."
    } else {
        ""
    };
    format!("{}{zeros}\n", making::size(made))
}

/// Whether the final model was scored on windows of the calibration text.
fn scores_held_out(summary: &Summary) -> bool {
    let scores = summary.evaluation.last().map(|model| &model.scores);
    scores.is_some_and(|scores| scores.texts.iter().any(|text| text.text == HELD_OUT))
}

fn limits(summary: &Summary) -> String {
    let judged = if scores_held_out(summary) && making::judged_repair(&summary.made) {
        " The held-out windows have also judged its repair, so on them it looks a little better than it is."
    } else {
        ""
    };
    let runs = summary.earlier.iter().chain([&summary.made]);
    let texts = distinct(runs.filter(|made| made.calibrated).flat_map(|made| making::texts(&made.plan)));
    let calibrated =
        if texts.is_empty() { String::new() } else { format!("calibrated on {} and ", making::listed(&texts)) };
    let scores = summary.evaluation.last().map(|model| &model.scores);
    let texts = scores.map(|scores| scores::names(&scores.texts)).unwrap_or_default();
    let tasks = scores.iter().flat_map(|scores| &scores.tasks).map(|task| task.task.clone());
    let scored = distinct(texts.into_iter().chain(tasks).map(|name| code(&name)));
    let scored = if scored.is_empty() { "nothing".into() } else { scored.join(", ") };
    [
        format!("It was {calibrated}scored on {scored}. What it does on other texts, languages and tasks was not measured.{judged}"),
        "Pruning costs quality, repaired or not, and perplexity hides some of the damage: test it on the task it is for.".into(),
        "Safety was not evaluated: what it refuses, and what biases it has, may differ from its input.".into(),
        "The limits of its input are its own, too.".into(),
    ]
    .map(|limit| format!("* {limit}\n"))
    .concat()
}

/// Each name once, where it comes first.
fn distinct(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut known = Vec::new();
    for name in names {
        if !known.contains(&name) {
            known.push(name);
        }
    }
    known
}

/// How transformers loads it; of models whose cards say that they do something else, only that it loads as they do.
fn loading(model: &ModelFacts, said: &str) -> String {
    let as_input = "It loads as its input does: it has the same form.";
    if said != task(model) {
        return format!("{as_input}\n");
    }
    let class = model.loader();
    let (reader, reads) =
        if model.reads_images() { ("AutoProcessor", "processor") } else { ("AutoTokenizer", "tokenizer") };
    format!(
        "{as_input}\n\n```python\nfrom transformers import {class}, {reader}\n\nplace = \".\"  # this directory, or the id of this model on the Hub\nmodel = {class}.from_pretrained(place)\n{reads} = {reader}.from_pretrained(place)\n```\n"
    )
}

fn repeating(made: &Made) -> String {
    let input = match making::hub(&made.model) {
        Some(hub) => format!("{}@{}", hub.id, hub.commit),
        None => "MODEL".into(),
    };
    format!(
        "```sh\nlopper prune {input} -o OUT --plan plan.toml\n```\n\nwith lopper {} gives the same weights, byte for byte, on the same kind of processor, unless report.json warns that blocks were made by another plan. Files that plan.toml names have to be there.\n",
        code(&made.version)
    )
}
