//! Which experts a token goes to, and how much each of them counts (Shazeer et al. 2017, arXiv 1701.06538).

use std::sync::Arc;

use rayon::prelude::*;

use crate::autograd::op::{Inputs, Op};
use crate::autograd::tape::{Tape, Value};
use crate::error::Result;
use crate::tensor::{Tensor, misfit};

/// What a router makes of its scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scoring {
    /// Shares of all experts.
    Softmax,
    /// Of each expert by itself (DeepSeek-V3, arXiv 2412.19437, equation 15).
    Sigmoid,
}

/// Experts in groups of as many, of which only the best groups are chosen from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    /// How many there are.
    pub count: usize,
    /// How many of them are chosen from.
    pub kept: usize,
    /// A group is as good as so many of its best experts together.
    pub best: usize,
}

/// How experts are chosen for a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Routing {
    /// How many there are.
    pub experts: usize,
    /// How many of them a token goes to.
    pub top_k: usize,
    /// What is made of the scores.
    pub scoring: Scoring,
    /// Whether the weights of a token add up to 1.
    pub normalised: bool,
    /// A factor of all weights.
    pub factor: f32,
    /// Groups of experts.
    pub groups: Option<Groups>,
}

/// Which tokens go to which experts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {
    top_k: usize,
    /// The experts of each token, best first [tokens, `top_k`].
    chosen: Vec<u32>,
    /// Of each of them, which of its tokens this is.
    places: Vec<u32>,
    /// The tokens of each expert, in order.
    reaching: Vec<Arc<[u32]>>,
}

impl Routes {
    /// From the experts of each token [tokens, `top_k`].
    pub fn new(experts: usize, top_k: usize, chosen: Vec<u32>) -> Self {
        let (mut reaching, mut places) = (vec![Vec::new(); experts], Vec::with_capacity(chosen.len()));
        for (token, experts) in chosen.chunks(top_k.max(1)).enumerate() {
            for &expert in experts {
                places.push(reaching[expert as usize].len() as u32);
                reaching[expert as usize].push(token as u32);
            }
        }
        Self { top_k, chosen, places, reaching: reaching.into_iter().map(Arc::from).collect() }
    }

    /// The tokens of an expert, in order.
    pub fn reaching(&self, expert: usize) -> &Arc<[u32]> {
        &self.reaching[expert]
    }

    /// How many experts there are.
    pub fn experts(&self) -> usize {
        self.reaching.len()
    }

    /// How many experts a token goes to.
    pub fn top_k(&self) -> usize {
        self.top_k
    }

    /// How many tokens there are.
    pub fn tokens(&self) -> usize {
        self.chosen.len() / self.top_k.max(1)
    }

    /// The experts of a token, best first.
    pub fn of(&self, token: usize) -> &[u32] {
        &self.chosen[token * self.top_k..][..self.top_k]
    }

    /// The experts of a token, and the row of each that is this token.
    pub(super) fn rows(&self, token: usize) -> impl Iterator<Item = (usize, usize)> {
        let places = &self.places[token * self.top_k..][..self.top_k];
        self.of(token).iter().zip(places).map(|(&expert, &row)| (expert as usize, row as usize))
    }
}

