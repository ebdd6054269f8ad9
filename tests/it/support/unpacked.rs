//! Programs that `tests/servers` unpacks without installing them, and the libraries that come with them.

use super::scratch::Scratch;
use super::servers_directory;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(super) struct Unpacked {
    name: &'static str,
    programs: Vec<PathBuf>,
    libraries: Vec<PathBuf>,
}

impl Unpacked {
    /// Finds programs by their paths below `usr`, and the libraries whose names begin so.
    pub(super) fn find(name: &'static str, programs: &[&str], libraries: &[&str]) -> Self {
        let usr = servers_directory().join("usr");
        let lib = usr.join("lib");
        let entries =
            |directory: &Path| fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
        let files = entries(&lib).chain(entries(&lib).filter(|path| path.is_dir()).flat_map(|path| entries(&path)));
        let is_library = |file: &PathBuf| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            name.ends_with(".so.0") && libraries.iter().any(|library| name.starts_with(library))
        };
        Self {
            name,
            programs: programs.iter().map(|program| usr.join(program)).collect(),
            libraries: files.filter(is_library).collect(),
        }
    }

    /// Says why they cannot run here. `probe`: the program that is asked for its usage.
    pub(super) fn available(&self, probe: &str) -> Result<(), String> {
        if let Some(missing) = self.programs.iter().find(|program| !program.exists()) {
            return Err(format!("{} is not unpacked: no {}", self.name, missing.display()));
        }
        let output = self.command(probe).arg("-?").stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stderr);
        let broken = said.contains("shared libraries");
        if broken { Err(format!("{} cannot run: {}", self.name, said.trim())) } else { Ok(()) }
    }

    /// Copies them to where a user without rights gets at them: the project may lie in root's own directory.
    pub(super) fn copy_to(&self, scratch: &Scratch) -> Self {
        let (bin, lib) = (scratch.directory("bin"), scratch.directory("lib"));
        let copy = |file: &PathBuf, directory: &Path| {
            let copied = directory.join(file.file_name().expect("a file"));
            fs::copy(file, &copied).expect("a copied program");
            copied
        };
        Self {
            name: self.name,
            programs: self.programs.iter().map(|file| copy(file, &bin)).collect(),
            libraries: self.libraries.iter().map(|file| copy(file, &lib)).collect(),
        }
    }

    /// Gives where a program lies.
    pub(super) fn path(&self, program: &str) -> &Path {
        self.programs.iter().find(|path| path.ends_with(program)).expect("a program that was looked for")
    }

    pub(super) fn library_path(&self) -> OsString {
        let directories: BTreeSet<_> = self.libraries.iter().filter_map(|file| file.parent()).collect();
        std::env::join_paths(directories).expect("paths without colons")
    }

    /// Gives a command that finds its libraries.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.path(program));
        command.env("LD_LIBRARY_PATH", self.library_path());
        command
    }
}
