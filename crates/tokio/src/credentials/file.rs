//! A file of credentials: JSON or TOML.

use std::collections::BTreeMap;
use std::path::Path;

use ibkr_oauth::{AccessToken, Secret};
use serde_json::value::RawValue;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};
use zeroize::Zeroizing;

use super::Piece;
use super::error::CredentialsError;
use super::field::{Field, Source};
use crate::files::{read_secret, replace, try_replacing};

/// Bytes that an access token and its secret add at most.
const ROOM: usize = 8 * 1024;

type Entries = BTreeMap<String, Entry>;

/// Reads the file at `path`, which `named_by` names, and the files that it names.
pub(super) fn read(path: &Path, named_by: Option<String>) -> Result<BTreeMap<Field, Piece>, CredentialsError> {
    let entries = parse(path, &content(path, named_by)?)?;
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
    if is_json(content) {
        let fields: BTreeMap<String, &RawValue> =
            serde_json::from_str(content).map_err(|error| malformed("JSON", error.line()))?;
        return Ok(fields.into_iter().map(|(key, value)| (key, Entry::from_json(value))).collect());
    }
    let table = DeTable::parse(content).map_err(|error| {
        let before = error.span().and_then(|span| content.get(..span.start)).unwrap_or_default();
        malformed("TOML", before.matches('\n').count().saturating_add(1))
    })?;
    let entry = |(key, value): (&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| {
        (key.get_ref().to_string(), Entry::from_toml(value.get_ref()))
    };
    Ok(table.get_ref().iter().map(entry).collect())
}

/// Puts an access token into the file at `path`.
pub(super) fn store_access_token(path: &Path, access_token: &AccessToken) -> Result<(), CredentialsError> {
    let content = content(path, None)?;
    let secret = access_token.secret();
    let changed = with_access_token(path, &content, access_token.token(), secret.expose())?;
    replace(path, changed.as_bytes()).map_err(|error| CredentialsError::unwritable(path, &error))
}

/// Finds out whether that can be done.
pub(super) fn try_storing(path: &Path) -> Result<(), CredentialsError> {
    let content = content(path, None)?;
    let size = with_access_token(path, &content, "", "")?.len().saturating_add(ROOM);
    try_replacing(path, content.as_bytes(), size).map_err(|error| CredentialsError::unwritable(path, &error))
}

fn content(path: &Path, named_by: Option<String>) -> Result<Zeroizing<String>, CredentialsError> {
    read_secret(path).map_err(|error| CredentialsError::unreadable(path.to_owned(), named_by, &error))
}

fn with_access_token(
    path: &Path,
    content: &str,
    token: &str,
    secret: &str,
) -> Result<Zeroizing<String>, CredentialsError> {
    let entries = parse(path, content)?;
    let added = [(Field::AccessToken, token), (Field::AccessTokenSecret, secret)];
    let changed = match is_json(content) {
        true => with_json(content, &added),
        false => with_toml(content, &entries, &added),
    };
    changed.map_err(|cause| CredentialsError::unwritable(path, &cause))
}

/// All other fields stay as they are.
fn with_json(content: &str, added: &[(Field, &str)]) -> Result<Zeroizing<String>, String> {
    let failed = |error: serde_json::Error| format!("line {} cannot be kept as it is", error.line());
    let quoted = added.iter().map(|(_, text)| quoted(text)).collect::<Result<Vec<_>, _>>()?;
    let mut fields: BTreeMap<String, &RawValue> = serde_json::from_str(content).map_err(failed)?;
    for ((field, _), text) in added.iter().zip(&quoted) {
        fields.insert(field.key().to_owned(), serde_json::from_str(text).map_err(failed)?);
    }
    // One buffer, large enough from the start: one that grows leaves copies behind.
    let mut changed = Zeroizing::new(Vec::with_capacity(content.len().saturating_mul(2).saturating_add(ROOM)));
    serde_json::to_writer_pretty(&mut *changed, &fields).map_err(failed)?;
    changed.push(b'\n');
    into_text(changed)
}

/// New keys stand before all else: what follows may belong to a table.
fn with_toml(content: &str, entries: &Entries, added: &[(Field, &str)]) -> Result<Zeroizing<String>, String> {
    let mut changed = Zeroizing::new(String::with_capacity(content.len().saturating_add(ROOM)));
    for (field, text) in added {
        if entries.contains_key(field.key()) {
            return Err(format!("it has {} already: take that out first", field.key()));
        }
        for part in [field.key(), " = ", &quoted(text)?, "\n"] {
            changed.push_str(part);
        }
    }
    changed.push_str(content);
    Ok(changed)
}

/// In quotes, as JSON and TOML have them.
fn quoted(text: &str) -> Result<Zeroizing<String>, String> {
    // Each byte becomes six at most: a buffer that grows leaves copies behind.
    let mut quoted = Zeroizing::new(Vec::with_capacity(text.len().saturating_mul(6).saturating_add(2)));
    serde_json::to_writer(&mut *quoted, text).map_err(|error| error.to_string())?;
    into_text(quoted)
}

fn into_text(mut bytes: Zeroizing<Vec<u8>>) -> Result<Zeroizing<String>, String> {
    String::from_utf8(std::mem::take(&mut *bytes)).map(Zeroizing::new).map_err(|_| "it is not text".to_owned())
}

fn is_json(content: &str) -> bool {
    content.trim_start().starts_with('{')
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

impl Entry {
    fn text(text: impl Into<String>) -> Self {
        Self::Text(Secret::new(text.into()))
    }

    /// A generator may be written as a number.
    fn from_json(value: &RawValue) -> Self {
        let json = value.get();
        match serde_json::from_str::<Option<String>>(json) {
            Ok(Some(text)) => Self::text(text),
            Ok(None) => Self::Nothing,
            // A text is never read as a number: the error would quote it.
            Err(_) => serde_json::from_str::<u32>(json).map_or(Self::Other, |number| Self::text(number.to_string())),
        }
    }

    fn from_toml(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::text(&**text),
            DeValue::Integer(number) => Self::text(number.as_str()),
            _ => Self::Other,
        }
    }
}
