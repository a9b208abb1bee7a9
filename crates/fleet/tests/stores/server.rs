//! Servers as processes of their own: Debian's packages, a Unix socket in a folder, no port, an unprivileged user.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// `nobody` and `nogroup`, on every Linux.
const NOBODY: u32 = 65534;

pub struct Server {
    folder: TempDir,
    program: PathBuf,
    arguments: Vec<String>,
    /// Made when the server can be talked to.
    socket: PathBuf,
    /// What the server must be told to end, so that it writes what it has.
    farewell: &'static str,
    child: Option<Child>,
}

impl Server {
    fn new(program: PathBuf, socket: &str, farewell: &'static str) -> Self {
        let folder = tempfile::Builder::new().prefix("fleet").tempdir_in("/tmp").unwrap();
        if is_root() {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let socket = folder.path().join(socket);
        Self { folder, program, arguments: Vec::new(), socket, farewell, child: None }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn start(&mut self) {
        let mut command = self.command(&self.program);
        self.child = Some(command.args(&self.arguments).spawn().unwrap());
        let begin = Instant::now();
        while std::os::unix::net::UnixStream::connect(&self.socket).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(60), "{} does not start", self.program.display());
            thread::sleep(Duration::from_millis(20));
        }
        // PostgreSQL makes its socket a little before it answers.
        thread::sleep(Duration::from_millis(300));
    }

    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let told = Command::new("kill").args([self.farewell, &child.id().to_string()]).status();
        if !told.is_ok_and(|status| status.success()) {
            let _ = child.kill();
        }
        let _ = child.wait();
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// PostgreSQL, if it is installed.
pub fn postgres() -> Option<Server> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let folders =
        versions.map(|version| version.path().join("bin")).chain(["/usr/bin".into(), "/usr/local/bin".into()]);
    let programs =
        folders.into_iter().find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())?;
    let mut server = Server::new(programs.join("postgres"), ".s.PGSQL.5432", "-INT");
    let data = server.folder().join("data").to_str()?.to_string();
    let made =
        server.command(&programs.join("initdb")).args(["-D", &data, "-U", "fleet", "-A", "trust", "-N"]).status();
    assert!(made.unwrap().success(), "initdb");
    let socket = server.folder().to_str()?.to_string();
    server.arguments = ["-D", &data, "-k", &socket, "-h", ""].map(String::from).into();
    server.start();
    Some(server)
}

/// Redis, if it is installed. It writes each change to its disk before it answers.
pub fn redis() -> Option<Server> {
    let folders = ["/usr/bin", "/usr/local/bin"].map(PathBuf::from);
    let program = folders.into_iter().map(|folder| folder.join("redis-server")).find(|program| program.exists())?;
    let mut server = Server::new(program, "socket", "-TERM");
    let socket = server.folder().join("socket").to_str()?.to_string();
    let arguments =
        ["--port", "0", "--unixsocket", &socket, "--save", "", "--appendonly", "yes", "--appendfsync", "always"];
    server.arguments = arguments.map(String::from).into();
    server.start();
    Some(server)
}
