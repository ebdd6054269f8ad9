//! Where the ledger lies: the state directory, who may read it, and how its file is opened.

use super::error::{self, Fault, LedgerError};
use super::lock::{Entry, Presence};
use super::seal::Seal;
use super::{schema, sums};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long another process's commit is waited for. Commits take milliseconds; this covers a slow disk.
const BUSY_MAX: Duration = Duration::from_secs(30);
/// The log is cut back to this after it has been folded into the file.
const LOG_BYTES_KEPT: i64 = 16 << 20;
/// KiB of pages that a connection keeps: what is written lies close together, and what is read is read once.
const WRITER_CACHE_KIB: i64 = 1024;
const READER_CACHE_KIB: i64 = 256;
/// More than there are that are used again and again.
const STATEMENTS: usize = 128;
/// How every SQLite file begins.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// The connection that writes, and what stands behind it.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) presence: Presence,
    /// When the file was last read whole; None: others had it open.
    pub(super) looked: Option<SystemTime>,
}

/// The places of one ledger.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Absolute, without links.
    directory: PathBuf,
    file: PathBuf,
}

impl Place {
    /// Makes the directory where it is missing and sees that it is fit.
    pub(super) fn prepare(directory: &Path) -> Result<Self, LedgerError> {
        make_private(directory).map_err(|error| in_directory(directory, &error))?;
        let place = Self::resolve(directory)?;
        make_private(&place.locks()).map_err(|error| in_directory(&place.locks(), &error))?;
        Ok(place)
    }

    /// Finds a ledger that is there; None where there is none.
    pub(super) fn existing(directory: &Path) -> Result<Option<Self>, LedgerError> {
        if !directory.try_exists().map_err(|error| in_directory(directory, &error))? {
            return Ok(None);
        }
        let place = Self::resolve(directory)?;
        Ok(place.is_there()?.then_some(place))
    }

    pub(super) fn resolve(directory: &Path) -> Result<Self, LedgerError> {
        let directory = directory.canonicalize().map_err(|error| in_directory(directory, &error))?;
        // Where there is no such file (other systems, no /proc) nothing is known against the directory.
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        if let Some(kind) = network_kind(&mounts, &directory) {
            return Err(LedgerError::Network { path: directory, kind });
        }
        let file = directory.join("ledger.sqlite");
        Ok(Self { directory, file })
    }

    /// Gives the ledger's file.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Gives the directory of the lock files.
    pub(super) fn locks(&self) -> PathBuf {
        self.directory.join("locks")
    }

    /// Says what an error of the system means for the file.
    pub(super) fn failed(&self, error: io::Error) -> LedgerError {
        LedgerError::File { path: self.file.clone(), why: error.to_string() }
    }

    /// Says what went wrong.
    pub(super) fn fault(&self, fault: Fault) -> LedgerError {
        match fault {
            Fault::Refused(error) => error,
            Fault::Sqlite(error) => error::of_sqlite(&self.file, &error),
        }
    }

    /// Says whether the file is the one that was found sound.
    pub(super) fn seal(&self) -> Seal {
        Seal::new(self.file.clone(), self.locks().join("sound"))
    }

    /// Opens for writing; makes the file where it is missing, brings an old one to the newest format.
    pub(super) fn connect_writer(&self) -> Result<Opened, LedgerError> {
        let entry = Entry::wait(&self.locks()).map_err(|error| self.failed(error))?;
        let is_there = self.is_there()?;
        if is_there {
            self.check_begin()?;
        } else {
            self.create()?;
        }
        let looked = match entry.is_alone {
            true => Some(self.verify()?),
            // Others have it open: what was known before they began still counts.
            false => None,
        };
        self.tighten().map_err(|error| self.failed(error))?;
        let mut connection = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        self.check_format(&connection)?;
        self.set_up(&mut connection).map_err(|fault| self.fault(fault))?;
        self.tighten().map_err(|error| self.failed(error))?;
        let presence = entry.stay().map_err(|error| self.failed(error))?;
        Ok(Opened { connection, presence, looked })
    }

