//! Bytes by phase: what is alive at one time in the code of each stage.

use serde::Serialize;

use super::steps::{Alive, gram};
use super::{Sizes, Texts};
use crate::calibration::{AT_ONCE, Needs};
use crate::checkpoint::PIECE;
use crate::evaluation::{BATCH_ROWS, HEAD_BATCHES, group_bytes};
use crate::method::SLAB;
use crate::model::{BranchId, HEAD_ROWS, HEAD_TOKENS, LinearSpec};
use crate::plan::{ExpertTokens, RetrainingObjective};
use crate::schedule::{Step, batch};

/// Bytes of an f32.
pub(super) const F32: u64 = 4;
/// The program itself, its threads and a tokenizer, in bytes.
const PROGRAM: u64 = 32 << 20;
/// What a tokenizer takes per byte of a text that it is given whole (measured: 112), and leaves in the allocator.
const TOKENIZER_BYTES: u64 = 112;
/// One part in so many of everything else is lost between the allocator's blocks (measured: 0.12 to 0.15).
const ALLOCATOR_SHARE: u64 = 8;

/// Something that takes memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// What it is, for people.
    pub name: &'static str,
    /// Bytes.
    pub bytes: u64,
}

/// What is in memory at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Phase {
    /// What happens then, for people.
    pub name: &'static str,
    /// What it needs.
    pub items: Vec<Item>,
}

impl Phase {
    /// Bytes of everything together.
    pub fn bytes(&self) -> u64 {
        self.items.iter().map(|item| item.bytes).sum()
    }

    /// Adds what is there in every phase, and leaves out what takes nothing.
    fn with_surroundings(mut self, tokenised: u64) -> Self {
        self.items.push(Item { name: "lost between blocks of the allocator", bytes: self.bytes() / ALLOCATOR_SHARE });
        self.items.push(Item { name: "the program, its threads, the tokenizer", bytes: PROGRAM });
        // one is read while one is read ahead
        self.items.push(Item { name: "pieces of the files", bytes: 2 * PIECE as u64 });
        self.items.push(Item { name: "what the tokenizer makes of text", bytes: TOKENIZER_BYTES * tokenised });
        self.items.retain(|item| item.bytes > 0);
        self
    }
}

/// The phases of pruning a block.
const CALIBRATING: &str = "calibrating a block";
const SOLVING: &str = "choosing and compensating in a block";
const TRAINING: &str = "training a window";

