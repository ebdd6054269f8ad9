//! Reading a secret from where the job says it is.
//!
//! Invariants: at most [`BYTES_MAX`] are kept, in buffers that are wiped; a secret is one line of text without control
//! codes. An error tells a program's name, status and first complaint, with its arguments and its output taken out.

use super::{AuthError, Secret, SecretSource};
use crate::failure::harmless;
use std::fmt;
use std::path::Path;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// The largest token in use has a few thousand bytes.
const BYTES_MAX: usize = 64 << 10;

impl SecretSource {
    /// Says where the secret comes from, as a sentence names it; of a program only its name.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Plain(_) => "the job file".to_owned(),
            Self::Env(name) => format!("environment variable {name}"),
            Self::File(path) => format!("file {}", path.display()),
            Self::Command { argv, .. } => format!("program {}", argv.first().map_or("", String::as_str)),
        }
    }

    /// Reads the secret. A program gets a minute.
    pub async fn read(&self) -> Result<Secret, AuthError> {
        let from = || self.describe();
        let bytes = match self {
            Self::Plain(secret) => return one_line(self, secret.expose()),
            Self::Env(name) => {
                let value = std::env::var_os(name).ok_or_else(|| AuthError::NotSet { from: from() })?;
                let value = value.into_string().map_err(|_| AuthError::NotText { from: from() })?;
                let value = Zeroizing::new(value);
                // `$(cat file)` drops the line end, other ways of setting a variable keep it.
                return one_line(self, value.trim_end_matches(['\r', '\n']));
            }
            Self::File(path) => read_file(path).await.map_err(|error| unreadable(from(), &error))?,
            Self::Command { argv, directory } => self.run(argv, directory).await?,
        };
        if bytes.len() > BYTES_MAX {
            return Err(AuthError::TooLarge { from: from(), max: BYTES_MAX });
        }
        let line = first_line(&bytes);
        // Editors on Windows put a byte order mark before the first character.
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        one_line(self, std::str::from_utf8(line).map_err(|_| AuthError::NotText { from: from() })?)
    }

    async fn run(&self, argv: &[String], directory: &Path) -> Result<Zeroizing<Vec<u8>>, AuthError> {
        /// A person may have to touch a key; nobody waits longer.
        const TIME_MAX: Duration = Duration::from_secs(60);
        let from = self.describe();
        let (program, arguments) =
            argv.split_first().ok_or_else(|| AuthError::Empty { from: from.clone(), program: true })?;
        let mut command = Command::new(located(program, directory));
        command.args(arguments).current_dir(directory).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (status, output, complaint) = match timeout(TIME_MAX, finish(command)).await {
            Ok(Ok(done)) => done,
            Ok(Err(error)) => return Err(unreadable(from, &error)),
            Err(_) => return Err(AuthError::Endless { from, within: TIME_MAX }),
        };
        if status.success() {
            return Ok(output);
        }
        let mut words = Zeroizing::new(String::from_utf8_lossy(first_line(&complaint)).into_owned());
        let printed = Zeroizing::new(String::from_utf8_lossy(&output).into_owned());
        for hidden in arguments.iter().map(String::as_str).chain(printed.lines().map(str::trim)) {
            words = Zeroizing::new(without(&words, hidden));
        }
        let words = harmless(words.as_bytes());
        Err(AuthError::Failed { from, status: status.to_string().replace(": ", " "), words })
    }
}

/// Prints where it comes from; never a secret, never an argument.
impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretSource({})", self.describe())
    }
}

/// Takes a text out of another: what is shorter than four characters is no secret, and would hide ordinary words.
fn without(words: &str, hidden: &str) -> String {
    if hidden.chars().count() < 4 { words.to_owned() } else { words.replace(hidden, "…") }
}

/// A program named by a relative path counts from the job file's directory; a bare name is looked up in PATH.
fn located(program: &str, directory: &Path) -> std::path::PathBuf {
    let path = Path::new(program);
    if path.components().count() > 1 || program.starts_with("./") { directory.join(path) } else { path.to_owned() }
}

type Finished = (ExitStatus, Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>);