    /// Ends what [`Self::connect_writer`] began, after its connection has ended: where nobody else has the file open and no
    /// log is left beside it, it is sealed as it is.
    pub(super) fn leave(&self, presence: Presence, looked: Option<SystemTime>) {
        drop(presence);
        let (Some(looked), Some(entry)) = (looked, Entry::at_once(&self.locks())) else { return };
        if entry.is_alone && !self.has_log() {
            self.seal().put(looked);
        }
    }

    /// Opens a further connection beside the writer's.
    pub(super) fn connect_reader(&self) -> Result<Connection, LedgerError> {
        let connection = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let set_up = || {
            connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
            connection.pragma_update(None, "query_only", true)
        };
        set_up().map_err(|error: rusqlite::Error| self.fault(error.into()))?;
        Ok(connection)
    }

    /// Opens a ledger that this process does not write, for the first time.
    pub(super) fn connect_first_reader(&self) -> Result<Connection, LedgerError> {
        self.check_begin()?;
        // Where locks cannot be had, such as on a disk that is read only, nobody writes either.
        let entry = Entry::wait(&self.locks()).ok();
        if entry.is_none_or(|entry| entry.is_alone) {
            self.verify()?;
        }
        self.connect_read_only()
    }

    /// Opens a ledger that this process does not write, again.
    pub(super) fn connect_read_only(&self) -> Result<Connection, LedgerError> {
        let connection = self.open(OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let found = self.check_format(&connection)?;
        if found < schema::newest(schema::STEPS) {
            return Err(LedgerError::Older { path: self.file.clone(), found });
        }
        Ok(connection)
    }

    /// Reads the whole file and refuses it where a byte is not what was written; of one that is as it was when it was found
    /// sound, the small tables alone. Through a connection that only reads: one that writes would fold the log into a damaged
    /// file when it ends. Gives when it was last read whole.
    fn verify(&self) -> Result<SystemTime, LedgerError> {
        let known = self.seal().holds().filter(|_| !self.has_log());
        let connection = self.open(OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        self.check_format(&connection)?;
        let complaint = match known {
            Some(_) => sums::complaint_of_small(&connection),
            None => sums::complaint(&connection),
        };
        match complaint.map_err(|fault| self.fault(fault))? {
            Some(why) => Err(LedgerError::Damaged { path: self.file.clone(), why }),
            None => Ok(known.unwrap_or_else(SystemTime::now)),
        }
    }

    /// Says whether the file is there. A log without its file holds what was written last, and SQLite would throw it away
    /// or, worse, read it into another file.
    pub(super) fn is_there(&self) -> Result<bool, LedgerError> {
        let is_there = self.file.try_exists().map_err(|error| self.failed(error))?;
        if !is_there && self.has_log() {
            let why = format!("it is gone, and its log {} is left", self.beside("-wal").display());
            return Err(LedgerError::Damaged { path: self.file.clone(), why });
        }
        Ok(is_there)
    }

    pub(super) fn open(&self, flags: OpenFlags) -> Result<Connection, LedgerError> {
        let open = || {
            let connection = Connection::open_with_flags(&self.file, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
            connection.busy_timeout(BUSY_MAX)?;
            connection.pragma_update(None, "trusted_schema", false)?;
            connection.pragma_update(None, "cell_size_check", true)?;
            // Or statements with a LIMIT are compiled anew whenever they are used.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
            connection.set_prepared_statement_cache_capacity(STATEMENTS);
            sums::register(&connection)?;
            Ok(connection)
        };
        open().map_err(|error: rusqlite::Error| self.fault(error.into()))
    }

    /// Makes the file under another name and gives it its own when it is whole: an empty ledger is never one that was
    /// being made.
    fn create(&self) -> Result<(), LedgerError> {
        let new = tempfile::Builder::new()
            .prefix(".ledger-")
            .tempfile_in(&self.directory)
            .map_err(|error| self.failed(error))?;
        private(new.path(), 0o600).map_err(|error| self.failed(error))?;
        let fill = || {
            let mut connection = Connection::open(new.path())?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            schema::migrate(&mut connection, schema::STEPS)?;
            connection.close().map_err(|(_, error)| error)?;
            Ok(())
        };
        fill().map_err(|fault: Fault| self.fault(fault))?;
        match new.persist_noclobber(&self.file) {
            Ok(_) => sync_directory(&self.directory).map_err(|error| self.failed(error)),
            // Another process was faster; its file is as good.
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(self.failed(error.error)),
        }
    }

    /// Looks at the file before SQLite does anything with it, also for a cut: SQLite itself notices that only when it
    /// needs a page that is not there.
    pub(super) fn check_begin(&self) -> Result<(), LedgerError> {
        let damaged = |why| LedgerError::Damaged { path: self.file.clone(), why };
        let mut why = String::new();
        // Twice: while another process folds its log into the file, and before it removes the log, the first look may
        // see an old length.
        for _ in 0..2 {
            let (begin, length) = self.look().map_err(|error| self.failed(error))?;
            if !begin.starts_with(&MAGIC[..MAGIC.len().min(begin.len())]) {
                return Err(LedgerError::Foreign {
                    path: self.file.clone(),
                    why: "it is no SQLite database".to_owned(),
                });
            }
            let Ok(header) = <[u8; 100]>::try_from(begin) else { return Err(damaged("it is cut short".to_owned())) };
            let wanted = promised_length(&header);
            if length >= wanted || self.has_log() {
                return Ok(());
            }
            why = format!("it is cut short: {length} of {wanted} bytes");
        }
        Err(damaged(why))
    }

    /// Gives the first bytes, 100 at most, and the length.
    fn look(&self) -> io::Result<(Vec<u8>, u64)> {
        let file = std::fs::File::open(&self.file)?;
        let mut begin = Vec::new();
        (&file).take(100).read_to_end(&mut begin)?;
        Ok((begin, file.metadata()?.len()))
    }

    /// Says whether there are commits that are not in the file yet: somebody is at work, or ended in the middle.
    fn has_log(&self) -> bool {
        self.beside("-wal").metadata().is_ok_and(|log| log.len() > 0)
    }

    /// Sees that it is a ledger and of a format we know; gives the format.
    pub(super) fn check_format(&self, connection: &Connection) -> Result<i64, LedgerError> {
        let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let read = || Ok((pragma("application_id")?, pragma("user_version")?));
        let (application, found) = read().map_err(|error: rusqlite::Error| self.fault(error.into()))?;
        let (path, known) = (self.file.clone(), schema::newest(schema::STEPS));
        if application != i64::from(schema::APPLICATION_ID) {
            return Err(LedgerError::Foreign { path, why: "it is the SQLite database of another program".to_owned() });
        }
        if found > known {
            return Err(LedgerError::Newer { path, found, known, needs: schema::needs(connection) });
        }
        if found < 1 {
            return Err(LedgerError::Damaged { path, why: format!("its format is {found}") });
        }
        Ok(found)
    }

    fn set_up(&self, connection: &mut Connection) -> Result<(), Fault> {
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        // macOS: fsync alone leaves the data in the disk's own cache.
        connection.pragma_update(None, "fullfsync", true)?;
        connection.pragma_update(None, "checkpoint_fullfsync", true)?;
        connection.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT)?;
        // What a savepoint may have to undo is of no use after a crash: it needs no file.
        connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        // Triggers keep the sums also where a row is replaced.
        connection.pragma_update(None, "recursive_triggers", true)?;
        // What is forgotten is gone, not only unlisted.
        connection.pragma_update(None, "secure_delete", true)?;
        schema::migrate(connection, schema::STEPS)
    }

    /// Takes the file and its companions away from everybody else; SQLite gives new companions the file's mode.
    fn tighten(&self) -> io::Result<()> {
        private(&self.file, 0o600)?;
        for suffix in ["-wal", "-shm"] {
            match private(&self.beside(suffix), 0o600) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.file.clone().into_os_string();
        name.push(suffix);
        name.into()
    }
}

fn in_directory(path: &Path, error: &io::Error) -> LedgerError {
    LedgerError::Directory { path: path.to_owned(), why: error.to_string() }
}

/// Gives the length a SQLite file says it has: pages times their size (SQLite file format, 1.3).
fn promised_length(header: &[u8; 100]) -> u64 {
    let number =
        |at: usize| u64::from(u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]));
    let page = match number(16) >> 16 {
        1 => 65_536,
        size => size,
    };
    // The count is void unless it was written together with the change counter.
    if number(24) == number(92) { number(28) * page } else { 0 }
}

/// Makes a directory that only its owner may enter. One that is there already keeps its mode: it is the user's.
fn make_private(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)?;
    private(directory, 0o700)
}

