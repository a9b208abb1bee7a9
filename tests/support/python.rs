//! Python, with packages from PyPI.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The interpreter of a virtual environment in `workplace`, made at first use, with `packages` in it.
pub fn with_packages(workplace: &Path, packages: &[&str]) -> PathBuf {
    let venv = workplace.join("venv");
    let python = venv.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    if !python.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv));
    }
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages));
    python
}

pub fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    assert!(status.success(), "{command:?} failed: {status}");
}
