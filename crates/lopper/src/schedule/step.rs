//! What happens to a window, step by step, and the hidden states that each step reads and writes.

use crate::model::{BranchId, LinearId, StageId};

/// Hidden states of the calibration sequences, by what they are to the window at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// What the window reads.
    Inputs,
    /// The same some stages further on, where a window of several stages is pruned before it trains.
    Ahead,
    /// The dense model's: what stages should give.
    Dense,
    /// What the linear layer at hand reads, where layers train one by one.
    LayerInputs,
    /// The same in the dense model.
    LayerDense,
    /// What that layer should give.
    LayerTargets,
}

/// Which weights hidden states go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// Those of the checkpoint.
    Dense,
    /// As pruned and trained so far.
    Pruned,
    /// The same, as the files would hold them.
    Stored,
}

/// What trains together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trained {
    /// One linear layer.
    Linear(LinearId),
    /// Branches of consecutive stages.
    Branches(Vec<BranchId>),
}

/// One step of a window. Blocks are counted in the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Load a block.
    Load(usize),
    /// Run the dense weights of these branches of a block on `reads` and collect what the method wants to know of their inputs;
    /// what their stages give goes to `writes`.
    Calibrate {
        /// Of one block, in order.
        branches: Vec<BranchId>,
        /// What the first stage reads.
        reads: State,
        /// What the last stage gives.
        writes: Option<State>,
    },
    /// Prune and compensate the matrices of these branches.
    Prune(Vec<BranchId>),
    /// Let `to` be what `from` is.
    Copy {
        /// Stays.
        from: State,
        /// Whatever it was before is forgotten.
        to: State,
    },
    /// Move hidden states through a stage.
    Move {
        /// Which.
        state: State,
        /// Through what.
        stage: StageId,
        /// As it is where.
        weights: Weights,
    },
    /// Move hidden states through a dense block that is gone from the model.
    Pass {
        /// Which.
        state: State,
        /// The number that the files give it.
        number: usize,
    },
    /// Keep what a linear layer reads when its branch reads `from`.
    Capture {
        /// And those that read the same.
        linear: LinearId,
        /// Of its branch.
        weights: Weights,
        /// What the branch reads.
        from: State,
        /// What the layer reads.
        to: State,
    },
    /// Keep what a dense linear layer makes of `from`.
    Apply {
        /// The layer.
        linear: LinearId,
        /// What it reads.
        from: State,
        /// What it gives.
        to: State,
    },
    /// Move the kept weights of the last linear layer of a stage by least squares, so that the stage gives what blocks that are gone gave.
    StandIn {
        /// Its outputs are added to the states.
        linear: LinearId,
        /// What the stage reads.
        reads: State,
        /// What it should give.
        targets: State,
    },
    /// Let go of the dense weights of these branches, which nothing reads any more.
    Release(Vec<BranchId>),
    /// Let go of what is known of the inputs of these branches.
    ForgetStatistics(Vec<BranchId>),
    /// Train what is kept to give what the dense model gives.
    Train {
        /// What trains.
        window: Trained,
        /// What it reads.
        reads: State,
        /// What it should give.
        targets: State,
    },
    /// Round a stage to the dtype of the file: what follows is shown what the files will hold.
    Round(StageId),
    /// Let `to` be what `from` is, and forget `from`.
    Rename {
        /// Is gone.
        from: State,
        /// Whatever it was before is forgotten.
        to: State,
    },
    /// Forget hidden states.
    Forget(State),
}