impl Routing {
    /// The experts of every token, by its scores [tokens, experts], to which `bias` `[experts]` is added where that is all it is for.
    /// Of equal ones the first.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn choose(&self, scores: &Tensor, bias: Option<&Tensor>) -> Result<Routes> {
        let [tokens, experts] = scores.matrix()?;
        if experts != self.experts || bias.is_some_and(|bias| bias.len() != experts) {
            return Err(misfit(format!("scores {:?} of {} experts", scores.shape(), self.experts)));
        }
        let bias = bias.map(Tensor::host);
        let of_token = |scores: &[f32]| self.choose_for(scores, bias, None);
        let chosen: Vec<Vec<u32>> = scores.host().par_chunks(experts.max(1)).map(of_token).collect();
        debug_assert_eq!(chosen.len(), tokens, "a row for every token");
        Ok(Routes::new(experts, self.top_k, chosen.concat()))
    }

    /// The experts of a token, best first, of those that are `open`; of all without it.
    pub(crate) fn choose_for(&self, scores: &[f32], bias: Option<&[f32]>, open: Option<&[bool]>) -> Vec<u32> {
        let mut by: Vec<f64> = match (self.scoring, bias, self.groups) {
            // order is all that counts
            (_, None, None) => scores.iter().copied().map(f64::from).collect(),
            _ => self.shares(scores),
        };
        if let Some(bias) = bias {
            by.iter_mut().zip(bias).for_each(|(by, &bias)| *by += f64::from(bias));
        }
        let mut open: Vec<usize> = (0..by.len()).filter(|&expert| open.is_none_or(|open| open[expert])).collect();
        if let Some(Groups { count, kept, best }) = self.groups {
            let size = by.len() / count;
            let worth = |own: Vec<usize>| own.into_iter().map(|expert| by[expert]).sum();
            let leaders = (0..count).map(|group| first(best, &by, of_group(&open, group * size..(group + 1) * size)));
            let worth: Vec<f64> = leaders.map(worth).collect();
            let kept = first(kept, &worth, (0..count).collect());
            open.retain(|&expert| kept.contains(&(expert / size)));
        }
        first(self.top_k, &by, open).into_iter().map(|expert| expert as u32).collect()
    }

    /// Experts of a token that others would be chosen without: those that it goes to, and those that a group is as good as.
    pub(crate) fn deciding(&self, scores: &[f32], bias: Option<&[f32]>, open: &[bool]) -> Vec<u32> {
        let mut deciding = self.choose_for(scores, bias, Some(open));
        if let Some(Groups { count, best, .. }) = self.groups {
            let size = scores.len() / count;
            for group in 0..count {
                let own = group * size..(group + 1) * size;
                let of_group = |numbers: &[f32]| numbers[own.clone()].to_vec();
                let alone = Self { experts: size, top_k: best, groups: None, ..*self };
                let leaders =
                    alone.choose_for(&of_group(scores), bias.map(of_group).as_deref(), Some(&open[own.clone()]));
                deciding.extend(leaders.into_iter().map(|leader| leader + own.start as u32));
            }
        }
        deciding
    }

    /// How much each of some experts of a token counts.
    pub(crate) fn weigh(&self, scores: &[f32], chosen: &[u32]) -> Vec<f64> {
        let shares = self.shares(scores);
        let factor = f64::from(self.factor) / self.divisor(&shares, chosen);
        chosen.iter().map(|&expert| shares[expert as usize] * factor).collect()
    }

    /// What makes the weights of a token add up to 1, where they are to.
    fn divisor(&self, shares: &[f64], chosen: &[u32]) -> f64 {
        let sum: f64 = chosen.iter().map(|&expert| shares[expert as usize]).sum();
        if self.normalised { sum.max(f64::MIN_POSITIVE) } else { 1.0 }
    }

    /// What the scores of a token become.
    fn shares(&self, scores: &[f32]) -> Vec<f64> {
        let scores = scores.iter().copied().map(f64::from);
        match self.scoring {
            Scoring::Sigmoid => scores.map(|score| 1.0 / (1.0 + (-score).exp())).collect(),
            Scoring::Softmax => {
                let most = scores.clone().fold(f64::NEG_INFINITY, f64::max);
                let powers: Vec<f64> = scores.map(|score| (score - most).exp()).collect();
                let sum: f64 = powers.iter().sum();
                powers.into_iter().map(|power| power / sum).collect()
            }
        }
    }
}

/// Those of some places that are within a group.
fn of_group(open: &[usize], group: std::ops::Range<usize>) -> Vec<usize> {
    open.iter().copied().filter(|expert| group.contains(expert)).collect()
}

/// So many of some places with the largest numbers, those first; of equal ones the first.
fn first(count: usize, by: &[f64], mut of: Vec<usize>) -> Vec<usize> {
    of.sort_by(|&a, &b| by[b].total_cmp(&by[a]));
    of.truncate(count);
    of
}

/// Scores → weights of the experts that were chosen.
struct Weights {
    routing: Routing,
    routes: Arc<Routes>,
}

impl Op<1> for Weights {
    type Saved = Tensor;

    fn forward(&self, [scores]: [&Tensor; 1]) -> Result<(Tensor, Tensor)> {
        let [tokens, experts] = scores.matrix()?;
        let Self { routing, routes } = self;
        if (tokens, experts) != (routes.tokens(), routes.experts()) {
            return Err(misfit(format!("scores {:?} are not those of the routes", scores.shape())));
        }
        let top_k = routes.top_k();
        let mut weights = Vec::with_capacity(tokens * top_k);
        for (token, scores) in scores.host().chunks(experts).enumerate() {
            weights.extend(routing.weigh(scores, routes.of(token)).into_iter().map(|weight| weight as f32));
        }
        Ok((Tensor::new([tokens, top_k], weights), scores.clone()))
    }

