//! Job files good and bad.

mod accepted;
mod broken;
mod defaults;
mod laws;

use super::*;
use std::collections::HashMap;
use std::sync::Arc;

/// Surroundings where all is there but what is called by a name that says otherwise.
#[derive(Default)]
struct Fake {
    files: HashMap<PathBuf, Vec<u8>>,
}

impl Surroundings for Fake {
    fn has_variable(&self, name: &str) -> bool {
        !name.contains("UNSET")
    }

    fn has_program(&self, program: &str) -> bool {
        !program.contains("no-such")
    }

    fn secret_file(&self, path: &Path) -> io::Result<SecretFile> {
        let name = path.to_string_lossy();
        if name.contains("no-such") {
            return Err(io::ErrorKind::NotFound.into());
        }
        if name.contains("closed") {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(SecretFile {
            is_directory: name.ends_with("-directory"),
            is_empty: name.contains("empty"),
            is_open_to_others: name.contains("open"),
        })
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn is_directory(&self, path: &Path) -> bool {
        !path.to_string_lossy().contains("no-such")
    }
}

const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

/// Files that lie in `/jobs` beside the job.
fn context(files: &[(&str, &[u8])]) -> Context {
    let mut all: HashMap<PathBuf, Vec<u8>> = HashMap::new();
    all.insert("/jobs/ca.pem".into(), CERTIFICATE.to_vec());
    all.insert("/jobs/key.pem".into(), b"-----BEGIN PRIVATE KEY-----\n".to_vec());
    all.insert("/jobs/ca.der".into(), vec![0x30, 0x82, 1, 1]);
    all.extend(files.iter().map(|(name, bytes)| (Path::new("/jobs").join(name), bytes.to_vec())));
    Context { patience: Patience::Terminal, surroundings: Arc::new(Fake { files: all }) }
}

fn read(text: &str, files: &[(&str, &[u8])]) -> Result<Job, Errors> {
    parse(text, Path::new("/jobs/job.toml"), &context(files))
}

/// Reads a job that has to be good.
fn job(text: &str) -> Job {
    read(text, &[]).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Reads a job that has to be refused; gives what a person sees.
fn refused(text: &str) -> String {
    refused_with(text, &[])
}

fn refused_with(text: &str, files: &[(&str, &[u8])]) -> String {
    match read(text, files) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(errors) => {
            assert!(errors.iter().all(|error| !error.hint.is_empty()), "an error without a hint: {errors}");
            errors.to_string().replace("/jobs/", "")
        }
    }
}

/// Both servers and one account.
const SERVERS: &str = "[source]\nhost = \"imap.old.example\"\n[target]\nhost = \"imap.new.example\"\n";
const ACCOUNT: &str = "[[account]]\nsource = { user = \"info\", password = { env = \"OLD\" } }\ntarget = { user = \"info\", password = { env = \"NEW\" } }\n";
