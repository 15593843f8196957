//! From answers to accuracies with their standard errors.
//!
//! The standard error of a mean of n numbers is `√(Σ(x − x̄)²/(n − 1)/n)`, for an accuracy p that is √(p(1 − p)/(n − 1)); that of a
//! perplexity follows to first order from that of the mean log-likelihood.

use serde::{Deserialize, Serialize};

use super::loglikelihood::Answer;
use super::questions::QuestionSet;
use super::tasks::{Metric, Question};
use crate::linalg::mean_and_variance;

/// What a model made of a question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its place in the data, from 0.
    pub document: usize,
    /// Which choice is right.
    pub gold: usize,
    /// Σ log p of each choice, in nats.
    pub log_likelihoods: Vec<f64>,
    /// Whether greedy decoding gives it, of each choice.
    pub greedy: Vec<bool>,
    /// The choice with the largest log-likelihood, the first of equals.
    pub best: usize,
    /// The choice with the largest log-likelihood per character.
    pub best_per_character: usize,
    /// Whether the answer is right.
    pub acc: bool,
    /// Whether it is right per character.
    pub acc_norm: bool,
}

impl Record {
    fn new(document: usize, question: &Question, answers: &[Answer]) -> Self {
        let log_likelihoods: Vec<f64> = answers.iter().map(|answer| answer.log_likelihood).collect();
        let per_character = log_likelihoods.iter().zip(&question.lengths).map(|(sum, &length)| sum / length as f64);
        let (best, best_per_character) = (first_largest(log_likelihoods.iter().copied()), first_largest(per_character));
        let greedy: Vec<bool> = answers.iter().map(|answer| answer.greedy).collect();
        let single = answers.len() == 1;
        let is_right = |choice: usize| if single { greedy[0] } else { choice == question.gold };
        let (acc, acc_norm) = (is_right(best), is_right(best_per_character));
        Self { document, gold: question.gold, log_likelihoods, greedy, best, best_per_character, acc, acc_norm }
    }

    /// Whether the answer is right by this metric; `None` for a metric that is no share of right answers.
    pub fn is_right(&self, metric: Metric) -> Option<bool> {
        match metric {
            Metric::Acc => Some(self.acc),
            Metric::AccNorm => Some(self.acc_norm),
            Metric::Perplexity => None,
        }
    }
}

/// Place of the largest number, the first of equals.
fn first_largest(numbers: impl Iterator<Item = f64>) -> usize {
    let larger = |(best, largest): (usize, f64), (place, number)| {
        if number > largest { (place, number) } else { (best, largest) }
    };
    numbers.enumerate().fold((0, f64::NEG_INFINITY), larger).0
}

/// A metric of a task.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// Which.
    pub metric: Metric,
    /// Its value.
    pub value: f64,
    /// Its standard error; `None` with fewer than two questions.
    pub standard_error: Option<f64>,
}

/// What a model made of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskScore {
    /// Name of the task.
    pub task: String,
    /// Of its prompts.
    pub version: String,
    /// Questions asked.
    pub questions: usize,
    /// Questions its files hold.
    pub available: usize,
    /// Examples before each question.
    pub examples: usize,
    /// In the order of the task.
    pub metrics: Vec<Measure>,
    /// One for each question; not part of a report.
    #[serde(skip)]
    pub records: Vec<Record>,
}

impl TaskScore {
    /// Scores the answers to the questions of a task, the choices of its questions one after the other.
    pub fn new(set: &QuestionSet, mut answers: &[Answer]) -> Self {
        let mut records = Vec::with_capacity(set.questions.len());
        for (document, question) in set.questions.iter().enumerate() {
            let (own, others) = answers.split_at(question.prompts.len());
            records.push(Record::new(document, question, own));
            answers = others;
        }
        Self {
            task: set.task.name.clone(),
            version: set.task.version.clone(),
            questions: records.len(),
            available: set.available,
            examples: set.examples,
            metrics: set.task.metrics.iter().map(|&metric| Measure::of(metric, &records)).collect(),
            records,
        }
    }
}

impl Measure {
    fn of(metric: Metric, records: &[Record]) -> Self {
        let numbers: Vec<f64> = records
            .iter()
            .map(|record| match record.is_right(metric) {
                Some(right) => f64::from(u8::from(right)),
                None => record.log_likelihoods[record.gold],
            })
            .collect();
        let (mean, error) = mean_and_error(&numbers);
        match metric {
            Metric::Acc | Metric::AccNorm => Self { metric, value: mean, standard_error: error },
            Metric::Perplexity => {
                let value = (-mean).exp();
                Self { metric, value, standard_error: error.map(|error| error * value) }
            }
        }
    }
}

/// Mean and its standard error; no error with fewer than two numbers.
pub(super) fn mean_and_error(numbers: &[f64]) -> (f64, Option<f64>) {
    let (mean, variance) = mean_and_variance(numbers);
    (mean, variance.map(|variance| (variance / numbers.len() as f64).sqrt()))
}

#[cfg(test)]
mod tests {
    use super::{Measure, Record, first_largest, mean_and_error};
    use crate::evaluation::loglikelihood::Answer;
    use crate::evaluation::tasks::{Metric, Question};

    #[test]
    fn a_long_choice_wins_by_the_character() {
        let question = Question::choices("Q", &["abc", "äöüabc"], 1).expect("a question");
        let answers = [-6.0, -9.0].map(|log_likelihood| Answer { log_likelihood, greedy: false });
        let record = Record::new(0, &question, &answers);
        assert_eq!((record.best, record.best_per_character), (0, 1));
        assert_eq!((record.acc, record.acc_norm), (false, true));
        assert_eq!(first_largest([-1.0, -1.0].into_iter()), 0, "the first of equals");
    }

    #[test]
    fn a_completion_is_right_where_greedy_decoding_gives_it() {
        let question = Question::completion("Q".into(), " a".into());
        let records = [(-1.0, true), (-3.0, false)]
            .map(|(log_likelihood, greedy)| Record::new(0, &question, &[Answer { log_likelihood, greedy }]));
        assert!((Measure::of(Metric::Acc, &records).value - 0.5).abs() < 1e-15);
        let perplexity = Measure::of(Metric::Perplexity, &records);
        // mean −2, standard error √(2/1/2) = 1
        assert!((perplexity.value - 2f64.exp()).abs() < 1e-12);
        assert!((perplexity.standard_error.expect("two") - 2f64.exp()).abs() < 1e-12);
    }

    #[test]
    fn the_error_of_an_accuracy_is_the_binomial_one() {
        let (mean, error) = mean_and_error(&[1.0, 0.0, 1.0, 1.0]);
        assert!((mean - 0.75).abs() < 1e-15);
        assert!((error.expect("four") - (0.75_f64 * 0.25 / 3.0).sqrt()).abs() < 1e-15);
        assert_eq!(mean_and_error(&[1.0]).1, None);
    }
}
