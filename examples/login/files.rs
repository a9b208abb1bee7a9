//! A file of credentials that is replaced whole or not at all. `tempfile` makes the new file and renames it; here is what
//! it leaves to others: links, owner and mode, what a power failure and a kill would do.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ibkr_oauth::AccessToken;
use serde::Serialize;
use serde_json::value::RawValue;
use tempfile::{Builder, NamedTempFile};
use zeroize::Zeroizing;

/// Bytes that an access token and its secret add to the credentials at most.
const ROOM: usize = 4096;
/// Letters and digits in the middle of a temporary file's name, and how the name ends.
const RANDOM_LENGTH: usize = 12;
const SUFFIX: &str = ".ibkr-oauth.tmp";
/// A temporary file of this age was left over by a program that was killed: others need milliseconds.
const LEFT_OVER_AGE: Duration = Duration::from_secs(60);

/// Puts the access token into the credentials at `path`. Everything else in the file stays as it is.
pub fn store(path: &Path, access_token: &AccessToken) -> io::Result<()> {
    let old = fs::read(path).map(Zeroizing::new)?;
    let secret = access_token.secret();
    let quoted = [json(ROOM, &access_token.token())?, json(ROOM, &secret.expose())?];
    let mut fields: BTreeMap<String, &RawValue> = serde_json::from_slice(&old)?;
    for (name, text) in ["access_token", "access_token_secret"].into_iter().zip(&quoted) {
        fields.insert(name.to_owned(), serde_json::from_slice(text)?);
    }
    let mut new = json(2 * old.len() + ROOM, &fields)?;
    new.push(b'\n');
    replace(path, &new)
}

/// One buffer, large enough from the start: one that grows leaves copies behind.
fn json(length: usize, value: &impl Serialize) -> serde_json::Result<Zeroizing<Vec<u8>>> {
    let mut json = Zeroizing::new(Vec::with_capacity(length));
    serde_json::to_writer_pretty(&mut *json, value)?;
    Ok(json)
}

/// Puts `content` in the place of what is in the file, if there is one.
///
/// Whatever happens meanwhile, the file has its old content or the new one, and the new one once this returns. A symbolic
/// link stays, and what it leads to is replaced. Owner and mode stay; a new file is for its owner only.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut replacement = Replacement::begin(path)?;
    replacement.write(content)?;
    replacement.commit()
}

/// Replaces a file by itself, with room for an access token on the way: if that can be done, [`store`] can.
pub fn try_replacing(path: &Path) -> io::Result<()> {
    let content = fs::read(path).map(Zeroizing::new)?;
    let mut replacement = Replacement::begin(path)?;
    replacement.write(&vec![0; content.len() + ROOM])?;
    replacement.write(&content)?;
    replacement.commit()
}

/// A file that is going to take another's place.
struct Replacement {
    temporary: NamedTempFile,
    target: PathBuf,
}

impl Replacement {
    fn begin(path: &Path) -> io::Result<Self> {
        let target = behind_links(path)?;
        let temporary = temporary_beside(&target)?;
        match fs::metadata(&target) {
            Ok(metadata) if metadata.is_file() => resemble(temporary.as_file(), &metadata)?,
            Ok(_) => return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file")),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(Self { temporary, target })
    }

    fn write(&mut self, content: &[u8]) -> io::Result<()> {
        let file = self.temporary.as_file_mut();
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(content)?;
        file.sync_all()
    }

    fn commit(self) -> io::Result<()> {
        let dir = Dir::of(&self.target)?;
        self.temporary.persist(&self.target)?;
        dir.sync()
    }
}

/// The file that `path` leads to through symbolic links, whether it exists or not.
fn behind_links(path: &Path) -> io::Result<PathBuf> {
    match path.canonicalize() {
        Err(error) if error.kind() == ErrorKind::NotFound => match path.read_link() {
            Ok(link) => behind_links(&parent(path).join(link)),
            Err(_) => Ok(path.to_owned()),
        },
        found => found,
    }
}

/// Gives `file` the owner and the mode of another.
#[cfg(unix)]
fn resemble(file: &File, other: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (other.uid(), other.gid()) {
        fchown(file, Some(other.uid()), Some(other.gid()))?;
    }
    file.set_permissions(other.permissions())
}

#[cfg(not(unix))]
fn resemble(file: &File, other: &Metadata) -> io::Result<()> {
    file.set_permissions(other.permissions())
}

/// An empty file in the directory of `path`, for its owner only. It is gone if it is not persisted, unless the program is
/// killed: what killed programs left for the same `path` is removed.
fn temporary_beside(path: &Path) -> io::Result<NamedTempFile> {
    let name = path.file_name().ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "it is no file's name"))?;
    let prefix = format!(".{}.", name.to_string_lossy());
    remove_left_over(parent(path), &prefix)?;
    Builder::new().prefix(&prefix).suffix(SUFFIX).rand_bytes(RANDOM_LENGTH).tempfile_in(parent(path))
}

fn remove_left_over(dir: &Path, prefix: &str) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| is_temporary(name, prefix)) && is_old(&entry.path()) {
            // Another program may have been faster.
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

fn is_temporary(name: &str, prefix: &str) -> bool {
    let random = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(SUFFIX));
    random.is_some_and(|random| random.len() == RANDOM_LENGTH && random.bytes().all(|b| b.is_ascii_alphanumeric()))
}

fn is_old(path: &Path) -> bool {
    let modified = path.symlink_metadata().and_then(|metadata| metadata.modified());
    modified.ok().and_then(|modified| modified.elapsed().ok()).is_some_and(|age| age > LEFT_OVER_AGE)
}

/// The directory of a file: `.` for a bare name.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A directory, whose entries are durable once it is synced. Systems other than Unix cannot do that.
struct Dir(#[cfg(unix)] File);

impl Dir {
    #[cfg(unix)]
    fn of(path: &Path) -> io::Result<Self> {
        File::open(parent(path)).map(Self)
    }

    #[cfg(unix)]
    fn sync(&self) -> io::Result<()> {
        match self.0.sync_all() {
            // Some network file systems have no such thing.
            Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
            outcome => outcome,
        }
    }

    #[cfg(not(unix))]
    fn of(_: &Path) -> io::Result<Self> {
        Ok(Self())
    }

    #[cfg(not(unix))]
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
