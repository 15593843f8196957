//! The machine: its processor and GPUs, what the process has taken of memory, and what memory and disks could give it.

mod gpu;
mod processor;

use std::path::Path;

use serde::Serialize;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

pub use gpu::visible_gpus;
pub use processor::Processor;

/// Bytes of memory; `None` of what the system does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// What this process could take now.
    pub available: Option<u64>,
    /// What the machine has.
    pub total: Option<u64>,
    /// What the control group of this process may take, where that is less.
    pub limit: Option<u64>,
}

impl Memory {
    /// That of this machine, now.
    pub fn here() -> Self {
        let (mut system, this) = (System::new(), Pid::from_u32(std::process::id()));
        system.refresh_memory();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[this]), false, ProcessRefreshKind::nothing());
        let known = |bytes: u64| Some(bytes).filter(|&bytes| bytes > 0);
        let group = system.process(this).and_then(sysinfo::Process::cgroup_limits);
        // cached files do not count: the system takes those back
        let within = group.as_ref().map(|group| group.total_memory.saturating_sub(group.rss));
        let total = known(system.total_memory());
        let limit = group.map(|group| group.total_memory);
        Self {
            available: known(system.available_memory()).into_iter().chain(within).min(),
            total,
            limit: limit.filter(|&limit| total.is_none_or(|total| limit < total)),
        }
    }
}

/// Bytes that a disk has left for this user, at a path or, where that is not there yet, at what is nearest above it; `None` where the system
/// does not tell (Unix does).
pub fn free_space(path: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let path = std::path::absolute(path).ok()?;
        let there = path.ancestors().find(|path| path.exists())?;
        let disk = rustix::fs::statvfs(there).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// The largest resident set so far, in bytes; `None` where the system does not tell (it does on Linux).
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Begins to count [`peak_memory`] anew, where the system can (Linux can).
pub fn reset_peak_memory() {
    // where it cannot, the peak stays that of the whole process
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Bytes that this process could take now, within the limit of its control group; `None` where the system does not tell.
pub fn available_memory() -> Option<u64> {
    Memory::here().available
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::{Memory, Processor, available_memory, free_space, peak_memory};

    #[test]
    fn the_system_tells() {
        let megabyte = 1 << 20;
        assert!(available_memory().is_some_and(|bytes| bytes > 16 * megabyte));
        assert!(peak_memory().is_some_and(|bytes| bytes > megabyte));
        assert!(Memory::here().total.is_some_and(|bytes| bytes > 16 * megabyte));
        assert!(free_space(&std::env::temp_dir().join("not/there/yet")).is_some());
        let processor = Processor::here();
        assert!(processor.threads > 0 && processor.logical > 0, "{processor:?}");
    }
}
