//! PostgreSQL as a store.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, Row, Socket};

use super::{Store, StoreError, in_time};
use crate::store::{Answer, Entry, Operation};

/// A store in a table of a PostgreSQL database. Connect to the primary: a replica lags behind. A failover to a replica that is
/// not synchronous may lose the last writes, and with them the order of owners.
///
/// The connection is opened at the first operation, and again after it broke.
pub struct Postgres<T> {
    config: Config,
    tls: T,
    /// The table's name, quoted.
    table: String,
    connected: Mutex<Option<Arc<Client>>>,
}

impl<T> Postgres<T>
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::Stream: Send,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    /// Returns a store in this table; `tls` as `tokio_postgres` takes it, or `tokio_postgres::NoTls`.
    pub fn new(config: Config, tls: T, table: &str) -> Self {
        let table = format!("\"{}\"", table.replace('"', "\"\""));
        Self { config, tls, table, connected: Mutex::new(None) }
    }

    /// Makes the table, if there is none. Several processes may do so at once.
    ///
    /// # Errors
    /// [`StoreError`] if there is none and it cannot be made.
    pub async fn create_table(&self) -> Result<(), StoreError> {
        let columns = "key text PRIMARY KEY, version bigint NOT NULL, value bytea NOT NULL";
        let statement = format!("CREATE TABLE IF NOT EXISTS {} ({columns})", self.table);
        in_time(async {
            if self.has_table().await? {
                return Ok(());
            }
            match self.client().await?.batch_execute(&statement).await {
                // PostgreSQL refuses all but one of those who create it at the same moment, in spite of `IF NOT EXISTS`.
                Err(error) => self.has_table().await?.then_some(()).ok_or_else(|| told(&error)),
                Ok(()) => Ok(()),
            }
        })
        .await
    }

    async fn has_table(&self) -> Result<bool, StoreError> {
        let statement = "SELECT to_regclass($1) IS NOT NULL";
        let rows = self.client().await?.query_typed(statement, &[(&self.table, Type::TEXT)]).await;
        let rows = rows.map_err(|error| told(&error))?;
        rows.first().map_or(Ok(false), |row| row.try_get(0)).map_err(|error| told(&error))
    }

    async fn client(&self) -> Result<Arc<Client>, StoreError> {
        let mut connected = self.connected.lock().await;
        if let Some(client) = connected.as_ref().filter(|client| !client.is_closed()) {
            return Ok(Arc::clone(client));
        }
        let (client, connection) = self.config.connect(self.tls.clone()).await.map_err(|error| told(&error))?;
        // What is wrong with the connection is seen by the next operation.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Arc::clone(connected.insert(Arc::new(client))))
    }

    async fn read(&self, keys: &[String]) -> Result<Answer, StoreError> {
        let statement = format!("SELECT key, version, value FROM {} WHERE key = ANY($1)", self.table);
        let client = self.client().await?;
        let rows = client.query_typed(&statement, &[(&keys, Type::TEXT_ARRAY)]).await.map_err(|error| told(&error))?;
        let mut found = rows.iter().map(entry).collect::<Result<Vec<_>, _>>().map_err(StoreError::new)?;
        let mut take = |key: &String| {
            let place = found.iter().position(|(found, _)| found == key)?;
            Some(found.swap_remove(place).1)
        };
        Ok(Answer::Entries(keys.iter().map(&mut take).collect()))
    }

    async fn write(&self, key: &str, expected: Option<u64>, value: &[u8]) -> Result<Answer, StoreError> {
        let (client, table) = (self.client().await?, &self.table);
        let version = i64::try_from(expected.unwrap_or_default()).map_err(StoreError::new)?;
        let count = if expected.is_some() {
            let statement =
                format!("UPDATE {table} SET version = version + 1, value = $3 WHERE key = $1 AND version = $2");
            let values: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] =
                [(&key, Type::TEXT), (&version, Type::INT8), (&value, Type::BYTEA)];
            client.execute_typed(&statement, &values).await
        } else {
            let statement = format!("INSERT INTO {table} VALUES ($1, 1, $2) ON CONFLICT DO NOTHING");
            client.execute_typed(&statement, &[(&key, Type::TEXT), (&value, Type::BYTEA)]).await
        };
        let next = expected.unwrap_or_default().saturating_add(1);
        Ok(if count.map_err(|error| told(&error))? == 1 { Answer::Written(next) } else { Answer::Conflict })
    }

    async fn delete(&self, key: &str, expected: u64) -> Result<Answer, StoreError> {
        let statement = format!("DELETE FROM {} WHERE key = $1 AND version = $2", self.table);
        let version = i64::try_from(expected).map_err(StoreError::new)?;
        let client = self.client().await?;
        let count = client.execute_typed(&statement, &[(&key, Type::TEXT), (&version, Type::INT8)]).await;
        Ok(if count.map_err(|error| told(&error))? == 1 { Answer::Deleted } else { Answer::Conflict })
    }
}

/// What the server says; its details may name values.
fn told(error: &tokio_postgres::Error) -> StoreError {
    match error.as_db_error() {
        Some(said) => StoreError::new(said.message()),
        None => match std::error::Error::source(error) {
            Some(cause) => StoreError::new(format_args!("{error}: {cause}")),
            None => StoreError::new(error),
        },
    }
}

fn entry(row: &Row) -> Result<(String, Entry), tokio_postgres::Error> {
    let version: i64 = row.try_get(1)?;
    Ok((row.try_get(0)?, Entry { version: version.unsigned_abs(), value: row.try_get(2)? }))
}

impl<T> Store for Postgres<T>
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::Stream: Send,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    async fn perform(&self, operation: &Operation) -> Result<Answer, StoreError> {
        in_time(async {
            match operation {
                Operation::Read(keys) => self.read(keys).await,
                Operation::Write { key, expected, value } => self.write(key, *expected, value).await,
                Operation::Delete { key, expected } => self.delete(key, *expected).await,
            }
        })
        .await
    }
}

impl<T> std::fmt::Debug for Postgres<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres").field("table", &self.table).finish_non_exhaustive()
    }
}
