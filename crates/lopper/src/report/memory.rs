//! How much memory the process has taken.

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
