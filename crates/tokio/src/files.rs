//! Files with secrets: read into memory that is wiped, written whole or not at all, locked between processes.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fd_lock::RwLock;
use tempfile::{Builder, NamedTempFile};
use zeroize::Zeroizing;

/// Bytes that a file of unknown size, such as a pipe, is expected to have at most.
const EXPECTED_SIZE: u64 = 64 * 1024;
/// No file that is read here is larger.
const MAX_SIZE: u64 = 1024 * 1024;
/// Letters and digits in the middle of a temporary file's name, and how the name ends.
const RANDOM_LENGTH: usize = 12;
const SUFFIX: &str = ".ibkr-oauth.tmp";
/// A temporary file of this age was left over by a program that was killed: others need milliseconds.
const LEFT_OVER_AGE: Duration = Duration::from_secs(60);

/// Reads a file of text.
pub(crate) fn read_secret(path: &Path) -> io::Result<Zeroizing<String>> {
    let file = File::open(path)?;
    let size = file.metadata()?.len().max(EXPECTED_SIZE);
    if size > MAX_SIZE {
        return Err(io::Error::new(ErrorKind::FileTooLarge, "it is larger than a megabyte"));
    }
    // One buffer, large enough from the start: one that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or_default().saturating_add(1)));
    file.take(MAX_SIZE).read_to_end(&mut bytes)?;
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            Err(io::Error::new(ErrorKind::InvalidData, "it is not text"))
        }
    }
}

/// Puts `content` in the place of what is in the file, if there is one.
///
/// Whatever happens meanwhile, the file has its old content or the new one, and the new one once this returns. A symbolic
/// link stays, and what it leads to is replaced. Owner and mode stay, but nobody outside its group may read it; a new file is
/// for its owner only.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let target = behind_links(path)?;
    let mut temporary = temporary_beside(&target)?;
    match fs::metadata(&target) {
        Ok(metadata) if metadata.is_file() => resemble(temporary.as_file(), &metadata)?,
        Ok(_) => return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file")),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    temporary.write_all(content)?;
    temporary.as_file().sync_all()?;
    let folder = open_folder(parent(&target))?;
    temporary.persist(&target)?;
    sync_folder(folder)
}

/// Finds out whether a file can be replaced by one of `size` bytes: one of that size is made beside it, and then the file is
/// replaced by itself. `content` is what is in it.
pub(crate) fn try_replacing(path: &Path, content: &[u8], size: usize) -> io::Result<()> {
    let mut trial = temporary_beside(&behind_links(path)?)?;
    trial.write_all(&vec![0; size])?;
    trial.as_file().sync_all()?;
    drop(trial);
    replace(path, content)
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

/// Gives `file` the owner and the mode of another, but for what anybody may do.
#[cfg(unix)]
fn resemble(file: &File, other: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (other.uid(), other.gid()) {
        fchown(file, Some(other.uid()), Some(other.gid()))?;
    }
    file.set_permissions(fs::Permissions::from_mode(other.mode() & 0o770))
}

#[cfg(not(unix))]
fn resemble(file: &File, other: &Metadata) -> io::Result<()> {
    file.set_permissions(other.permissions())
}

/// An empty file in the folder of `path`, for its owner only. It is gone if it is not persisted, unless the program is
/// killed: what killed programs left for the same `path` is removed.
fn temporary_beside(path: &Path) -> io::Result<NamedTempFile> {
    let name = path.file_name().ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "it is no file's name"))?;
    let prefix = format!(".{}.", name.to_string_lossy());
    remove_left_over(parent(path), &prefix)?;
    Builder::new().prefix(&prefix).suffix(SUFFIX).rand_bytes(RANDOM_LENGTH).tempfile_in(parent(path))
}

fn remove_left_over(folder: &Path, prefix: &str) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
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

/// The folder of a file: `.` for a bare name.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A folder's entries are durable once it is synced. Systems other than Unix cannot do that.
fn open_folder(path: &Path) -> io::Result<Option<File>> {
    if cfg!(unix) { File::open(path).map(Some) } else { Ok(None) }
}

fn sync_folder(folder: Option<File>) -> io::Result<()> {
    match folder.map(|folder| folder.sync_all()) {
        // Some network file systems have no such thing.
        Some(Err(error)) if !matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Err(error),
        _ => Ok(()),
    }
}

/// Makes a folder that only its owner may enter, unless it is there already.
pub(crate) fn make_private_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// A lock between processes. It is let go when this is dropped, or the process ends.
pub(crate) struct FileLock {
    _file: RwLock<File>,
}

impl FileLock {
    /// Takes the lock; `None` if it is somebody else's. Its file is made if there is none, for its owner only.
    pub(crate) fn try_new(path: &Path) -> io::Result<Option<Self>> {
        let mut options = OpenOptions::new();
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = RwLock::new(options.create(true).truncate(false).write(true).open(path)?);
        match file.try_write() {
            // The guard would let go of the lock; closing the file does that, too.
            Ok(guard) => std::mem::forget(guard),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
        Ok(Some(Self { _file: file }))
    }
}
