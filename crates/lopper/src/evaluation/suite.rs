//! Several tasks in one pass over the model.

use lopper_kernels::Precision;

use super::forward::Passage;
use super::loglikelihood::{Encoder, log_likelihoods};
use super::questions::Quiz;
use super::scores::TaskScore;
use crate::error::{Error, Result};
use crate::model::Decoder;

/// The passages of a quiz, the prompts of its questions one after the other.
///
/// # Errors
/// If a prompt has no tokens, naming task and question.
pub fn passages(quiz: &Quiz, encoder: &Encoder) -> Result<Vec<Passage>> {
    let mut passages = Vec::new();
    for (place, question) in quiz.questions.iter().enumerate() {
        for prompt in &question.prompts {
            let passage = encoder.encode(&prompt.context, &prompt.continuation);
            passages.push(passage.map_err(|error| named(error, &quiz.task.name, place))?);
        }
    }
    Ok(passages)
}

fn named(error: Error, task: &str, place: usize) -> Error {
    match error {
        Error::Text { problem, hint } => Error::Text { problem: format!("{task}: question {place}: {problem}"), hint },
        other => other,
    }
}

/// The scores of some quizzes, whose passages are known.
///
/// # Errors
/// If the model cannot be read, memory is short, or a log-likelihood is not a number.
pub fn score(
    decoder: &Decoder,
    quizzes: &[(Quiz, Vec<Passage>)],
    precision: Precision,
    progress: &mut dyn FnMut(f64),
) -> Result<Vec<TaskScore>> {
    let all: Vec<Passage> = quizzes.iter().flat_map(|(_, passages)| passages.iter().cloned()).collect();
    let answers = log_likelihoods(decoder, &all, precision, progress)?;
    let mut rest = answers.as_slice();
    let scores = quizzes.iter().map(|(quiz, passages)| {
        let (own, others) = rest.split_at(passages.len());
        rest = others;
        TaskScore::new(quiz, own)
    });
    Ok(scores.collect())
}
