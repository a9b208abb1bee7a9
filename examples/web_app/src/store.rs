//! The database: SQLite. Who can read it is in README.md.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, Result, params};

/// `begun` are the logins that await consent: one a user, so that nobody fills the disk with clicks on one button.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS begun (
        user TEXT PRIMARY KEY, request_token TEXT NOT NULL UNIQUE, snapshot TEXT NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS connected (user TEXT PRIMARY KEY, snapshot TEXT NOT NULL) STRICT;
    PRAGMA secure_delete = ON;
";

/// What outlives the process. Each call takes milliseconds, so it is made on the thread of the event loop; a busy
/// application would use a pool of connections and blocking tasks.
pub struct Store(Mutex<Connection>);

impl Store {
    /// Opens the database; a new file can be read by its owner only, and so can the journal that SQLite puts beside it.
    ///
    /// # Errors
    /// The file cannot be made or is no such database.
    pub fn open(file: &Path) -> std::result::Result<Self, Box<dyn std::error::Error>> {
        let mut options = OpenOptions::new();
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.create(true).append(true).open(file)?;
        Ok(Self::with(Connection::open(file)?)?)
    }

    /// Makes a database that ends with the process.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn in_memory() -> Result<Self> {
        Self::with(Connection::open_in_memory()?)
    }

    fn with(connection: Connection) -> Result<Self> {
        connection.execute_batch(TABLES)?;
        Ok(Self(Mutex::new(connection)))
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a login of this user that awaits consent, in place of an earlier one.
    pub(crate) fn begin(&self, user: &str, request_token: &str, snapshot: &str) -> Result<()> {
        let statement = "INSERT OR REPLACE INTO begun (user, request_token, snapshot) VALUES (?1, ?2, ?3)";
        self.connection().execute(statement, params![user, request_token, snapshot]).map(drop)
    }

    /// Takes out the login with this request token, if this user began it: a callback counts once.
    pub(crate) fn take_begun(&self, user: &str, request_token: &str) -> Result<Option<String>> {
        let statement = "DELETE FROM begun WHERE request_token = ?1 AND user = ?2 RETURNING snapshot";
        self.connection().query_row(statement, params![request_token, user], |row| row.get(0)).optional()
    }

    /// Keeps the tokens of this user, in place of earlier ones. They are on the disk when this returns.
    pub(crate) fn connect(&self, user: &str, snapshot: &str) -> Result<()> {
        let statement = "INSERT OR REPLACE INTO connected (user, snapshot) VALUES (?1, ?2)";
        self.connection().execute(statement, params![user, snapshot]).map(drop)
    }

    /// Returns the tokens of this user, who is connected if there are any.
    pub(crate) fn connected(&self, user: &str) -> Result<Option<String>> {
        let statement = "SELECT snapshot FROM connected WHERE user = ?1";
        self.connection().query_row(statement, [user], |row| row.get(0)).optional()
    }

    /// Forgets the tokens of this user.
    pub(crate) fn disconnect(&self, user: &str) -> Result<()> {
        self.connection().execute("DELETE FROM connected WHERE user = ?1", [user]).map(drop)
    }
}
