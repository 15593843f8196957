//! GPUs that can be seen from here. Nothing is computed on them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Makers of GPUs that people compute on, by their numbers on the PCI bus.
const MAKERS: [(&str, &str); 2] = [("0x1002", "AMD"), ("0x10de", "NVIDIA")];

/// Names of the GPUs that the system shows this process; of some only the maker is known. None where the system is not Linux.
pub fn visible_gpus() -> Vec<String> {
    of_system(Path::new("/"))
}

fn of_system(root: &Path) -> Vec<String> {
    let named: Vec<String> = entries(&root.join("proc/driver/nvidia/gpus"))
        .iter()
        .filter_map(|path| fs::read_to_string(path.join("information")).ok())
        .filter_map(|text| text.lines().find_map(|line| Some(line.strip_prefix("Model:")?.trim().to_owned())))
        .collect();
    let mut makers: BTreeMap<&str, usize> = BTreeMap::new();
    for path in entries(&root.join("sys/class/drm")) {
        // card0, and not card0-DP-1 or renderD128
        let number = path.file_name().and_then(|name| name.to_str()?.strip_prefix("card")?.parse::<u32>().ok());
        let vendor = number.and_then(|_| fs::read_to_string(path.join("device/vendor")).ok());
        let maker = vendor.and_then(|vendor| MAKERS.iter().find(|(number, _)| vendor.trim() == *number));
        if let Some((_, maker)) = maker {
            *makers.entry(*maker).or_default() += 1;
        }
    }
    let known = |maker: &str| named.iter().any(|name| name.starts_with(maker));
    let others = makers.into_iter().filter(|(maker, _)| !known(maker));
    let others = others.flat_map(|(maker, count)| vec![format!("{maker} GPU"); count]);
    named.iter().cloned().chain(others).collect()
}

/// Paths in a directory, in order; none where it is not there.
fn entries(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::of_system;

    #[test]
    fn gpus_are_told_by_name_or_maker() {
        let root = tempfile::tempdir().expect("directory");
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
            std::fs::write(path, text).expect("written");
        };
        assert!(of_system(root.path()).is_empty());
        write("sys/class/drm/card0/device/vendor", "0x1a03\n");
        write("sys/class/drm/card1/device/vendor", "0x1002\n");
        write("sys/class/drm/card1-DP-1/device/vendor", "0x1002\n");
        write("sys/class/drm/card2/device/vendor", "0x10de\n");
        assert_eq!(of_system(root.path()), ["AMD GPU", "NVIDIA GPU"]);
        write("proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: \t\t NVIDIA A100\nIRQ: 1\n");
        assert_eq!(of_system(root.path()), ["NVIDIA A100", "AMD GPU"]);
    }
}
