//! A file imports only from layers below its own, or from its own stage.

use std::path::Path;

/// Stages from bottom to top.
const LAYERS: &[&[&str]] = &[
    &["error", "progress", "chart"],
    &["tensor"],
    &["checkpoint", "text", "linalg", "device", "machine"],
    &["sparsity", "hub"],
    &["autograd"],
    &["model"],
    &["calibration"],
    &["method"],
    &["reconstruction", "evaluation"],
    &["plan"],
    &["schedule", "report"],
    &["inspect", "explain"],
    &["prune"],
    &["study"],
];

fn layer(module: &str) -> usize {
    LAYERS.iter().position(|modules| modules.contains(&module)).unwrap_or_else(|| panic!("{module} has no layer"))
}

fn check(path: &Path, module: &str, wrong: &mut Vec<String>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).expect("source").flatten() {
            check(&entry.path(), module, wrong);
        }
        return;
    }
    let text = std::fs::read_to_string(path).expect("source");
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    for (at, _) in code.match_indices("crate::") {
        let used: String = code[at + 7..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let library = used.chars().next().is_some_and(char::is_uppercase) || used.is_empty();
        if !library && used != module && layer(&used) >= layer(module) {
            wrong.push(format!("{} uses crate::{used}", path.display()));
        }
    }
}

#[test]
fn imports_point_down() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(&source).expect("source").flatten() {
        let name = entry.file_name().to_string_lossy().trim_end_matches(".rs").to_owned();
        if name != "lib" {
            check(&entry.path(), &name, &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
