//! Flags with values, as all programs take them. By hand, since a parser of arguments would be one more dependency of the
//! library's own tests; `ibkr-oauth-cli` uses `clap`.

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;

use super::credentials::Credentials;

/// The command line: each known flag with its value.
pub struct Arguments(BTreeMap<String, String>);

impl Arguments {
    /// The error names the flag that is unknown or has no value, and those that are known.
    pub fn parse(known: &[&str]) -> Result<Self, String> {
        let mut found = BTreeMap::new();
        let mut arguments = env::args().skip(1);
        while let Some(flag) = arguments.next() {
            if !known.contains(&flag.as_str()) {
                return Err(format!("unknown argument: {flag}; known are {}", known.join(", ")));
            }
            let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
            found.insert(flag, value);
        }
        Ok(Self(found))
    }

    pub fn get(&self, flag: &str) -> Option<&str> {
        self.0.get(flag).map(String::as_str)
    }

    /// The credentials of `--credentials FILE`, or of the file that `IBKR_CREDENTIALS` names, with `--base-url` applied.
    pub fn credentials(&self) -> Result<Option<Credentials>, String> {
        let from_environment = || env::var_os("IBKR_CREDENTIALS").map(PathBuf::from);
        let Some(file) = self.get("--credentials").map(PathBuf::from).or_else(from_environment) else {
            return Ok(None);
        };
        let unreadable = |error| format!("cannot read {}: {error}", file.display());
        let mut credentials = Credentials::read(&file).map_err(unreadable)?;
        if let Some(base_url) = self.get("--base-url") {
            credentials.base_url = base_url.to_string();
        }
        Ok(Some(credentials))
    }
}
