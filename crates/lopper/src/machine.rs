//! Memory: what the process has taken, and what the machine could give it.

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

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
    let (mut system, this) = (System::new(), Pid::from_u32(std::process::id()));
    system.refresh_memory();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[this]), false, ProcessRefreshKind::nothing());
    let free = Some(system.available_memory()).filter(|&bytes| bytes > 0);
    let limits = system.process(this).and_then(sysinfo::Process::cgroup_limits);
    // cached files do not count: the system takes those back
    let within = limits.map(|group| group.total_memory.saturating_sub(group.rss));
    free.into_iter().chain(within).min()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::{available_memory, peak_memory};

    #[test]
    fn the_system_tells() {
        let megabyte = 1 << 20;
        assert!(available_memory().is_some_and(|bytes| bytes > 16 * megabyte));
        assert!(peak_memory().is_some_and(|bytes| bytes > megabyte));
    }
}
