//! The database: opening it, and transactions that several processes can run at once.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use berth_arch::pretend;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::io::Errno;

use crate::{Error, Paths, Result, heap};

/// What leads from each version of the schema to the next; a new state goes through all.
const SCHEMAS: [&str; 4] = [
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
];
const VERSION: i64 = SCHEMAS.len() as i64;
/// Bytes. Of a page that changes, all is written to the log and read again by the next engine that opens the store alone;
/// most changes are a few words, and a container's row still fits.
const PAGE: u32 = 2048;
/// Pages of the log at which it is folded into the database (two syncs).
const LOG_PAGES: u32 = 400;
/// Bytes of disk that the log has from the start, a bit more than it grows to: a container can be removed when there is
/// no room for anything else, and makes some.
const LOG_RESERVE: u64 = (LOG_PAGES as u64 + 70) * (PAGE as u64 + 24);
/// How long a writer waits for the others before it gives up.
const BUSY: Duration = Duration::from_secs(60);

/// The open store. Cheap to share; transactions of one process take turns.
pub struct Store {
    paths: Paths,
    connection: Mutex<Connection>,
}

impl Store {
    /// Opens the store below `paths`, making folders and schema on the first call.
    ///
    /// A commit is atomic and survives the process; it is on the disk with the next checkpoint or
    /// [`Store::sync`]. A power cut may take back the last commits but never part of one.
    pub fn open(paths: Paths) -> Result<Self> {
        let file = paths.database();
        let database = |action| {
            let path = file.clone();
            move |source| Error::Database { action, path, source }
        };
        // Before SQLite looks for it: what it does not find it tries to open for reading alone, and may find then.
        if !file.exists() {
            for folder in [&paths.state, &paths.run] {
                passable_folder(folder)?;
            }
            private_file(&file)?;
        }
        heap::share();
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&file, flags).map_err(database("open"))?;
        connection.busy_timeout(BUSY).map_err(database("configure"))?;
        connection.set_prepared_statement_cache_capacity(64);
        // A process that ends must not stop to fold the log into the database, nor sync it.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(database("configure"))?;
        let journal = if pretend::without("wal") { "TRUNCATE" } else { "WAL" };
        let pragmas = format!(
            "PRAGMA page_size={PAGE}; PRAGMA journal_mode={journal}; PRAGMA synchronous=NORMAL; \
             PRAGMA foreign_keys=ON; PRAGMA wal_autocheckpoint={LOG_PAGES};"
        );
        patiently(|| connection.execute_batch(&pragmas)).map_err(database("configure"))?;
        let version = |connection: &Connection| connection.query_row("PRAGMA user_version", [], |row| row.get(0));
        match version(&connection).map_err(database("read"))? {
            // A reboot took the run folder away. Where it cannot be made, whoever needs it will say so.
            VERSION => drop(passable_folder(&paths.run)),
            0..VERSION => {
                let transaction =
                    connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(database("lock"))?;
                // Another engine may have been faster.
                let found: i64 = version(&transaction).map_err(database("read"))?;
                for schema in SCHEMAS.iter().skip(usize::try_from(found).unwrap_or(usize::MAX)) {
                    transaction.execute_batch(schema).map_err(database("set up"))?;
                }
                transaction.pragma_update(None, "user_version", VERSION.max(found)).map_err(database("set up"))?;
                transaction.commit().map_err(database("set up"))?;
                passable_folder(&paths.run)?;
                reserve_log(&file);
            }
            found => return Err(Error::Newer { path: paths.state.clone(), found, known: VERSION }),
        }
        Ok(Self { paths, connection: Mutex::new(connection) })
    }

    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Reads from one consistent state.
    pub fn read<T, E: From<Error>>(&self, f: impl FnOnce(&Connection) -> Result<T, E>) -> Result<T, E> {
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred).map_err(Error::from)?;
        f(&transaction)
    }

    /// One transaction: all of `f` happens, or nothing (when it returns an error). Writers of all processes take
    /// turns; keep file work out of `f`.
    pub fn write<T, E: From<Error>>(&self, f: impl FnOnce(&Transaction<'_>) -> Result<T, E>) -> Result<T, E> {
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(Error::from)?;
        let value = f(&transaction)?;
        transaction.commit().map_err(Error::from)?;
        Ok(value)
    }

    /// Brings everything committed so far to the disk. By the log alone: a checkpoint of SQLite's does nothing while another
    /// process makes one, which may have started before the commit.
    pub fn sync(&self) -> Result<()> {
        let log = log(&self.paths.database());
        match std::fs::File::open(&log).and_then(|file| file.sync_data()) {
            // Without a log each commit is on the disk.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            answer => answer.map_err(|source| Error::Io { action: "sync", path: log, source }),
        }
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tries again while others have the database: SQLite waits for a lock, but not where two first engines both turn an
/// empty database into one with a log, as each could be waiting for the other.
fn patiently<T>(mut attempt: impl FnMut() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && start.elapsed() < BUSY => {
                std::thread::sleep(Duration::from_millis(2));
            }
            other => return other,
        }
    }
}

