//! Which experts stay, where the plan only says how many: of every layer greedily those without which its output on the calibration text
//! changes most. (Lu et al. 2024, arXiv 2402.14800, compare the outputs for all sets of experts, of which there are too many beyond eight.)

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::expert_loss::Layer;
use super::job::Job;
use super::states::Passage;
use crate::calibration::{HiddenStates, MOST_OUTPUTS, MOST_PRODUCTS, looked_at};
use crate::error::{Error, Result};
use crate::model::{Block, BranchId, Decoder, Operation, Sequences};
use crate::plan::Plan;
use crate::progress::Event;
use crate::report::Stage;
use crate::tensor::Tensor;
use lopper_kernels::{Precision, View, product};

/// The numbers of the experts that stay, by the number of the block; of the blocks that go themselves nothing.
pub(super) fn experts(
    job: &mut Job,
    plan: &Plan,
    model: &Decoder,
    (gone, keep): (&[usize], usize),
) -> Result<BTreeMap<usize, Vec<usize>>> {
    job.observer.event(Event::Stage { name: "choosing the experts that stay" });
    let passage = Passage::new(plan, model);
    let seen = looked_at(job.samples[0].len(), plan.calibration.samples);
    let mut states = HiddenStates::embed(model, &job.samples[..seen], plan.compute.hidden_states, &job.storage)?;
    let (mut chosen, blocks) = (BTreeMap::new(), model.spec().blocks.len());
    for index in 0..blocks {
        let block = model.load_block(index)?;
        model.prefetch_block(index + 1);
        for branch in block.spec.branch_ids(index) {
            let choice = || {
                let layer = if gone.contains(&index) { None } else { layer(&block, branch, &passage, &states)? };
                Ok::<_, Error>(layer.map(|layer| layer.choose(keep)))
            };
            if let Some((kept, lost)) = job.timings.measure(Stage::Calibrate, choice)? {
                let line =
                    format!("block {index}: experts {kept:?} stay, without the others {lost:.4} of the output is lost");
                job.observer.event(Event::Detail(&line));
                chosen.insert(index, kept);
            }
            let is_last = branch.branch + 1 == block.spec.stages[branch.at.stage].branches.len();
            if is_last {
                job.timings.measure(Stage::Calibrate, || passage.stage(&mut states, &block, branch.at.stage))?;
            }
        }
        job.observer.event(Event::Progress((index + 1) as f64 / blocks as f64));
    }
    Ok(chosen)
}

/// What the experts of a branch make of the text, if it has such.
fn layer(block: &Block, branch: BranchId, passage: &Passage, states: &HiddenStates) -> Result<Option<Layer>> {
    let operations = block.spec.branch(branch).program.instructions().iter().map(|one| &one.operation);
    let route = operations.into_iter().find_map(|operation| match operation {
        Operation::Route { routing, correction } => {
            Some((*routing, correction.map(|place| block.tensors[place].clone())))
        }
        _ => None,
    });
    let Some((routing, bias)) = route else { return Ok(None) };
    let experts = routing.experts;
    let (mut layer, mut row) = (Layer { routing, bias, scores: Vec::new(), products: Vec::new() }, 0);
    let all: usize =
        (0..states.len()).map(|sequence| Ok(states.batch(&[sequence])?.0.shape()[0])).sum::<Result<usize>>()?;
    let step = all.div_ceil((MOST_PRODUCTS / (experts * experts)).max(1)).max(1);
    for sequence in 0..states.len() {
        let (x, _) = states.batch(&[sequence])?;
        let (tokens, width) = (x.shape()[0], x.width());
        // so many apart over all sequences
        let own: Vec<usize> = (0..tokens).filter(|token| (row + token).is_multiple_of(step)).collect();
        row += tokens;
        for own in own.chunks((MOST_OUTPUTS / (experts * width)).max(1)) {
            let rows = own.iter().flat_map(|&token| &x.host()[token * width..(token + 1) * width]).copied();
            let x = Tensor::new([own.len(), width], rows.collect());
            add(&mut layer, block, branch, passage, &x)?;
        }
    }
    Ok(Some(layer))
}

/// Takes the rows of a batch in.
fn add(layer: &mut Layer, block: &Block, branch: BranchId, passage: &Passage, x: &Tensor) -> Result<()> {
    let sequences = Sequences::new([x.shape()[0]]);
    let (scores, outputs) = block.experts(branch, x, passage.context(&sequences))?;
    layer.scores.extend_from_slice(scores.host());
    let of_token = |token: usize| {
        let of_expert = |output: &Tensor| output.host()[token * output.width()..(token + 1) * output.width()].to_vec();
        let rows: Vec<f32> = outputs.iter().flat_map(of_expert).collect();
        let rows = View::new(&rows, outputs.len(), rows.len() / outputs.len());
        product(rows, rows.t(), Precision::F32)
    };
    let products: Vec<Vec<f32>> = (0..x.shape()[0]).into_par_iter().map(of_token).collect();
    layer.products.extend(products.into_iter().flatten());
    Ok(())
}