/// Sets a mode whatever the umask; elsewhere than on Unix the user's profile protects the file.
pub(super) fn private(path: &Path, mode: u32) -> io::Result<()> {
    #[cfg(unix)]
    return std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode));
    #[cfg(not(unix))]
    return (path, mode).0.metadata().map(drop);
}

/// Makes a new name durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) { std::fs::File::open(directory)?.sync_all() } else { Ok(()) }
}

/// File systems whose locks or shared memory do not reach the other machines. Disks of a virtual machine's host (9p,
/// virtiofs) have one user as a rule and are left out.
const NETWORK: [&str; 22] = [
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "davfs",
    "fuse.ceph",
    "fuse.davfs2",
    "fuse.gcsfuse",
    "fuse.glusterfs",
    "fuse.rclone",
    "fuse.s3fs",
    "fuse.smbnetfs",
    "fuse.sshfs",
    "glusterfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "smb2",
    "smb3",
    "smbfs",
];

/// Finds the file system a directory lies on in the text of `/proc/self/mountinfo`; Some where it is a network's.
fn network_kind(mounts: &str, directory: &Path) -> Option<String> {
    let mount = |line: &str| {
        let (place, kind) = line.split_once(" - ")?;
        let point = PathBuf::from(unescape(place.split(' ').nth(4)?));
        let kind = kind.split(' ').next()?.to_owned();
        directory.starts_with(&point).then(|| (point.components().count(), kind))
    };
    // The deepest mount point counts, and of several mounts on the same point the last.
    let (_, kind) = mounts.lines().filter_map(mount).max_by_key(|(depth, _)| *depth)?;
    NETWORK.contains(&kind.as_str()).then_some(kind)
}

/// Undoes the octal escapes of space, tab, line end and backslash.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(text.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_file_system_is_known_by_its_deepest_mount() {
        const MOUNTS: &str = "\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
40 22 0:35 / /home rw,relatime - nfs4 server:/home rw,vers=4.2
41 40 254:2 / /home/me/local\\040disk rw - xfs /dev/vdb rw
42 22 0:36 / /mnt/over rw - ext4 /dev/vdc rw
43 22 0:37 / /mnt/over rw - fuse.sshfs me@host:/ rw
44 22 0:38 / /mnt/host rw - virtiofs tag rw
";
        for (path, kind) in [
            ("/var/lib/mailhaul", None),
            ("/home/me/.local/state", Some("nfs4")),
            ("/homes/me", None),
            ("/home/me/local disk/state", None),
            ("/mnt/over/state", Some("fuse.sshfs")),
            ("/mnt/host/state", None),
        ] {
            assert_eq!(network_kind(MOUNTS, Path::new(path)).as_deref(), kind, "{path}");
        }
        assert_eq!(network_kind("", Path::new("/x")), None);
    }
}
