//! What saves reading a large file whole each time it is opened: proof that it is the one that was found sound.
//!
//! Whoever ends as the last one to have the ledger open gives the file a time of change that no write can give it, since its
//! nanoseconds are thrown with a die, and writes down what the file is then. A file that still is that one has not been
//! written since; a copy, a restored backup, a file that somebody edited and one whose folding was cut off are not, and are
//! read whole. What rots on the disk under the file system's eyes is found by the next whole look, at most a day later, and
//! in the small tables, which a run over unchanged mailboxes stands on, at once.

use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// How long a whole look counts.
const WHOLE_LOOK_LASTS: Duration = Duration::from_secs(24 * 3600);

/// Where the seal of one file lies.
pub(super) struct Seal {
    file: PathBuf,
    seal: PathBuf,
}

/// What a file was when it was sealed.
#[derive(Serialize, Deserialize, PartialEq)]
struct Sealed {
    identity: Identity,
    /// When it was last read whole, milliseconds since 1970.
    looked: i64,
}

/// What no other file has, nor this one after a write.
#[derive(Serialize, Deserialize, PartialEq)]
struct Identity {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Seal {
    pub(super) fn new(file: PathBuf, seal: PathBuf) -> Self {
        Self { file, seal }
    }

    /// Gives when the file was last read whole, where it is the very one that was sealed and that look still counts.
    pub(super) fn holds(&self) -> Option<SystemTime> {
        let sealed: Sealed = serde_json::from_slice(&std::fs::read(&self.seal).ok()?).ok()?;
        let looked = super::codec::time(sealed.looked);
        // A clock that was set back makes no look last longer.
        let counts = looked.elapsed().is_ok_and(|age| age < WHOLE_LOOK_LASTS);
        (counts && identity(&File::open(&self.file).ok()?) == Some(sealed.identity)).then_some(looked)
    }

    /// Seals the file, which nobody has open any more. What hinders it costs the next opening a whole look, nothing else.
    pub(super) fn put(&self, looked: SystemTime) {
        if self.holds().is_none()
            && let Err(error) = self.try_put(looked)
        {
            tracing::debug!(%error, "the ledger was not sealed");
        }
    }

    fn try_put(&self, looked: SystemTime) -> io::Result<()> {
        let file = File::options().write(true).open(&self.file)?;
        let second = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let stamp = SystemTime::UNIX_EPOCH + Duration::new(second, fastrand::u32(1..1_000_000_000));
        file.set_modified(stamp)?;
        // Where the file system keeps no such times, a write cannot be told from none.
        if file.metadata()?.modified()? != stamp {
            return Err(io::Error::other("its file system keeps no nanoseconds"));
        }
        let Some(identity) = identity(&file) else { return Ok(()) };
        let sealed = Sealed { identity, looked: super::codec::of_time(looked) };
        std::fs::write(&self.seal, serde_json::to_vec(&sealed).map_err(io::Error::from)?)?;
        super::file::private(&self.seal, 0o600)
    }
}

/// None where a system does not tell one file from another.
fn identity(file: &File) -> Option<Identity> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let facts = file.metadata().ok()?;
        Some(Identity {
            device: facts.dev(),
            inode: facts.ino(),
            length: facts.len(),
            modified: (facts.mtime(), facts.mtime_nsec()),
            changed: (facts.ctime(), facts.ctime_nsec()),
        })
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        None
    }
}
