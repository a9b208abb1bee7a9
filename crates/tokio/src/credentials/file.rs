//! A file of credentials: JSON or TOML.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use ibkr_oauth::Secret;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Piece;
use super::error::CredentialsError;
use super::field::{Field, Source};
use crate::files::read_secret;

type Entries = BTreeMap<String, Entry>;

/// Reads the file at `path`, which `named_by` names, and the files that it names.
pub(super) fn read(path: &Path, named_by: Option<String>) -> Result<BTreeMap<Field, Piece>, CredentialsError> {
    let content = read_secret(path).map_err(|error| CredentialsError::unreadable(path.to_owned(), named_by, &error))?;
    let entries = parse(path, &content)?;
    let mut pieces = BTreeMap::new();
    for field in Field::ALL {
        if let Some(piece) = piece(path, field, &entries)? {
            pieces.insert(field, piece);
        }
    }
    Ok(pieces)
}

/// What a parser says is not passed on: it may quote a secret.
fn parse(path: &Path, content: &str) -> Result<Entries, CredentialsError> {
    let malformed = |format, line| CredentialsError::Malformed { path: path.to_owned(), format, line };
    if content.trim_start().starts_with('{') {
        return serde_json::from_str(content).map_err(|error| malformed("JSON", error.line()));
    }
    toml::from_str(content).map_err(|error| {
        let before = error.span().and_then(|span| content.get(..span.start)).unwrap_or_default();
        malformed("TOML", before.matches('\n').count().saturating_add(1))
    })
}

fn piece(path: &Path, field: Field, entries: &Entries) -> Result<Option<Piece>, CredentialsError> {
    let text_of = |key: &str| match entries.get(key) {
        None | Some(Entry::Nothing) => Ok(None),
        Some(Entry::Text(text)) => Ok(Some(text.expose().as_str())),
        Some(Entry::Other) => Err(CredentialsError::NotText { name: format!("{key} in {}", path.display()) }),
    };
    if let Some(text) = text_of(field.key())? {
        return Ok(Some(Piece::new(text, Source::Entry { path: path.to_owned(), key: field.key() })));
    }
    let key = field.file_key();
    let Some(name) = text_of(&key)? else { return Ok(None) };
    let beside = path.parent().unwrap_or(Path::new("")).join(name);
    Piece::from_file(beside, format!("{key} in {}", path.display())).map(Some)
}

/// A value in the file.
enum Entry {
    Text(Secret<String>),
    Nothing,
    Other,
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Entry, E> {
        Ok(Entry::Text(Secret::new(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Entry, E> {
        Ok(Entry::Text(Secret::new(text)))
    }

    /// The generator may be written as a number.
    fn visit_u64<E>(self, number: u64) -> Result<Entry, E> {
        Ok(Entry::Text(Secret::new(number.to_string())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Entry, E> {
        Ok(Entry::Text(Secret::new(number.to_string())))
    }

    fn visit_unit<E>(self) -> Result<Entry, E> {
        Ok(Entry::Nothing)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Entry, E> {
        Ok(Entry::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Entry, E> {
        Ok(Entry::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Entry, A::Error> {
        while values.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Entry::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut values: A) -> Result<Entry, A::Error> {
        while values.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Entry::Other)
    }
}
