//! Worked values: IBKR's own published examples, and Diffie-Hellman exchanges computed independently in Python. A folder
//! for each case, a file for each value.
#![allow(clippy::disallowed_methods, reason = "tests may read files")]

use std::fs::{read_dir, read_to_string};
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::base_string::Pair;

pub(crate) fn ibkr(id: &str) -> Value {
    let case = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/ibkr")).join(id);
    json!({ "inputs": values(&case.join("inputs")), "outputs": values(&case.join("outputs")) })
}

fn values(folder: &Path) -> Map<String, Value> {
    let files = read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.map(|file| (file.file_stem().unwrap().to_str().unwrap().to_string(), value(&file))).collect()
}

/// Text as it is but for the last line break, or JSON.
fn value(file: &Path) -> Value {
    let text = read_to_string(file).unwrap();
    if file.extension().is_some_and(|kind| kind == "json") {
        return serde_json::from_str(&text).unwrap();
    }
    text.strip_suffix('\n').unwrap().into()
}

pub(crate) fn pairs(parameters: &Value) -> Vec<Pair> {
    let parameters = parameters.as_object().unwrap().iter();
    parameters.map(|(name, value)| (name.as_bytes().to_vec(), value.as_str().unwrap().as_bytes().to_vec())).collect()
}
