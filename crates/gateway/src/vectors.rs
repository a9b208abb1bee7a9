//! Worked values: IBKR's own published examples, and Diffie-Hellman exchanges computed independently in Python.

use serde_json::Value;

use crate::base_string::Pair;

pub(crate) fn ibkr(id: &str) -> Value {
    let file: Value = serde_json::from_str(include_str!("../tests/vectors/ibkr.json")).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    vectors.iter().find(|vector| vector["id"] == id).unwrap_or_else(|| panic!("no vector {id}")).clone()
}

pub(crate) fn pairs(parameters: &Value) -> Vec<Pair> {
    let parameters = parameters.as_object().unwrap().iter();
    parameters.map(|(name, value)| (name.as_bytes().to_vec(), value.as_str().unwrap().as_bytes().to_vec())).collect()
}