/// Runs a program to its end and gives what it printed and complained.
async fn finish(mut command: Command) -> std::io::Result<Finished> {
    /// A helper left behind in the background may keep the pipes open for ever (ssh with ControlPersist does).
    const GRACE: Duration = Duration::from_secs(1);
    let mut child = command.spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (mut output, mut complaint) = (buffer(), buffer());
    let status = {
        let mut reads = pin!(async { tokio::join!(fill(stdout, &mut output), fill(stderr, &mut complaint)) });
        tokio::select! {
            status = child.wait() => {
                let _ = timeout(GRACE, reads).await;
                status?
            }
            _ = &mut reads => child.wait().await?,
        }
    };
    Ok((status, output, complaint))
}

fn buffer() -> Zeroizing<Vec<u8>> {
    // Large enough from the start: a buffer that grows leaves copies behind.
    Zeroizing::new(Vec::with_capacity(BYTES_MAX + 1 + READ_AHEAD))
}

/// What `read_to_end` wants free so as not to grow the buffer at its end.
const READ_AHEAD: usize = 64;

/// Fills the buffer to one byte more than a secret may have, and drops the rest so that the program is not held up.
async fn fill(pipe: Option<impl AsyncRead + Unpin>, buffer: &mut Vec<u8>) {
    let Some(mut pipe) = pipe else { return };
    // A pipe that breaks has ended; the exit status tells the rest.
    if (&mut pipe).take(BYTES_MAX as u64 + 1).read_to_end(buffer).await.is_ok() {
        let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
    }
}

