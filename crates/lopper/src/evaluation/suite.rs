//! Everything a model is measured by, read and tokenised before the first forward pass.

use std::path::{Path, PathBuf};

use lopper_kernels::Precision;
use serde::{Deserialize, Serialize};

use super::comparison::{ComparedTexts, TaskDifference, TextDifference, compare_tasks, compare_texts};
use super::forward::Passage;
use super::loglikelihood::{Encoder, log_likelihoods};
use super::perplexity::{Perplexity, Windows, perplexities};
use super::questions::{Asking, Quiz};
use super::scores::TaskScore;
use super::tasks::Task;
use super::texts::{ScoredText, open_tokenizer};
use crate::error::{Error, Result};
use crate::model::Decoder;
use crate::progress::{Event, Observer};
use crate::text::Tokenizer;

/// What a model is to be measured by.
#[derive(Clone, Debug)]
pub struct Material<'a> {
    /// Texts as they stand.
    pub texts: &'a [PathBuf],
    /// Files of WikiText.
    pub wikitext: &'a [PathBuf],
    /// How texts are cut.
    pub windows: Windows,
    /// Names of tasks, or files that describe them.
    pub tasks: &'a [String],
    /// Which questions of them.
    pub asking: Asking,
}

/// Texts and questions as tokens.
pub struct Suite {
    /// Texts to score.
    pub texts: Vec<ScoredText>,
    /// Tasks with the passages of their questions.
    pub quizzes: Vec<(Quiz, Vec<Passage>)>,
}

/// Scores of a model.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Scores {
    /// By text.
    pub texts: Vec<TextScore>,
    /// By task.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<TaskScore>,
}

/// The score of a text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TextScore {
    /// File, or what the text is.
    pub text: String,
    /// Perplexity with its windows.
    #[serde(flatten)]
    pub score: Perplexity,
}

/// Scores of a model and a reference, and how they differ.
pub struct Comparison {
    /// Of the model.
    pub scores: Scores,
    /// Of the reference.
    pub reference: Scores,
    /// By text.
    pub texts: Vec<TextDifference>,
    /// By task and metric.
    pub tasks: Vec<TaskDifference>,
}

impl Suite {
    /// Reads texts and tasks for the model in `directory`; `observer` is told of what has to be fetched.
    ///
    /// # Errors
    /// If one cannot be read, or does not fit the model.
    pub fn read(material: &Material, directory: &Path, decoder: &Decoder, observer: &mut dyn Observer) -> Result<Self> {
        let tokenizer = open_tokenizer(directory, decoder.spec())?;
        let texts = ScoredText::read_all(material.texts, material.wikitext, &tokenizer, material.windows)?;
        let quizzes = material.tasks.iter().map(|name| Quiz::read(Task::open(name)?, &material.asking, observer));
        let quizzes = quizzes.collect::<Result<Vec<Quiz>>>()?;
        Ok(Self { texts, quizzes: encoded(quizzes, directory, &tokenizer, decoder)? })
    }

