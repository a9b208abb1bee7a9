//! The modules of the crate import one another without a circle, so that each can be read after those it stands on.
//! What the tests need, they have: no example is a library. And the library does no IO, because it does not import any.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Graph = BTreeMap<String, BTreeSet<String>>;

#[test]
fn no_module_imports_itself_by_a_detour() {
    let graph = graph(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(graph.len() > 50, "the sources were found");
    assert!(graph.values().map(BTreeSet::len).sum::<usize>() > 200, "and what they import");
    for module in graph.keys() {
        let mut way = vec![module.clone()];
        assert!(!leads_to(&graph, module, module, &mut way, &mut BTreeSet::new()), "a circle: {}", way.join(" -> "));
    }
}

/// `src/` is `no_std`: whoever wants a clock, a file, a socket, a thread or the environment must name `std`. `clippy.toml`
/// catches what could be called on the time.
#[test]
fn of_the_standard_library_only_a_lock_and_a_time_are_named() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let mut named = Vec::new();
    for file in files(&src).into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs")) {
        let text = fs::read_to_string(&file).unwrap();
        let lines = text.lines().filter(is_code).filter(|line| line.contains("std::") || line.contains("crate std"));
        named.extend(lines.map(|line| format!("{}: {}", name(&src, &file), line.trim())));
    }
    named.sort_unstable();
    assert_eq!(
        named,
        [
            "lib: extern crate std;",
            "lock: use std::sync::{PoisonError, RwLock};",
            "time: fn from(time: std::time::SystemTime) -> Self {",
            "time: impl From<UnixTime> for std::time::SystemTime {",
            "time: impl From<std::time::SystemTime> for UnixTime {",
            "time: let since_epoch = time.duration_since(std::time::UNIX_EPOCH);",
        ]
    );
}

#[test]
fn no_test_imports_an_example() {
    let is_import = |line: &&str| line.starts_with("#[path") && line.contains("examples/");
    for file in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")) {
        let text = fs::read(&file).unwrap();
        let text = String::from_utf8_lossy(&text);
        assert_eq!(text.lines().find(is_import), None, "{}", file.display());
    }
}

fn leads_to(graph: &Graph, from: &str, to: &str, way: &mut Vec<String>, seen: &mut BTreeSet<String>) -> bool {
    graph[from].iter().any(|next| {
        way.push(next.clone());
        let found = next == to || seen.insert(next.clone()) && leads_to(graph, next, to, way, seen);
        if !found {
            way.pop();
        }
        found
    })
}

/// Which module imports which: `use crate::a::b::C`, and `use super::c::D` beside it. A folder's own module and the files in
/// it are one thing to each other.
fn graph(src: &Path) -> Graph {
    let files: BTreeMap<String, PathBuf> = files(src).into_iter().map(|file| (name(src, &file), file)).collect();
    let modules: BTreeSet<&String> = files.keys().collect();
    let imports = |module: &String, file: &Path| {
        let text = fs::read_to_string(file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let uses = code.split(';').filter_map(|statement| statement.trim().rsplit_once("use ").map(|(_, path)| path));
        let paths = uses.filter_map(|path| absolute(module, path));
        let imported = paths.flat_map(|path| expanded(&path)).filter_map(|path| module_of(&modules, &path));
        imported.filter(|imported| imported != module && !is_parent(imported, module)).collect()
    };
    files.iter().map(|(module, file)| (module.clone(), imports(module, file))).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// `a::b` for `a/b.rs`, `a` for `a/mod.rs`.
fn name(src: &Path, file: &Path) -> String {
    let path = file.strip_prefix(src).unwrap().with_extension("");
    let parts: Vec<&str> = path.iter().map(|part| part.to_str().unwrap()).filter(|part| *part != "mod").collect();
    parts.join("::")
}

fn absolute(module: &str, path: &str) -> Option<String> {
    let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
    match (path.strip_prefix("crate::"), path.strip_prefix("super::")) {
        (Some(path), _) => Some(path.to_string()),
        (None, Some(path)) => Some(format!("{parent}::{path}")),
        (None, None) => None,
    }
}

/// `a::{b, c::D}` becomes `a::b` and `a::c::D`.
fn expanded(path: &str) -> Vec<String> {
    let Some((before, list)) = path.split_once('{') else { return vec![path.trim().to_string()] };
    let list = list.trim_end().trim_end_matches('}');
    list.split(',').map(|item| format!("{before}{}", item.trim())).collect()
}

/// The longest part of `path` that is a module.
fn module_of(modules: &BTreeSet<&String>, path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split("::").collect();
    let prefixes = (1..=parts.len()).rev().map(|length| parts[..length].join("::"));
    prefixes.into_iter().find(|prefix| modules.contains(prefix))
}

fn is_parent(module: &str, of: &str) -> bool {
    of.strip_prefix(module).is_some_and(|rest| rest.starts_with("::"))
}