async fn read_file(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = buffer();
    let file = tokio::fs::File::open(path).await?;
    file.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

fn first_line(bytes: &[u8]) -> &[u8] {
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn one_line(source: &SecretSource, text: &str) -> Result<Secret, AuthError> {
    let from = source.describe();
    if text.is_empty() {
        return Err(AuthError::Empty { from, program: matches!(source, SecretSource::Command { .. }) });
    }
    if text.chars().any(char::is_control) {
        return Err(AuthError::NotText { from });
    }
    Ok(Secret::new(text.to_owned()))
}

fn unreadable(from: String, error: &std::io::Error) -> AuthError {
    let text = error.to_string();
    AuthError::Unreadable { from, words: text.split(" (os error").next().unwrap_or_default().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Side;

    fn file(bytes: &[u8]) -> (tempfile::NamedTempFile, SecretSource) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let source = SecretSource::File(file.path().to_owned());
        (file, source)
    }

    fn shell(script: &str) -> SecretSource {
        let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        SecretSource::Command { argv, directory: std::env::temp_dir() }
    }

    async fn reads(source: &SecretSource) -> String {
        source.read().await.unwrap().expose().to_owned()
    }

    #[tokio::test]
    async fn a_file_gives_its_first_line_and_nothing_else() {
        for (bytes, expected) in [
            (&b"plain"[..], "plain"),
            (b" s p a c e \r\nsecond\n", " s p a c e "),
            (b"line\n", "line"),
            (b"\xef\xbb\xbfbom\r\n", "bom"),
            ("ü€\n".as_bytes(), "ü€"),
        ] {
            let (_kept, source) = file(bytes);
            assert_eq!(reads(&source).await, expected);
        }
    }

    #[tokio::test]
    async fn a_file_without_a_fit_first_line_is_refused() {
        let from = String::new;
        let empty = AuthError::Empty { from: from(), program: false };
        let not_text = AuthError::NotText { from: from() };
        let large = AuthError::TooLarge { from: from(), max: BYTES_MAX };
        let filler = vec![b'x'; BYTES_MAX + 1];
        for (bytes, expected) in [
            (&b""[..], &empty),
            (b"\nsecond", &empty),
            (b"\xff\xfe", &not_text),
            (b"a\0b", &not_text),
            (b"a\rb", &not_text),
            (&filler, &large),
        ] {
            let (kept, source) = file(bytes);
            let got = format!("{:?}", source.read().await.unwrap_err());
            let place = format!("file {}", kept.path().display());
            assert_eq!(got.replace(&place, ""), format!("{expected:?}"));
        }
        let missing = SecretSource::File("/does/not/exist".into());
        insta::assert_snapshot!(missing.read().await.unwrap_err().failure(Side::Source), @r"
        source: failed to get the secret from file /does/not/exist: No such file or directory
          hint: check the path and that this user may read it; it counts from the job file's directory
        ");
    }

    #[tokio::test]
    async fn an_environment_variable_gives_its_value() {
        let error = SecretSource::Env("MAILHAUL_NO_SUCH_VARIABLE".to_owned()).read().await.unwrap_err();
        insta::assert_snapshot!(error.failure(Side::Target), @r"
        target: failed to get the secret from environment variable MAILHAUL_NO_SUCH_VARIABLE: it is not set
          hint: set it in the environment that this program is started from
        ");
        // One that is there on every machine: setting one is unsafe while other tests run.
        let path = SecretSource::Env("PATH".to_owned());
        assert_eq!(reads(&path).await, std::env::var("PATH").unwrap());
    }

    #[tokio::test]
    async fn a_program_gives_the_first_line_it_prints() {
        assert_eq!(reads(&shell("echo first; echo second")).await, "first");
        assert_eq!(reads(&shell("printf 'no line end'")).await, "no line end");
        // Nothing comes in, and much that goes out does not hold it up.
        assert_eq!(reads(&shell("cat; echo after")).await, "after");
        assert_eq!(reads(&shell("echo it; head -c 1000000 /dev/zero >&2")).await, "it");
    }

    #[tokio::test]
    async fn a_helper_left_behind_does_not_hold_the_secret_back() {
        let began = std::time::Instant::now();
        assert_eq!(reads(&shell("sleep 30 & echo it")).await, "it");
        assert!(began.elapsed() < Duration::from_secs(20));
    }

    #[tokio::test]
    async fn a_program_named_by_a_path_counts_from_the_job_file() {
        let directory = tempfile::tempdir().unwrap();
        // A link: a script just written could still be open for writing in a child that another test is starting.
        std::os::unix::fs::symlink("/bin/pwd", directory.path().join("token")).unwrap();
        let directory = directory.path().canonicalize().unwrap();
        let source = SecretSource::Command { argv: vec!["./token".to_owned()], directory: directory.clone() };
        assert_eq!(reads(&source).await, directory.to_str().unwrap());
    }

    #[tokio::test]
    async fn a_program_that_fails_is_told_without_arguments_and_output() {
        let script = "echo hunter2-secret; echo \"wrong: hunter2-secret, $0 \x1b[31m\" >&2; echo more >&2; exit 3";
        let argv = ["/bin/sh", "-c", script, "argument-secret"].map(str::to_owned).to_vec();
        let source = SecretSource::Command { argv, directory: std::env::temp_dir() };
        let error = source.read().await.unwrap_err();
        assert!(!format!("{error:?} {error}").contains("-secret"), "{error:?}");
        insta::assert_snapshot!(error.failure(Side::Source), @r"
        source: failed to get the secret from program /bin/sh: it ended with exit status 3 and said: wrong: …, … �[31m
          hint: run it by hand in the job file's directory: it has to print the secret without asking anything
        ");

        assert_eq!(
            shell("true").read().await.unwrap_err().to_string(),
            "get the secret from program /bin/sh: it printed nothing"
        );
        let large = shell("head -c 70000 /dev/zero").read().await.unwrap_err();
        assert_eq!(large, AuthError::TooLarge { from: "program /bin/sh".to_owned(), max: BYTES_MAX });
        let argv = vec!["no-such-program-here".to_owned(), "argument-secret".to_owned()];
        let missing = SecretSource::Command { argv, directory: std::env::temp_dir() };
        insta::assert_snapshot!(missing.read().await.unwrap_err(), @"get the secret from program no-such-program-here: No such file or directory");
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_that_never_ends_is_stopped() {
        let error = shell("sleep 600").read().await.unwrap_err();
        insta::assert_snapshot!(error.failure(Side::Source), @r"
        source: failed to get the secret from program /bin/sh: it did not end within 1m
          hint: run it by hand in the job file's directory: it has to print the secret without asking anything
        ");
    }
}
