//! Files that are there whole or not at all; what is there already is overwritten only by [`replace`].

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};
use zeroize::Zeroizing;

/// No file that is read here is larger: the largest is the state of a gateway.
const MAX_SIZE: u64 = 16 * 1024 * 1024;

/// Who may read a new file; the system's mask takes from it.
#[derive(Clone, Copy)]
pub enum Readers {
    Owner,
    Anybody,
}

/// Writes a new file. There must be none of that name, not even a dangling link.
pub fn write_new(path: &Path, readers: Readers, content: &str) -> io::Result<()> {
    let file = written(path, readers, content.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    Ok(())
}

/// Writes a file for its owner only, in place of an earlier one: whoever reads it finds the one or the other. That holds when
/// the program is killed; when the machine loses power, only as far as its file system promises.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    written(path, Readers::Owner, content)?.persist(path)?;
    Ok(())
}

/// A file of another name, in the same folder.
fn written(path: &Path, readers: Readers, content: &[u8]) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = builder(readers).tempfile_in(folder)?;
    file.write_all(content)?;
    Ok(file)
}

#[cfg(unix)]
fn builder(readers: Readers) -> Builder<'static, 'static> {
    let mode = match readers {
        Readers::Owner => 0o600,
        Readers::Anybody => 0o666,
    };
    let mut builder = Builder::new();
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    builder
}

#[cfg(not(unix))]
fn builder(_: Readers) -> Builder<'static, 'static> {
    Builder::new()
}

/// Returns the text of a file, or `None` if there is none. What is no text becomes one that shows it.
pub fn read_if_there(path: &Path) -> io::Result<Option<Zeroizing<String>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    // One buffer, large enough from the start: one that grows leaves copies behind.
    let size = usize::try_from(file.metadata()?.len().min(MAX_SIZE)).unwrap_or_default();
    let mut bytes = Zeroizing::new(Vec::with_capacity(size.saturating_add(1)));
    file.take(MAX_SIZE).read_to_end(&mut bytes)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned().into()))
}

/// Returns whether something of that name is there, be it a dangling link.
pub fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Makes a folder for its owner only, under the system's own for such things, which stays.
pub fn fresh_folder(name: &str) -> io::Result<PathBuf> {
    Ok(Builder::new().prefix(&format!("{name}-")).tempdir()?.keep())
}