fn log(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push("-wal");
    path.into()
}

/// Where the file system cannot, the log takes its room as it grows.
fn reserve_log(database: &Path) {
    if let Ok(log) = std::fs::File::options().write(true).open(log(database)) {
        let _ = rustix::fs::fallocate(&log, rustix::fs::FallocateFlags::KEEP_SIZE, 0, LOG_RESERVE);
    }
}

/// Makes a folder, if it is not there, that only its owner can list; others pass through it, to the daemon's socket.
fn passable_folder(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let mode = 0o711;
    let made = std::fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    // Whatever the umask is.
    let made = made.and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)));
    made.map_err(|source| Error::Io { action: "create", path: path.to_owned(), source })
}

/// The database holds the containers' environments, and so their secrets. SQLite gives its log the same mode. Not by
/// open and close, which would take away the locks that another thread has on it (fcntl_locking(2)).
fn private_file(path: &Path) -> Result<()> {
    match mknodat(CWD, path, FileType::RegularFile, Mode::RUSR | Mode::WUSR, 0) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(Error::Io { action: "create", path: path.to_owned(), source: error.into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_reads_what_is_kept() {
        use std::os::unix::fs::MetadataExt;
        let folder = std::env::temp_dir().join(format!("berth-store-modes-{}", std::process::id()));
        let store = Store::open(Paths::within(&folder)).unwrap();
        let _lock = crate::Lock::acquire(&store.paths().locks(), "one").unwrap();
        crate::write_json(&folder.join("x.json"), &1, false).unwrap();
        for name in ["berth.db", "berth.db-wal", "berth.db-shm", "x.json", "run/locks/one"] {
            if let Ok(found) = std::fs::metadata(folder.join(name)) {
                assert_eq!(found.mode() & 0o777, 0o600, "{name}");
            }
        }
        assert_eq!(std::fs::metadata(store.paths().locks()).unwrap().mode() & 0o777, 0o700);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_state_of_an_earlier_version_is_brought_up_to_date() {
        let folder = std::env::temp_dir().join(format!("berth-store-earlier-{}", std::process::id()));
        let paths = Paths::within(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let old = Connection::open(paths.database()).unwrap();
        old.execute_batch(&format!("{}; INSERT INTO meta VALUES ('kept', 'x'); PRAGMA user_version=1;", SCHEMAS[0]))
            .unwrap();
        drop(old);
        for _ in 0..2 {
            let store = Store::open(paths.clone()).unwrap();
            let counts: (i64, i64) = store
                .read(|connection| {
                    let count = |sql| connection.query_row(sql, [], |row| row.get(0));
                    Ok::<_, Error>((count("SELECT count(*) FROM meta")?, count("SELECT count(*) FROM networks")?))
                })
                .unwrap();
            assert_eq!(counts, (1, 3));
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn many_openers_at_once_find_one_schema() {
        let folder = std::env::temp_dir().join(format!("berth-store-{}", std::process::id()));
        std::thread::scope(|scope| {
            for index in 0..8i64 {
                let folder = &folder;
                scope.spawn(move || {
                    let store = Store::open(Paths::within(folder)).unwrap();
                    store
                        .write(|transaction| {
                            transaction.execute("INSERT INTO meta VALUES (?1, 'x')", [index.to_string()])?;
                            Ok::<_, Error>(())
                        })
                        .unwrap();
                });
            }
        });
        let store = Store::open(Paths::within(&folder)).unwrap();
        let count: i64 =
            store.read(|c| Ok::<_, Error>(c.query_row("SELECT count(*) FROM meta", [], |row| row.get(0))?)).unwrap();
        assert_eq!(count, 8);
        let twice = store.write(|t| {
            t.execute("INSERT INTO meta VALUES ('0', 'y')", [])?;
            Ok::<_, Error>(())
        });
        assert!(matches!(twice, Err(Error::Constraint(_))));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
