//! What a model is trained to do, in words.

use crate::plan::RetrainingObjective;

/// What the whole model is retrained to do; none where it is not.
pub fn goal(objective: RetrainingObjective) -> Option<&'static str> {
    Some(match objective {
        RetrainingObjective::None => return None,
        RetrainingObjective::Ce => "predict the next token",
        RetrainingObjective::Kl => "predict what the dense model predicts",
        RetrainingObjective::Logits => "give the logits of the dense model",
    })
}
