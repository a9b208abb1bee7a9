//! Files with secrets: read into memory that is wiped, written whole or not at all.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::{Builder, NamedTempFile};
use zeroize::Zeroizing;

/// Bytes that a file of unknown size, such as a pipe, is expected to have at most.
const EXPECTED_SIZE: u64 = 64 * 1024;
/// Letters and digits in the middle of a temporary file's name, and how the name ends.
const RANDOM_LENGTH: usize = 12;
const SUFFIX: &str = ".ibkr-oauth.tmp";
/// A temporary file of this age was left over by a program that was killed: others need milliseconds.
const LEFT_OVER_AGE: Duration = Duration::from_secs(60);

/// The bytes of a file.
pub fn read_secret(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len().max(EXPECTED_SIZE);
    // One buffer, large enough from the start: one that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(size).map_err(io::Error::other)? + 1));
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes a new file that only its owner may read; there must be none of that name.
pub fn write_new(path: &Path, content: &str) -> io::Result<()> {
    let mut temporary = temporary_beside(path)?;
    let dir = Dir::of(path)?;
    temporary.write_all(content.as_bytes())?;
    temporary.as_file().sync_all()?;
    temporary.persist_noclobber(path)?;
    dir.sync()
}

/// Puts `content` in the place of what is in the file, if there is one.
///
/// Whatever happens meanwhile, the file has its old content or the new one, and the new one once this returns. A symbolic
/// link stays, and what it leads to is replaced. Owner and mode stay; a new file is for its owner only.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut replacement = Replacement::begin(path)?;
    replacement.write(content)?;
    replacement.commit()
}

/// Replaces a file by itself, with `room` for more bytes on the way: if that can be done, [`replace`] can.
pub fn try_replacing(path: &Path, room: usize) -> io::Result<()> {
    let content = read_secret(path)?;
    let mut replacement = Replacement::begin(path)?;
    replacement.write(&vec![0; content.len() + room])?;
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

/// A new directory for its owner only, under the system's own for such things.
pub fn fresh_dir(name: &str) -> io::Result<PathBuf> {
    Ok(Builder::new().prefix(&format!("{name}-")).tempdir()?.keep())
}
