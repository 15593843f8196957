//! Which device computes.

use candle_core::Device;

use crate::error::{Error, Result};

/// `cpu`, `cuda`, `cuda:N` or `metal`.
///
/// # Errors
/// If the name is unknown, this build has no support for it, or the device does not answer.
pub fn open(name: &str) -> Result<Device> {
    let (kind, index) = name.split_once(':').unwrap_or((name, "0"));
    let index: usize = index.parse().map_err(|_| unknown(name))?;
    let device = match kind {
        "cpu" => Ok(Device::Cpu),
        "cuda" => Device::new_cuda(index),
        "metal" => Device::new_metal(index),
        _ => return Err(unknown(name)),
    };
    device.map_err(|error| Error::Plan {
        problem: format!("device {name:?} cannot be used: {error}"),
        hint: Some(format!("build with `cargo build --release --features {kind}`, or use --device cpu")),
    })
}

fn unknown(name: &str) -> Error {
    Error::Plan {
        problem: format!("there is no device {name:?}"),
        hint: Some("known: cpu, cuda, cuda:N, metal".into()),
    }
}