    /// Whether nothing is material.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty() && self.quizzes.is_empty()
    }

    /// Whether another suite has the same tokens.
    pub fn has_tokens_of(&self, other: &Self) -> bool {
        let same_texts = self.texts.iter().map(|text| &text.tokens).eq(other.texts.iter().map(|text| &text.tokens));
        same_texts && self.quizzes.iter().map(|quiz| &quiz.1).eq(other.quizzes.iter().map(|quiz| &quiz.1))
    }

    /// Scores a model, called `name` in what `observer` is told.
    ///
    /// # Errors
    /// If the model cannot be read, memory is short, or it gives what is not a number.
    pub fn score(
        &self,
        name: &str,
        decoder: &Decoder,
        precision: Precision,
        observer: &mut dyn Observer,
    ) -> Result<Scores> {
        let mut scores = Scores::default();
        if !self.texts.is_empty() {
            observer.event(Event::Stage { name: &format!("scoring {name} on {}", self.text_names()) });
            let share = &mut |share| observer.event(Event::Progress(share));
            scores.texts = named(&self.texts, perplexities(decoder, &self.texts, precision, share)?);
        }
        scores.tasks = self.score_tasks(name, decoder, precision, observer)?;
        Ok(scores)
    }

    /// Scores a model and a reference that has the same tokenizer.
    ///
    /// # Errors
    /// As [`Self::score`], or if their vocabularies differ in size.
    pub fn compare(
        &self,
        [model, reference]: [&Decoder; 2],
        precision: Precision,
        observer: &mut dyn Observer,
    ) -> Result<Comparison> {
        let mut found = ComparedTexts { model: Vec::new(), reference: Vec::new(), differences: Vec::new() };
        if !self.texts.is_empty() {
            observer.event(Event::Stage { name: &format!("comparing the models on {}", self.text_names()) });
            let share = &mut |share| observer.event(Event::Progress(share));
            found = compare_texts([model, reference], &self.texts, precision, share)?;
        }
        let before = self.score_tasks("the reference", reference, precision, observer)?;
        let after = self.score_tasks("the model", model, precision, observer)?;
        let tasks = after.iter().zip(&before).flat_map(|(after, before)| compare_tasks(after, before)).collect();
        Ok(Comparison {
            scores: Scores { texts: named(&self.texts, found.model), tasks: after },
            reference: Scores { texts: named(&self.texts, found.reference), tasks: before },
            texts: found.differences,
            tasks,
        })
    }

    fn score_tasks(
        &self,
        name: &str,
        decoder: &Decoder,
        precision: Precision,
        observer: &mut dyn Observer,
    ) -> Result<Vec<TaskScore>> {
        if self.quizzes.is_empty() {
            return Ok(Vec::new());
        }
        let tasks: Vec<&str> = self.quizzes.iter().map(|(quiz, _)| quiz.task.name.as_str()).collect();
        observer.event(Event::Stage { name: &format!("asking {name} {}", tasks.join(", ")) });
        score(decoder, &self.quizzes, precision, &mut |share| observer.event(Event::Progress(share)))
    }

    fn text_names(&self) -> String {
        self.texts.iter().map(|text| text.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

fn named(texts: &[ScoredText], scores: Vec<Perplexity>) -> Vec<TextScore> {
    texts.iter().zip(scores).map(|(text, score)| TextScore { text: text.name.clone(), score }).collect()
}

/// Quizzes with the passages of their questions.
fn encoded(
    quizzes: Vec<Quiz>,
    directory: &Path,
    tokenizer: &Tokenizer,
    decoder: &Decoder,
) -> Result<Vec<(Quiz, Vec<Passage>)>> {
    if quizzes.is_empty() {
        return Ok(Vec::new());
    }
    let encoder = Encoder::open(directory, tokenizer, decoder.spec())?;
    quizzes
        .into_iter()
        .map(|quiz| {
            let passages = passages(&quiz, &encoder)?;
            Ok((quiz, passages))
        })
        .collect()
}

/// The passages of a quiz, the prompts of its questions one after the other.
///
/// # Errors
/// If a prompt has no tokens, naming task and question.
pub fn passages(quiz: &Quiz, encoder: &Encoder) -> Result<Vec<Passage>> {
    let mut passages = Vec::new();
    for (place, question) in quiz.questions.iter().enumerate() {
        for prompt in &question.prompts {
            let passage = encoder.encode(&prompt.context, &prompt.continuation);
            passages.push(passage.map_err(|error| located(error, &quiz.task.name, place))?);
        }
    }
    Ok(passages)
}

fn located(error: Error, task: &str, place: usize) -> Error {
    match error {
        Error::Text { problem, hint } => Error::Text { problem: format!("{task}: question {place}: {problem}"), hint },
        other => other,
    }
}

/// The scores of some quizzes whose passages are known, in one pass over the model.
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