impl Sizes<'_> {
    /// Hidden states of the calibration sequences, or what of them is on its way from the disk.
    pub(super) fn states(&self, bytes: u64) -> Item {
        if !self.on_disk {
            return Item { name: "hidden states of the calibration windows", bytes };
        }
        let row = self.spec.hidden as u64 * self.plan.compute.hidden_states.bytes();
        let moving = (self.batch_tokens() * row).min(self.stream()).min(bytes);
        Item { name: "hidden states on their way from the disk", bytes: moving }
    }

    /// Bytes of so many numbers per token of the calibration sequences.
    fn per_token(&self, numbers: usize) -> u64 {
        (self.tokens()[0] * numbers) as u64 * self.plan.compute.hidden_states.bytes()
    }

    /// Bytes of the states between two blocks.
    pub(super) fn stream(&self) -> u64 {
        self.per_token(self.spec.hidden)
    }

    /// Bytes that wait on the disk; a stream that moves on is there twice for a while.
    pub(super) fn scratch(&self) -> u64 {
        let mut most = 0;
        self.walk(|alive, _| most = most.max(alive.states().into_iter().map(|numbers| self.per_token(numbers)).sum()));
        most.max(self.retraining_streams()) + self.stream() + self.copies()
    }

    /// Shows what is alive at every step of every window.
    fn walk(&self, mut see: impl FnMut(&Alive, &Step)) {
        let mut alive = Alive::new(self);
        for window in self.schedule.windows() {
            for step in self.schedule.steps(window) {
                alive.step(&step, self);
                see(&alive, &step);
            }
            alive.end_window();
        }
    }

    /// A pass over the dense model: one stream of the sequences that train, a block, and its scores.
    fn surveying(&self, needs: Needs) -> Phase {
        let bytes = self.plan.compute.hidden_states.bytes();
        let numbers = (self.tokens()[1] * self.spec.hidden) as u64;
        let states = if needs == Needs::Nothing { 0 } else { numbers * bytes };
        let activations = self.most(|_, branch| branch.program.numbers_forward() as u64) * self.batch_tokens() * F32;
        let weights = self.spec.block_weights() as u64;
        let grams = self.spec.blocks.iter().map(|block| {
            let branches = block.stages.iter().flat_map(|stage| &stage.branches);
            branches.flat_map(|branch| block.inputs_of(branch)).map(|n| gram(n, needs)).sum::<u64>()
        });
        let items = vec![
            self.states(states),
            Item { name: "one block", bytes: weights * F32 },
            Item { name: "scores of a block", bytes: weights * F32 },
            Item { name: "activations of one batch", bytes: activations.max(self.inverting(needs)) },
            Item { name: "Gram matrices of the inputs at hand", bytes: grams.max().unwrap_or(0) },
        ];
        Phase { name: "surveying the dense model", items }
    }

    /// The widest Hessian, factorised and inverted in f64; one input after another.
    fn inverting(&self, needs: Needs) -> u64 {
        let widest = self.most(|block, branch| block.inputs_of(branch).into_iter().max().unwrap_or(0)) as u64;
        if needs == Needs::InverseHessian { 2 * widest * widest * 8 } else { 0 }
    }

    /// Tokens of a forward pass.
    pub(super) fn batch_tokens(&self) -> u64 {
        (AT_ONCE * self.seqlen * batch(self.seqlen)) as u64
    }

    pub(super) fn phases(&self, texts: Texts) -> Vec<Phase> {
        let mut phases = vec![Phase {
            name: "reading the texts",
            items: vec![Item { name: "text to take windows from", bytes: texts.kept_bytes }],
        }];
        phases.extend(self.plan.shrink.depth.map(|_| self.measuring()));
        phases.extend(self.plan.shrink.experts.map(|_| self.comparing()));
        phases.extend(self.schedule.survey.map(|needs| self.surveying(needs)));
        phases.extend(self.compressing());
        if self.plan.retraining.objective != RetrainingObjective::None {
            phases.push(Phase { name: "training the whole model", items: self.retraining() });
        }
        if texts.scored_tokens > 0 {
            let states = self.scored_states(texts.scored_tokens);
            phases.push(Phase {
                name: "scoring: the blocks",
                items: [vec![states.clone()], self.scoring_blocks(texts.scored_tokens)].concat(),
            });
            phases.push(Phase {
                name: "scoring: the head",
                items: [vec![states], self.scoring_head(texts.scored_tokens)].concat(),
            });
        }
        phases.into_iter().map(|phase| phase.with_surroundings(texts.tokenised_bytes)).collect()
    }

    /// The phases of pruning: of each, the step that takes most.
    fn compressing(&self) -> Vec<Phase> {
        let mut phases: Vec<Phase> = Vec::new();
        self.walk(|alive, step| {
            let (name, own) = match step {
                _ if self.run.is_idle(step) => return,
                Step::Calibrate { branches, .. } if self.schedule.needs != Needs::Nothing => {
                    (CALIBRATING, self.calibrating(branches))
                }
                Step::Prune(branches) => (SOLVING, self.solving(branches)),
                Step::Train { window, .. } => (TRAINING, self.training(window)),
                _ => return,
            };
            let phase = Phase { name, items: [self.held(alive), own].concat() };
            match phases.iter_mut().find(|known| known.name == name) {
                Some(known) if known.bytes() >= phase.bytes() => {}
                Some(known) => *known = phase,
                None => phases.push(phase),
            }
        });
        phases
    }

    /// What all steps of a window hold.
    fn held(&self, alive: &Alive) -> Vec<Item> {
        let [states, of_layer] = alive.states().map(|numbers| self.per_token(numbers));
        let name = match alive.shape() {
            (false, 1) => "one block with its masks",
            (true, 1) => "one block, dense and pruned, with its masks",
            _ => "blocks of a window with their masks",
        };
        vec![
            self.states(states),
            Item { name, bytes: alive.weights(self) },
            Item { name: "Gram matrices of the inputs at hand", bytes: alive.statistics(self) },
            Item { name: "inputs and targets of a matrix", bytes: if self.on_disk { 0 } else { of_layer } },
        ]
    }

    /// A forward pass over one batch with the inputs that are shown, and the f32 sums of the Gram matrices at hand.
    fn calibrating(&self, branches: &[BranchId]) -> Vec<Item> {
        let of = |branch: &BranchId| {
            let spec = &self.spec.blocks[branch.at.block];
            let branch = spec.branch(*branch);
            (branch.program.numbers_forward(), spec.numbers_read(branch), spec.inputs_of(branch))
        };
        let branches: Vec<(usize, usize, Vec<usize>)> = branches.iter().map(of).collect();
        let seen: usize = branches.iter().map(|(_, seen, _)| seen).sum();
        let numbers = seen + branches.iter().map(|(forward, ..)| *forward).max().unwrap_or(0);
        let sums: u64 = branches.iter().flat_map(|(.., inputs)| inputs).map(|&n| (n * n) as u64 * F32).sum();
        let sums = sums * if self.run.judges { 2 } else { 1 };
        // those of every token are there beside those of the tokens that were sent
        let again = self.plan.calibration.expert_tokens == ExpertTokens::All;
        let sums = sums * if again { 2 } else { 1 };
        let activations = numbers as u64 * self.batch_tokens() * F32;
        vec![
            Item { name: "activations of one batch", bytes: activations.max(self.inverting(self.schedule.needs)) },
            Item {
                name: "sums of Gram matrices in progress",
                bytes: if self.schedule.needs >= Needs::Gram { sums } else { 0 },
            },
        ]
    }

    /// The workspace of the largest matrix: copies of the weight, and of the Gram matrix for a compensation.
    fn solving(&self, branches: &[BranchId]) -> Vec<Item> {
        let workspace = |linear: &LinearSpec| {
            let (weights, square) = (linear.weights() as u64, (linear.shape[1] * linear.shape[1]) as u64);
            match self.schedule.needs {
                Needs::Gram | Needs::InverseHessian => {
                    let slab = weights.min(SLAB as u64);
                    // a solver's vectors; then a candidate, the masked weight, their differences from the weight, and an image
                    let (solving, judging) = (square + 4 * slab + 2 * weights, square + 4 * weights + slab);
                    // where γ is looked for, both at once, and the best so far
                    let solving = if self.run.judges { solving + square + weights } else { solving };
                    let walking = match (self.schedule.needs, !self.run.narrowings.is_empty()) {
                        (Needs::Gram, _) => 0,
                        (_, false) => 2 * square + 5 * weights,
                        // the inverse and the weight in f64 while units are chosen
                        (_, true) => 3 * square + 2 * weights,
                    };
                    weights + F32 * solving.max(judging).max(walking)
                }
                Needs::Nothing | Needs::ColumnNorms => weights + F32 * 3 * weights,
            }
        };
        let of = |branch: &BranchId| {
            let spec = &self.spec.blocks[branch.at.block];
            spec.linears_of(spec.branch(*branch)).map(workspace).max().unwrap_or(0)
        };
        let bytes = branches.iter().map(of).max().unwrap_or(0);
        vec![Item { name: "workspace for the largest matrix", bytes }]
    }

    /// Hidden states of a group of windows.
    fn scored_states(&self, scored_tokens: usize) -> Item {
        let (length, row) = (self.plan.evaluation_seqlen(self.spec) as u64, self.spec.hidden as u64 * F32);
        let bytes = (group_bytes(self.spec) as u64).max(length * row).min(scored_tokens as u64 * row);
        Item { name: "hidden states of a group of windows", bytes }
    }

    /// Tokens of the windows that go through a block together.
    fn scored_batch(&self) -> usize {
        self.plan.evaluation_seqlen(self.spec).max(BATCH_ROWS)
    }

    fn scoring_blocks(&self, scored_tokens: usize) -> Vec<Item> {
        let rows = (AT_ONCE * self.scored_batch()).min(scored_tokens) as u64;
        let activations = self.most(|_, branch| branch.program.numbers_forward() as u64);
        vec![
            // the dense model is scored too
            Item { name: "one block", bytes: self.spec.largest_block() as u64 * F32 },
            Item { name: "activations of the windows at hand", bytes: activations * rows * F32 },
        ]
    }

    fn scoring_head(&self, scored_tokens: usize) -> Vec<Item> {
        let (head, rows) = (&self.spec.head, HEAD_ROWS);
        let logits = HEAD_TOKENS * head.logits_alive();
        let (h, rows) = (self.spec.hidden, rows.min(self.spec.vocabulary));
        let together = scored_tokens.min(HEAD_BATCHES * self.scored_batch());
        let f32s = |count: usize| count as u64 * F32;
        vec![
            Item { name: "a slice of the head and its logits", bytes: f32s(rows * (head.width + logits)) },
            Item { name: "states before the head, before and after the norm", bytes: f32s(2 * together * h) },
        ]
    }
}
