//! The names of model cards beside the weights. A copy with other weights is another model: its own card takes the name, and those that
//! were there go down by one.

/// The card of a model.
pub const CARD: &str = "README.md";
/// That of the model it was made from.
pub const BASE_CARD: &str = "README-base.md";
/// Cards of models that were made from each other, at most.
const LONGEST_CHAIN: usize = 99;

/// The card of a model, that of what it was made from, and so on.
pub fn card_names() -> impl Iterator<Item = String> {
    let further = (2..LONGEST_CHAIN).map(|number| format!("README-base-{number}.md"));
    [CARD, BASE_CARD].map(String::from).into_iter().chain(further)
}
