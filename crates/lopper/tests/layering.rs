//! A file imports only from layers below its own, or from its own stage; and no two files import each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Stages from bottom to top.
const LAYERS: &[&[&str]] = &[
    &["error", "progress", "chart"],
    &["tensor", "json", "machine"],
    &["checkpoint", "text", "linalg"],
    &["sparsity", "hub"],
    &["autograd"],
    &["model"],
    &["calibration"],
    &["method"],
    &["reconstruction", "evaluation"],
    &["plan"],
    &["schedule", "report"],
    &["inspect", "explain", "words"],
    &["card"],
    &["prune"],
    &["study"],
];

/// Stages whose files do not import each other.
const STRAIGHT: &[&str] = &["prune"];

fn layer(module: &str) -> usize {
    LAYERS.iter().position(|modules| modules.contains(&module)).unwrap_or_else(|| panic!("{module} has no layer"))
}

/// Modules by their paths, `prune::journal::state`, and their code.
type Modules = BTreeMap<String, String>;

/// Every file of a folder; `module` is the path of the folder.
fn read(folder: &Path, module: &str, modules: &mut Modules) {
    for entry in std::fs::read_dir(folder).expect("source").flatten() {
        let name = entry.file_name().to_string_lossy().trim_end_matches(".rs").to_owned();
        let inside = if module.is_empty() { name.clone() } else { format!("{module}::{name}") };
        if entry.path().is_dir() {
            read(&entry.path(), &inside, modules);
        } else {
            let path = if name == "mod" { module.to_owned() } else { inside };
            modules.insert(path, without_tests(&std::fs::read_to_string(entry.path()).expect("source")));
        }
    }
}

fn library() -> Modules {
    let mut modules = Modules::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut modules);
    modules.remove("lib");
    modules
}

/// The code as far as the tests that end a file.
fn without_tests(code: &str) -> String {
    let end = code.match_indices("#[cfg(test)]").find(|(at, _)| {
        let item = code[*at..].lines().nth(1).unwrap_or_default();
        item.starts_with("mod ") && item.ends_with('{')
    });
    end.map_or(code, |(at, _)| &code[..at]).to_owned()
}

/// Every path that code names: those of its imports, groups taken apart, and those that begin with `crate` or `super` elsewhere.
fn paths(code: &str) -> Vec<String> {
    let lines = code.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
    let code = lines.collect::<Vec<_>>().join("\n");
    let imports = code.match_indices("use ").filter(|(at, _)| {
        let line = &code[code[..*at].rfind('\n').map_or(0, |end| end + 1)..*at];
        line.is_empty() || (line.starts_with("pub") && line.ends_with(' '))
    });
    let trees = imports.filter_map(|(at, word)| code[at + word.len()..].split(';').next());
    let mut paths: Vec<String> = trees.flat_map(expand).collect();
    for root in ["crate::", "super::"] {
        for (at, _) in code.match_indices(root) {
            let inside = code[..at].ends_with("::") || code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let path: String =
                code[at..].chars().take_while(|&c| c.is_alphanumeric() || c == '_' || c == ':').collect();
            if !inside && !path.ends_with("::") {
                paths.push(path);
            }
        }
    }
    paths
}

/// The paths of a tree of imports: `a::{self, b::{c, d as e}}` is a, a::b::c and a::b::d.
fn expand(tree: &str) -> Vec<String> {
    let Some((root, group)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default().trim();
        return vec![path.trim_end_matches("::self").to_owned()];
    };
    let group = &group[..group.rfind('}').expect("a group ends")];
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for c in group.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if c == ',' && depth == 0 {
            parts.push(String::new());
        } else {
            parts.last_mut().expect("one at least").push(c);
        }
    }
    let named = parts.iter().filter(|part| !part.trim().is_empty());
    named.flat_map(|part| expand(&format!("{}{}", root.trim(), part.trim()))).collect()
}

/// What points up: a file, and the stage that it uses.
fn upwards(modules: &Modules) -> BTreeSet<String> {
    let mut wrong = BTreeSet::new();
    for (module, code) in modules {
        let stage = module.split("::").next().unwrap_or_default();
        for path in paths(code).iter().filter_map(|path| path.strip_prefix("crate::")) {
            let used = path.split("::").next().unwrap_or_default();
            let library = used.starts_with(char::is_uppercase);
            if !library && used != stage && layer(used) >= layer(stage) {
                wrong.insert(format!("{module} uses crate::{used}"));
            }
        }
    }
    wrong
}

