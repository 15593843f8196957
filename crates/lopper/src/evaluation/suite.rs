//! Everything a model is measured by, read and tokenised before the first forward pass.

use std::path::{Path, PathBuf};

use lopper_kernels::Precision;
use serde::{Deserialize, Serialize};

use super::comparison::{ComparedTexts, TaskDifference, TextDifference, compare_tasks, compare_texts};
use super::forward::Passage;
use super::loglikelihood::{Encoder, log_likelihoods};
use super::perplexity::{Perplexity, Windows, perplexities};
use super::questions::{Asking, QuestionSet};
use super::scores::TaskScore;
use super::tasks::Task;
use super::texts::{ScoredText, open_tokenizer};
use crate::error::{Error, Result};
use crate::model::Decoder;
use crate::progress::{Event, Observer};
use crate::text::{Reader, Tokenizer};

/// What a model is to be measured by.
#[derive(Clone, Debug)]
pub struct EvaluationSet<'a> {
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
    pub question_sets: Vec<(QuestionSet, Vec<Passage>)>,
    /// What the user should know of how the texts were read.
    pub notes: Vec<String>,
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
    pub fn read(
        evaluation_set: &EvaluationSet,
        directory: &Path,
        decoder: &Decoder,
        observer: &mut dyn Observer,
    ) -> Result<Self> {
        let tokenizer = open_tokenizer(directory, decoder.spec())?;
        let mut reader = Reader::of(directory);
        let texts = [evaluation_set.texts, evaluation_set.wikitext];
        let share = &mut |share| observer.event(Event::Progress(share));
        let texts = ScoredText::read_all(texts, &tokenizer, evaluation_set.windows, &mut reader, share)?;
        let question_sets = evaluation_set
            .tasks
            .iter()
            .map(|name| QuestionSet::read(Task::open(name)?, &evaluation_set.asking, observer));
        let question_sets = question_sets.collect::<Result<Vec<QuestionSet>>>()?;
        let notes = reader.notes().map(String::from).collect();
        Ok(Self { texts, question_sets: encoded(question_sets, directory, &tokenizer, decoder)?, notes })
    }

    /// Whether there is nothing to score.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty() && self.question_sets.is_empty()
    }

    /// Whether another suite has the same tokens.
    pub fn has_tokens_of(&self, other: &Self) -> bool {
        let same_texts = self.texts.iter().map(|text| &text.tokens).eq(other.texts.iter().map(|text| &text.tokens));
        same_texts && self.question_sets.iter().map(|set| &set.1).eq(other.question_sets.iter().map(|set| &set.1))
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
        if self.question_sets.is_empty() {
            return Ok(Vec::new());
        }
        let tasks: Vec<&str> = self.question_sets.iter().map(|(set, _)| set.task.name.as_str()).collect();
        observer.event(Event::Stage { name: &format!("asking {name} {}", tasks.join(", ")) });
        score(decoder, &self.question_sets, precision, &mut |share| observer.event(Event::Progress(share)))
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
    question_sets: Vec<QuestionSet>,
    directory: &Path,
    tokenizer: &Tokenizer,
    decoder: &Decoder,
) -> Result<Vec<(QuestionSet, Vec<Passage>)>> {
    if question_sets.is_empty() {
        return Ok(Vec::new());
    }
    let encoder = Encoder::open(directory, tokenizer, decoder.spec())?;
    question_sets
        .into_iter()
        .map(|set| {
            let passages = passages(&set, &encoder)?;
            Ok((set, passages))
        })
        .collect()
}

/// The passages of a task, the prompts of its questions one after the other.
///
/// # Errors
/// If a prompt has no tokens, naming task and question.
pub fn passages(set: &QuestionSet, encoder: &Encoder) -> Result<Vec<Passage>> {
    let mut passages = Vec::new();
    for (place, question) in set.questions.iter().enumerate() {
        for prompt in &question.prompts {
            let passage = encoder.encode(&prompt.context, &prompt.continuation);
            passages.push(passage.map_err(|error| located(error, &set.task.name, place))?);
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

/// The scores of some tasks whose passages are known, in one pass over the model.
///
/// # Errors
/// If the model cannot be read, memory is short, or a log-likelihood is not a number.
pub fn score(
    decoder: &Decoder,
    question_sets: &[(QuestionSet, Vec<Passage>)],
    precision: Precision,
    progress: &mut dyn FnMut(f64),
) -> Result<Vec<TaskScore>> {
    let all: Vec<Passage> = question_sets.iter().flat_map(|(_, passages)| passages.iter().cloned()).collect();
    let answers = log_likelihoods(decoder, &all, precision, progress)?;
    let mut rest = answers.as_slice();
    let scores = question_sets.iter().map(|(set, passages)| {
        let (own, others) = rest.split_at(passages.len());
        rest = others;
        TaskScore::new(set, own)
    });
    Ok(scores.collect())
}
