//! The processor, and what the kernels use of it.

use std::num::NonZero;

use lopper_kernels::bf16_is_native;
use lopper_kernels::dispatch::Tier;
use serde::Serialize;
use sysinfo::{CpuRefreshKind, System};

/// A processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Processor {
    /// As its maker calls it; empty where the system does not tell.
    pub name: String,
    /// `x86_64`, `aarch64`.
    pub architecture: &'static str,
    /// Cores of the machine, where the system tells.
    pub cores: Option<usize>,
    /// Threads that the machine runs at once.
    pub logical: usize,
    /// How many of them this process may use: worker threads where nothing else is said.
    pub threads: usize,
    /// The instruction set that the kernels choose here.
    pub kernels: &'static str,
    /// Whether it multiplies bf16 by instructions of its own, as the kernels know it.
    pub bf16: bool,
}

impl Processor {
    /// The one that this program runs on.
    pub fn here() -> Self {
        let mut system = System::new();
        system.refresh_cpu_list(CpuRefreshKind::nothing());
        let logical = system.cpus().len().max(1);
        let name = system.cpus().first().map(|cpu| cpu.brand().trim().to_owned());
        Self {
            name: name.unwrap_or_default(),
            architecture: std::env::consts::ARCH,
            cores: System::physical_core_count(),
            logical,
            threads: std::thread::available_parallelism().map_or(logical, NonZero::get),
            kernels: match Tier::detect() {
                Tier::Avx512 => "AVX-512",
                Tier::Avx2 => "AVX2",
                Tier::Portable => "baseline",
            },
            bf16: bf16_is_native(),
        }
    }
}
