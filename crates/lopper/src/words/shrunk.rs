//! What taking neurons, heads, experts and blocks out of a model comes to, in words.

use super::units;
use crate::model::Serving;
use crate::report::Shrunk;

/// What taking neurons, heads, experts and blocks out came to.
pub fn size(Shrunk { width, kv_heads, experts, depth, parameters, bytes, .. }: &Shrunk, gone: &[usize]) -> String {
    let mut size = format!(
        "{} → {} parameters, {} → {}",
        units::magnitude(parameters[0]),
        units::magnitude(parameters[1]),
        units::bytes(bytes[0]),
        units::bytes(bytes[1]),
    );
    if let Some([before, after]) = depth {
        size += &format!("; {before} → {after} blocks");
        if !gone.is_empty() {
            size += &format!(" (without {})", units::ranges(gone));
        }
    }
    if let Some([before, after]) = width {
        size += &format!("; feed-forward layers of {} → {} neurons", units::count(*before), units::count(*after));
    }
    if let Some([before, after]) = kv_heads {
        size += &format!("; attention of {before} → {after} key/value heads");
    }
    if let Some([before, after]) = experts {
        size += &format!("; {before} → {after} experts");
    }
    size
}

/// What that means for whatever runs the model.
pub fn serving(Shrunk { serving: [before, after], .. }: &Shrunk) -> String {
    let of = |what: &dyn Fn(&Serving) -> String| {
        let [before, after] = [before, after].map(what);
        if before == after { before } else { format!("{before} → {after}") }
    };
    format!(
        "{} of keys and values and {} per token; tensor parallelism over {} devices; {} of the weights in rows that k-quants take",
        of(&|serving| units::bytes(serving.cache_bytes as u64)),
        of(&|serving| units::flops(serving.flops)),
        of(&|serving| serving.tensor_parallel.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
        of(&|serving| units::percent(serving.k_quants)),
    )
}