    fn backward(self, scores: Tensor, dy: Tensor, inputs: &mut Inputs) {
        let Self { routing, routes } = self;
        let (experts, top_k) = (routes.experts(), routes.top_k());
        inputs.with(0, |dx, accumulate| {
            if !accumulate {
                dx.fill(0.0);
            }
            let rows = dx.chunks_mut(experts).zip(scores.host().chunks(experts)).zip(dy.host().chunks(top_k));
            for (token, ((dx, scores), dy)) in rows.enumerate() {
                let (shares, chosen) = (routing.shares(scores), routes.of(token));
                let mut d_shares = vec![0.0; experts];
                let divisor = routing.divisor(&shares, chosen);
                let factor = f64::from(routing.factor) / divisor;
                let gained =
                    chosen.iter().zip(dy).map(|(&expert, &dy)| f64::from(dy) * shares[expert as usize] / divisor);
                let mean: f64 = if routing.normalised { gained.sum() } else { 0.0 };
                for (&expert, &dy) in chosen.iter().zip(dy) {
                    d_shares[expert as usize] = factor * (f64::from(dy) - mean);
                }
                let along: f64 = match routing.scoring {
                    Scoring::Softmax => shares.iter().zip(&d_shares).map(|(share, d)| share * d).sum(),
                    Scoring::Sigmoid => 0.0,
                };
                for ((dx, share), d) in dx.iter_mut().zip(shares).zip(d_shares) {
                    *dx += match routing.scoring {
                        Scoring::Softmax => share * (d - along),
                        Scoring::Sigmoid => share * (1.0 - share) * d,
                    } as f32;
                }
            }
        });
    }
}

impl Tape {
    /// Scores [tokens, experts] → weights of the experts of every token [tokens, `top_k`].
    ///
    /// # Errors
    /// If the routes are not of these tokens and experts.
    pub fn route(&mut self, routing: &Routing, routes: &Arc<Routes>, scores: &Value) -> Result<Value> {
        self.apply(Weights { routing: *routing, routes: routes.clone() }, [scores])
    }
}

#[cfg(test)]
mod tests {
    use super::{Groups, Routes, Routing, Scoring};
    use crate::tensor::Tensor;

    const PLAIN: Routing =
        Routing { experts: 6, top_k: 2, scoring: Scoring::Sigmoid, normalised: false, factor: 1.0, groups: None };

    #[test]
    fn the_best_are_chosen_of_equal_ones_the_first() {
        let scores = Tensor::new([2, 6], vec![0.1, 0.9, 0.3, 0.9, 0.9, 0.0, -3.0, -1.0, -2.0, -1.5, -4.0, -1.0]);
        let routes = PLAIN.choose(&scores, None).expect("fits");
        assert_eq!([routes.of(0), routes.of(1)], [[1, 3], [1, 5]]);
        assert_eq!((&**routes.reaching(1), &**routes.reaching(5)), (&[0, 1][..], &[1][..]));
        assert_eq!(routes.rows(1).collect::<Vec<_>>(), [(1, 1), (5, 0)]);
        // what is added counts where experts are chosen
        let bias = Tensor::new([6], vec![0.0, -1.0, 0.0, 0.0, 0.0, 0.9]);
        let routes = PLAIN.choose(&scores, Some(&bias)).expect("fits");
        assert_eq!([routes.of(0), routes.of(1)], [[5, 3], [5, 3]]);
    }

    #[test]
    fn only_the_best_groups_are_chosen_from() {
        let scores = Tensor::new([1, 6], vec![5.0, -9.0, 2.0, 2.5, 1.0, 1.5]);
        let of = |best: usize, kept: usize| {
            let groups = Some(Groups { count: 3, kept, best });
            Routing { groups, ..PLAIN }.choose(&scores, None).expect("fits").of(0).to_vec()
        };
        // by its best expert the first group wins, by both together the second
        assert_eq!((of(1, 1), of(2, 1), of(2, 2)), (vec![0, 1], vec![3, 2], vec![3, 2]));
    }

    #[test]
    fn scores_that_are_no_numbers_send_tokens_somewhere() {
        let scores = Tensor::new([1, 6], vec![f32::NAN, f32::NEG_INFINITY, f32::NAN, f32::NAN, f32::NAN, f32::NAN]);
        assert_eq!(PLAIN.choose(&scores, None).expect("fits").of(0).len(), 2);
    }

    #[test]
    fn scores_of_other_experts_are_refused() {
        assert!(PLAIN.choose(&Tensor::new([1, 5], vec![0.0; 5]), None).is_err());
        assert_eq!(Routes::new(3, 1, vec![2, 0]).tokens(), 2);
    }
}
