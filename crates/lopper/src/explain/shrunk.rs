//! What taking neurons, heads, experts or blocks out of a model will come to.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::model::{Decoder, DecoderSpec, UnitKind};
use crate::report::Shrunk;
use crate::schedule::Run;

/// What a run will make of `whole`, of which `shorter` is what is left without the blocks and experts that go; `None` if nothing disappears.
///
/// # Errors
/// If no config.json describes the result.
pub fn shrunk(run: &Run, [whole, shorter]: [&Decoder; 2]) -> Result<Option<Shrunk>> {
    let Some(config) = shorter.edited_config(&run.kept_units())? else { return Ok(None) };
    let checkpoint = whole.checkpoint();
    let small = whole.describe(&config)?;
    let of = |kind| {
        let own = run.narrowings.iter().find(|narrowing| narrowing.kind == kind);
        own.map(|narrowing| [narrowing.of, narrowing.keep])
    };
    let blocks = [whole.spec(), &small].map(|spec| spec.blocks.len());
    let count =
        |spec: &DecoderSpec| spec.blocks.iter().find_map(|block| block.routing()).map(|routing| routing.experts);
    let count = count(whole.spec()).zip(count(&small)).map(|(before, after)| [before, after]);
    let left = left(shorter, &small, !run.narrowings.is_empty());
    let [parameters, bytes] = [0, 1].map(|place| left.iter().map(|sizes| sizes[place]).sum::<usize>());
    Ok(Some(Shrunk {
        width: of(UnitKind::Neuron),
        kv_heads: of(UnitKind::KvHead),
        experts: count.filter(|[before, after]| before != after),
        experts_kept: shorter.spec().omitted().experts,
        depth: (blocks[0] != blocks[1]).then_some(blocks),
        parameters: [checkpoint.total_elements(), parameters],
        bytes: [checkpoint.total_bytes(), bytes as u64],
        serving: [whole.spec().serving(), small.serving()],
    }))
}

/// Numbers and bytes of every tensor of the files that stays.
fn left(shorter: &Decoder, small: &DecoderSpec, narrows: bool) -> Vec<[usize; 2]> {
    let (spec, checkpoint) = (shorter.spec(), shorter.checkpoint());
    let blocks = spec.blocks.iter().zip(&small.blocks).enumerate();
    let shapes: BTreeMap<String, usize> = blocks
        .flat_map(|(index, (block, narrow))| {
            let numbers = narrow.tensors.iter().map(|tensor| tensor.shape.iter().product::<usize>());
            (0..block.tensors.len()).map(move |tensor| spec.tensor_name(index, tensor)).zip(numbers)
        })
        .collect();
    let stay = checkpoint.names().filter(|name| spec.left(name, narrows).is_some());
    stay.filter_map(|name| {
        let info = checkpoint.info(name)?;
        let numbers = shapes.get(name).copied().unwrap_or(info.elements());
        Some([numbers, info.bytes.len() / info.elements().max(1) * numbers])
    })
    .collect()
}
