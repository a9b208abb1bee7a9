//! A place where programs run as users run them, from where `cargo test` builds them.
//!
//! Not `assert_cmd`: it runs a program to its end and then looks at what came out. These programs go on running while a
//! test talks to them, are stopped and killed, and everything that they say is searched for secrets.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::env::consts::EXE_SUFFIX;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a program may take, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(20);

/// Programs, the files that they read and write, and what they print; gone at the end.
pub struct Workplace(pub PathBuf);

impl Workplace {
    pub fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("programs-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("files")).unwrap();
        fs::create_dir_all(path.join("printed")).unwrap();
        Self(path)
    }

    pub fn file(&self, name: &str) -> String {
        self.0.join("files").join(name).to_str().unwrap().to_string()
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap()
    }

    pub fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.file(name), text).unwrap();
        self.file(name)
    }

    pub fn start(&self, program: &str, arguments: &[&str]) -> Running {
        self.spawn(self.command(program_path(program), arguments))
    }

    pub fn command(&self, program: PathBuf, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        let files = self.0.join("files");
        command.args(arguments).env_clear().env("TMPDIR", &files).env("TEMP", &files).current_dir(files);
        command
    }

    pub fn spawn(&self, mut command: Command) -> Running {
        let number = fs::read_dir(self.0.join("printed")).unwrap().count();
        let printed = self.0.join("printed").join(number.to_string());
        let out = File::create_new(&printed).unwrap();
        command.stdin(Stdio::piped()).stderr(out.try_clone().unwrap()).stdout(out);
        Running { child: command.spawn().unwrap(), program: format!("{command:?}"), printed }
    }

    /// What the program prints, from its start to its end.
    pub fn run(&self, program: &str, arguments: &[&str]) -> String {
        self.start(program, arguments).finish()
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A program that runs; killed if nobody waits for its end.
pub struct Running {
    program: String,
    pub child: Child,
    printed: PathBuf,
}

impl Running {
    pub fn said(&self) -> String {
        fs::read_to_string(&self.printed).unwrap()
    }

    pub fn wait_for(&self, words: &str) -> String {
        self.until(|said| said.contains(words).then(|| said.to_string()))
    }

    /// What it has said when it has ended, with nothing to read any more.
    pub fn finish(mut self) -> String {
        drop(self.child.stdin.take());
        self.end();
        self.said()
    }

    /// Waits for the end.
    pub fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "{} does not end: {}", self.program, self.said());
            thread::sleep(PAUSE);
        }
    }

    pub fn until<T>(&self, find: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = find(&self.said()) {
                return found;
            }
            assert!(Instant::now() < deadline, "{} does not get that far: {}", self.program, self.said());
            thread::sleep(PAUSE);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Beside the folder of the test programs.
pub fn program_path(program: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let examples = test.parent().and_then(Path::parent).unwrap().join("examples");
    let path = examples.join(format!("{program}{EXE_SUFFIX}"));
    assert!(path.exists(), "{} is missing: `cargo build --examples` makes it", path.display());
    path
}
