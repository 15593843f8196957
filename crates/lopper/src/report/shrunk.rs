//! A model before and after neurons, heads or blocks are taken out of it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::Result;
use crate::model::{Decoder, DecoderSpec, Serving, UnitKind, describe};
use crate::schedule::Run;

/// A model before and after neurons, heads or blocks were taken out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shrunk {
    /// Neurons of a feed-forward layer, where some went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<[usize; 2]>,
    /// Heads of keys and values of an attention, where some went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_heads: Option<[usize; 2]>,
    /// Blocks, where some went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<[usize; 2]>,
    /// Numbers in its tensors.
    pub parameters: [usize; 2],
    /// Bytes of all tensors in the files.
    pub bytes: [u64; 2],
    /// What a runtime meets.
    pub serving: [Serving; 2],
}

impl Shrunk {
    /// What a run will make of `whole`, of which `shorter` is what is left without the blocks that go; `None` if nothing disappears.
    ///
    /// # Errors
    /// If no config.json describes the result.
    pub fn foreseen(run: &Run, [whole, shorter]: [&Decoder; 2]) -> Result<Option<Self>> {
        let Some(config) = shorter.edited_config(&run.kept_units())? else { return Ok(None) };
        let checkpoint = whole.checkpoint();
        let small = describe(&checkpoint.dir().join("config.json"), &config)?;
        let of = |kind| {
            let own = run.narrowings.iter().find(|narrowing| narrowing.kind == kind);
            own.map(|narrowing| [narrowing.of, narrowing.keep])
        };
        let blocks = [whole.spec(), &small].map(|spec| spec.blocks.len());
        let left = left(shorter, &small);
        let [parameters, bytes] = [0, 1].map(|place| left.iter().map(|sizes| sizes[place]).sum::<usize>());
        Ok(Some(Self {
            width: of(UnitKind::Neuron),
            kv_heads: of(UnitKind::KvHead),
            depth: (blocks[0] != blocks[1]).then_some(blocks),
            parameters: [checkpoint.total_elements(), parameters],
            bytes: [checkpoint.total_bytes(), bytes as u64],
            serving: [whole.spec().serving(), small.serving()],
        }))
    }
}

/// Numbers and bytes of every tensor of the files that stays.
fn left(shorter: &Decoder, small: &DecoderSpec) -> Vec<[usize; 2]> {
    let (spec, checkpoint) = (shorter.spec(), shorter.checkpoint());
    let blocks = spec.blocks.iter().zip(&small.blocks).enumerate();
    let shapes: BTreeMap<String, usize> = blocks
        .flat_map(|(index, (block, narrow))| {
            let numbers = narrow.tensors.iter().map(|tensor| tensor.shape.iter().product::<usize>());
            (0..block.tensors.len()).map(move |tensor| spec.tensor_name(index, tensor)).zip(numbers)
        })
        .collect();
    let stay = checkpoint.names().filter(|name| spec.renumbered(name).is_some());
    stay.filter_map(|name| {
        let info = checkpoint.info(name)?;
        let numbers = shapes.get(name).copied().unwrap_or(info.elements());
        Some([numbers, info.bytes.len() / info.elements().max(1) * numbers])
    })
    .collect()
}
