//! `mailhaul failed --export`: messages that are not on the target, as files with a manifest.

use super::exit::Exit;
use super::ground::Ground;
use super::jobs::{self, Typed};
use super::tell::{self, Refusal};
use crate::report;
use crate::transfer::{self, Events, Exported, Mode};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;
use tokio::sync::mpsc;

/// Messages that wait to be written down.
const WAITING_MAX: usize = 64;
/// Manifests in one directory: whoever has so many wants another directory.
const MANIFESTS_MAX: u32 = 1000;

/// Saves every listed message of a job in a directory.
pub(super) async fn export(ground: &Ground, job: &Path, directory: &Path) -> Result<Exit, Refusal> {
    let Typed { job, .. } = jobs::load_one(job)?;
    if ground.ledger_to_read()?.is_none() {
        return tell::print("nothing has been run yet\n").map(|()| Exit::Complete);
    }
    let _signals = ground.heed_signals();
    let hindered = |error: io::Error| {
        let path = directory.display();
        Refusal::new(Exit::Unusable, format!("failed to write to {path}: {error}\n  hint: name another directory"))
    };
    make(directory).map_err(hindered)?;
    let part = NamedTempFile::new_in(directory).map_err(hindered)?;
    let kit = ground.kit(ground.ledger()?, &ground.state()?);
    let context = kit.context(job, Events::silent(), Mode::default())?;
    let (sender, told) = mpsc::channel(WAITING_MAX);
    let (failures, written) = tokio::join!(transfer::export(context, directory, sender), write(told, part));
    let Written { manifest, saved, unsaved } = written.map_err(hindered)?;
    let manifest = place(manifest, directory).map_err(hindered)?;
    kit.close().await?;
    failures.iter().for_each(|failure| tell::error(&failure.to_string()));
    let rest = if unsaved == 0 { String::new() } else { format!(", {unsaved} could not be (see the manifest)") };
    let noun = if saved == 1 { "message" } else { "messages" };
    tell::print(&format!("{saved} {noun} saved{rest}\nmanifest: {}\n", manifest.display()))?;
    let listed = (unsaved > 0).then_some(Exit::Exceptions);
    Ok(Exit::together(failures.iter().map(|failure| Exit::of_kind(failure.kind)).chain(listed)))
}

/// Makes a directory that only its owner reads; one that is there stays as it is.
fn make(directory: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

struct Written {
    manifest: NamedTempFile,
    saved: u64,
    unsaved: u64,
}

async fn write(mut told: mpsc::Receiver<Exported>, mut manifest: NamedTempFile) -> io::Result<Written> {
    let (mut saved, mut unsaved) = (0, 0);
    while let Some(exported) = told.recv().await {
        writeln!(manifest, "{}", report::manifest_line(&exported))?;
        *(if exported.file.is_ok() { &mut saved } else { &mut unsaved }) += 1;
    }
    manifest.as_file().sync_all()?;
    Ok(Written { manifest, saved, unsaved })
}

/// Gives the manifest its name beside those of earlier exports.
fn place(mut manifest: NamedTempFile, directory: &Path) -> io::Result<PathBuf> {
    for number in 1..=MANIFESTS_MAX {
        let name = if number == 1 { "manifest.jsonl".to_owned() } else { format!("manifest-{number}.jsonl") };
        let path = directory.join(name);
        match manifest.persist_noclobber(&path) {
            Ok(_) => return Ok(path),
            Err(error) if error.error.kind() == ErrorKind::AlreadyExists => manifest = error.file,
            Err(error) => return Err(error.error),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}
