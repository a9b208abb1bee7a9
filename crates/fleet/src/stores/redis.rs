//! Redis as a store.

use redis::aio::MultiplexedConnection;
use redis::{Client, Script};
use tokio::sync::Mutex;

use super::{Store, StoreError, in_time};
use crate::store::{Answer, Entry, Operation};

/// Writes if the version is the expected one; the empty text stands for no entry. Returns the new version, or 0.
const WRITE: &str = "
    local version = redis.call('HGET', KEYS[1], 'version') or ''
    if version ~= ARGV[1] then return 0 end
    redis.call('HSET', KEYS[1], 'value', ARGV[2])
    return redis.call('HINCRBY', KEYS[1], 'version', 1)";
/// Deletes if the version is the expected one. Returns whether it was.
const DELETE: &str = "
    if redis.call('HGET', KEYS[1], 'version') ~= ARGV[1] then return 0 end
    return redis.call('DEL', KEYS[1])";

/// A store in Redis, or in what speaks its protocol: a hash for each entry, changed by scripts. Connect to the primary. Redis
/// answers before its replicas, and with its default settings before its disk, have the write: a failover or a crash may lose
/// the last writes, and with them the order of owners. Set `appendfsync always`, or use PostgreSQL, where that matters.
///
/// The connection is opened at the first operation, and again after it broke.
pub struct Redis {
    client: Client,
    prefix: String,
    connection: Mutex<Option<MultiplexedConnection>>,
    write: Script,
    delete: Script,
}

impl Redis {
    /// Returns a store whose keys begin with `prefix`.
    pub fn new(client: Client, prefix: &str) -> Self {
        let (write, delete) = (Script::new(WRITE), Script::new(DELETE));
        Self { client, prefix: prefix.to_string(), connection: Mutex::new(None), write, delete }
    }

    async fn connection(&self) -> Result<MultiplexedConnection, StoreError> {
        let mut connection = self.connection.lock().await;
        if let Some(connection) = connection.as_ref() {
            return Ok(connection.clone());
        }
        let opened = self.client.get_multiplexed_async_connection().await.map_err(StoreError::new)?;
        Ok(connection.insert(opened).clone())
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    async fn perform_now(&self, operation: &Operation) -> Result<Answer, StoreError> {
        let mut connection = self.connection().await?;
        match operation {
            Operation::Read(keys) => {
                let mut pipeline = redis::pipe();
                for key in keys {
                    pipeline.cmd("HMGET").arg(self.key(key)).arg("version").arg("value");
                }
                let entries: Vec<(Option<u64>, Option<Vec<u8>>)> =
                    pipeline.query_async(&mut connection).await.map_err(StoreError::new)?;
                let entry =
                    |(version, value): (Option<u64>, Option<Vec<u8>>)| Some(Entry { version: version?, value: value? });
                Ok(Answer::Entries(entries.into_iter().map(entry).collect()))
            }
            Operation::Write { key, expected, value } => {
                let expected = expected.map(|version| version.to_string()).unwrap_or_default();
                let mut script = self.write.key(self.key(key));
                let version: u64 = script
                    .arg(expected)
                    .arg(value.as_slice())
                    .invoke_async(&mut connection)
                    .await
                    .map_err(StoreError::new)?;
                Ok(if version > 0 { Answer::Written(version) } else { Answer::Conflict })
            }
            Operation::Delete { key, expected } => {
                let mut script = self.delete.key(self.key(key));
                let deleted: u64 =
                    script.arg(*expected).invoke_async(&mut connection).await.map_err(StoreError::new)?;
                Ok(if deleted > 0 { Answer::Deleted } else { Answer::Conflict })
            }
        }
    }
}

impl Store for Redis {
    async fn perform(&self, operation: &Operation) -> Result<Answer, StoreError> {
        let done = in_time(self.perform_now(operation)).await;
        if done.is_err() {
            // A new connection serves the next.
            *self.connection.lock().await = None;
        }
        done
    }
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
