//! A directory for all that one server writes; gone when the test has passed, kept when it has failed.

use super::Identity;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::{fs, io, thread};

/// Not TMPDIR: paths of sockets must stay under the 108 bytes of `sun_path`, and servers that gave up root's rights must
/// get in.
const BASE: &str = "/tmp";
/// Where a file system in memory is, if there is one: what a sweep makes durable thousands of times costs nothing there.
const QUICK: &str = "/dev/shm";

pub(crate) struct Scratch {
    directory: Option<tempfile::TempDir>,
}

impl Scratch {
    /// Makes an empty directory that every user may enter.
    pub(super) fn new() -> Self {
        Self::new_in(BASE)
    }

    /// The same in memory where that can be.
    pub(super) fn quick() -> Self {
        let quick = tempfile::tempfile_in(QUICK).is_ok();
        Self::new_in(if quick { QUICK } else { BASE })
    }

    fn new_in(base: &str) -> Self {
        let directory = loop {
            // Lower case, since it serves as a server's name too, which has no case.
            let name: String = std::iter::repeat_with(|| fastrand::char('a'..='z')).take(8).collect();
            match tempfile::Builder::new().prefix(&format!("mh-{name}")).rand_bytes(0).tempdir_in(base) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (),
                made => break made.expect("a scratch directory"),
            }
        };
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
        Self { directory: Some(directory) }
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.as_ref().expect("there until dropped").path()
    }

    /// Gives the last part of the path: unique among what runs here.
    pub(super) fn name(&self) -> String {
        self.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    pub(super) fn join(&self, path: &str) -> PathBuf {
        self.path().join(path)
    }

    /// Makes a directory, with those above it.
    pub(super) fn directory(&self, path: &str) -> PathBuf {
        let path = self.join(path);
        fs::create_dir_all(&path).expect("a scratch directory");
        path
    }

    /// Writes a file that only its owner may read.
    pub(super) fn write(&self, path: &str, content: &str) -> PathBuf {
        let path = self.join(path);
        fs::write(&path, content).expect("a scratch file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
        path
    }

    /// Gives a path below it, with all that is there, to `owner`.
    pub(super) fn give_to(&self, path: &Path, owner: &Identity) {
        std::os::unix::fs::lchown(path, Some(owner.uid), Some(owner.gid)).expect("its owner");
        if path.is_dir() {
            for entry in fs::read_dir(path).expect("a scratch directory") {
                self.give_to(&entry.expect("a scratch directory").path(), owner);
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let Some(directory) = self.directory.take() else { return };
        if thread::panicking() {
            eprintln!("kept: {}", directory.keep().display());
        }
    }
}
