//! Worked values: a folder for each case, a file for each value. `tests/vectors/README.md` says where they come from.

use std::ffi::OsStr;
use std::fs::{read_dir, read_to_string};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

/// The sets, by their folders.
pub const IBKR: &str = "ibkr";
pub const RFC5849: &str = "rfc5849";
pub const SHORT_SECRETS: &str = "short-secrets";

/// All cases of a set, in the order of their names: `id`, `inputs`, `outputs`.
pub fn vectors(set: &str) -> Vec<Value> {
    let cases = entries(&folder().join(set));
    let read = |case: &PathBuf| json!({ "id": name(case.file_name()), "inputs": value(case, "inputs"), "outputs": value(case, "outputs") });
    cases.iter().map(read).collect()
}

pub fn vector(set: &str, id: &str) -> Value {
    vectors(set).into_iter().find(|vector| vector["id"] == id).unwrap_or_else(|| panic!("no vector {id}"))
}

/// Of the package, or of the one around it.
fn folder() -> PathBuf {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    packages.map(|package| package.join("tests/vectors")).find(|folder| folder.is_dir()).unwrap()
}

/// What the folder of this name holds, or the JSON file.
fn value(case: &Path, side: &str) -> Value {
    let folder = case.join(side);
    if !folder.is_dir() {
        return read(&case.join(format!("{side}.json")));
    }
    let fields = entries(&folder).into_iter().map(|file| (name(file.file_stem()), read(&file)));
    Value::Object(fields.collect::<Map<_, _>>())
}

/// Text as it is but for the last line break, or JSON.
fn read(file: &Path) -> Value {
    let text = read_to_string(file).unwrap();
    match name(file.extension()).as_str() {
        "json" => serde_json::from_str(&text).unwrap(),
        _ => text.strip_suffix('\n').unwrap().into(),
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

fn name(part: Option<&OsStr>) -> String {
    part.unwrap().to_str().unwrap().to_string()
}