/// The module that a path names something of, seen from `module`; none outside the library.
fn target(path: &str, module: &str, modules: &Modules) -> Option<String> {
    let mut place: Vec<&str> = module.split("::").collect();
    let mut words = path.split("::").peekable();
    match words.peek() {
        Some(&"crate") => {
            words.next();
            place.clear();
        }
        Some(&"self") => drop(words.next()),
        Some(&"super") => {
            while words.next_if_eq(&"super").is_some() {
                place.pop();
            }
        }
        _ => (),
    }
    place.extend(words);
    (1..=place.len()).rev().map(|length| place[..length].join("::")).find(|module| modules.contains_key(module))
}

/// What each module of a stage uses of its own stage. What the file of a folder holds for the files inside does not count.
fn uses<'a>(modules: &'a Modules, stage: &str) -> BTreeMap<&'a str, BTreeSet<String>> {
    let within = |module: &str, folder: &str| module.strip_prefix(folder).is_some_and(|rest| rest.starts_with("::"));
    let own = modules.iter().filter(|(module, _)| *module == stage || within(module, stage));
    let of = own.map(|(module, code)| {
        let used = paths(code).into_iter().filter_map(|path| target(&path, module, modules));
        (module.as_str(), used.filter(|used| used != module && !within(module, used)).collect())
    });
    of.collect()
}

/// The modules of a stage that use themselves by way of others.
fn circles(modules: &Modules, stage: &str) -> Vec<String> {
    let uses = uses(modules, stage);
    let reached = |start: &str| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![start]);
        while let Some(module) = next.pop() {
            let used = uses.get(module).into_iter().flatten().map(String::as_str);
            next.extend(used.filter(|used| seen.insert(*used)));
        }
        seen.contains(start)
    };
    uses.keys().filter(|module| reached(module)).map(|&module| module.to_owned()).collect()
}

#[test]
fn imports_point_down() {
    let wrong = upwards(&library());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_files_import_each_other() {
    let modules = library();
    let wrong: Vec<String> = STRAIGHT.iter().flat_map(|stage| circles(&modules, stage)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn modules(files: &[(&str, &str)]) -> Modules {
    files.iter().map(|(path, code)| ((*path).to_owned(), without_tests(code))).collect()
}

#[test]
fn imports_that_point_up_are_seen_in_every_form() {
    let seen = |code: &str| upwards(&modules(&[("model::block", code)])).len();
    for code in [
        "use crate::prune;",
        "pub use crate::prune::job::Job as Other;",
        "use crate::{\n    error::{Error, Result},\n    prune::{self, job::Job},\n};",
        "pub(crate) use crate::{tensor::Tensor, study};",
        "fn f(_: &crate::plan::Plan) {}",
        "#[cfg(test)]\nmod tests;\nuse crate::plan;",
    ] {
        assert_eq!(seen(code), 1, "{code}");
    }
    for code in [
        "use crate::{autograd::{Tape, Value}, error::Result};",
        "use crate::model::Block;",
        "//! Beside [`crate::prune`].\nuse crate::Error;",
        "use super::prune;",
        "#[cfg(test)]\nmod tests {\n    use crate::plan::Plan;\n}",
    ] {
        assert_eq!(seen(code), 0, "{code}");
    }
}

#[test]
fn circles_are_seen_in_every_form() {
    let of = |files: &[(&str, &str)]| circles(&modules(files), "prune");
    let folder = ("prune", "mod a;\nmod b;\nuse a::A;\npub const LIMIT: usize = 1;");
    let circle = [folder, ("prune::a", "use super::{LIMIT, b::{self, B}};"), ("prune::b", "use super::a::A;")];
    assert_eq!(of(&circle), ["prune::a", "prune::b"]);
    let inline = [("prune::a", "fn f(b: &super::b::B) {}"), ("prune::b", "use crate::prune::{a, job::Job};")];
    assert_eq!(of(&inline), ["prune::a", "prune::b"]);
    let far = [
        ("prune::a", "use super::b::B;"),
        ("prune::b", "use super::journal::Journal;"),
        ("prune::journal", "mod state;\nuse state::State;"),
        ("prune::journal::state", "use super::super::a::A;"),
        ("prune::outside", "use super::a::A;"),
    ];
    assert_eq!(of(&far), ["prune::a", "prune::b", "prune::journal", "prune::journal::state"]);
    let outside = [folder, ("prune::a", "use crate::plan::{self, Plan};"), ("prune::b", "use super::a::A;")];
    assert!(of(&outside).is_empty());
    let straight = [folder, ("prune::a", "use super::LIMIT;\nuse super::b::B;"), ("prune::b", "use super::LIMIT;")];
    assert!(of(&straight).is_empty());
}

#[test]
fn the_family_that_architecture_shows_is_the_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let [text, family] = ["../../ARCHITECTURE.md", "src/model/families/qwen3.rs"]
        .map(|name| std::fs::read_to_string(root.join(name)).expect(name));
    assert!(text.contains(&family), "ARCHITECTURE.md shows another families/qwen3.rs");
}
