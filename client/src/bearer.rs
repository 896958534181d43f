//! The bearer token that calls carry.

use std::{
    fmt, fs, mem,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::Interceptor,
};
use zeroize::Zeroizing;

/// How long a token is sent before its file is read again, even if it seems unchanged.
const FRESH: Duration = Duration::from_secs(1);

/// No token is longer: the server accepts 8 KiB.
const MAX_BYTES: u64 = 64 * 1024;

/// Adds the token in a file to each call, if there is a file. The file is read again when it has
/// changed, since the token is replaced before it expires. While the file cannot be read, the
/// last token is sent.
///
/// It is read on the runtime's thread: a call costs a look at its metadata, a small file is read
/// once a second, and an interceptor cannot wait.
#[derive(Clone, Debug, Default)]
pub struct Bearer {
    file: Option<Arc<TokenFile>>,
}

struct TokenFile {
    path: PathBuf,
    last: Mutex<Last>,
    on_problem: OnProblem,
}

type OnProblem = Box<dyn Fn(&str) + Send + Sync>;

/// What was last read.
#[derive(Debug)]
struct Last {
    header: MetadataValue<Ascii>,
    version: Option<Version>,
    read: Instant,
    /// Whether the last read failed, so that the header is an older one.
    failed: bool,
}

/// What differs when a file is written or replaced.
#[derive(Debug, PartialEq, Eq)]
struct Version {
    modified: SystemTime,
    len: u64,
    inode: u64,
}

impl Version {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        let modified = metadata.modified().ok()?;
        Some(Self { modified, len: metadata.len(), inode: metadata.ino() })
    }
}

impl Bearer {
    /// The token in this file, which must hold one now; the error says why it does not.
    ///
    /// `on_problem` is called when a later read fails for the first time since a success.
    pub fn from_file(
        path: &Path,
        on_problem: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let version = Version::of(path);
        let last = Last { header: header(path)?, version, read: Instant::now(), failed: false };
        let (path, last, on_problem) = (path.to_owned(), Mutex::new(last), Box::new(on_problem));
        Ok(Self { file: Some(Arc::new(TokenFile { path, last, on_problem })) })
    }
}

impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let Some(file) = &self.file else { return Ok(request) };
        let mut last = file.last.lock().unwrap_or_else(PoisonError::into_inner);
        let version = Version::of(&file.path);
        if last.version != version || last.read.elapsed() >= FRESH {
            (last.version, last.read) = (version, Instant::now());
            match header(&file.path) {
                Ok(header) => (last.header, last.failed) = (header, false),
                Err(problem) => {
                    if !mem::replace(&mut last.failed, true) {
                        (file.on_problem)(&problem);
                    }
                }
            }
        }
        request.metadata_mut().insert("authorization", last.header.clone());
        Ok(request)
    }
}

/// The header for the token in the file.
fn header(path: &Path) -> Result<MetadataValue<Ascii>, String> {
    let problem = |why: String| format!("{}: {why}", path.display());
    // Reading a pipe would block the call.
    let metadata = fs::metadata(path).map_err(|error| problem(error.to_string()))?;
    if !metadata.is_file() || metadata.len() > MAX_BYTES {
        return Err(problem("not a regular file of up to 64 KiB".to_owned()));
    }
    let read = fs::read_to_string(path).map_err(|error| problem(error.to_string()))?;
    let read = Zeroizing::new(read);
    let token = read.trim();
    let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let value = MetadataValue::try_from(format!("Bearer {token}")).ok().filter(|_| is_token);
    let mut value = value.ok_or_else(|| problem("the file holds no token".to_owned()))?;
    // Keeps it out of `Debug` and out of the connection's table of headers.
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn last_token_is_sent_while_the_file_cannot_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, "one").unwrap();
        let problems = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&problems);
        let count = move |_: &str| *counted.lock().unwrap() += 1;
        let mut bearer = Bearer::from_file(&path, count).unwrap();
        let mut sent = async || {
            advance(FRESH).await;
            let request = bearer.call(Request::new(())).unwrap();
            let header = request.metadata().get("authorization").unwrap();
            (header.to_str().unwrap().to_owned(), *problems.lock().unwrap())
        };
        assert_eq!(sent().await, ("Bearer one".to_owned(), 0));
        fs::write(&path, "").unwrap();
        assert_eq!(sent().await, ("Bearer one".to_owned(), 1));
        fs::remove_file(&path).unwrap();
        assert_eq!(sent().await, ("Bearer one".to_owned(), 1));
        fs::write(&path, "two").unwrap();
        assert_eq!(sent().await, ("Bearer two".to_owned(), 1));
        fs::remove_file(&path).unwrap();
        assert_eq!(sent().await, ("Bearer two".to_owned(), 2));
        assert!(Bearer::from_file(&path, |_| {}).is_err(), "a client needs one to start");
    }

    #[test]
    fn token_is_not_printed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, "q1W2e3R4").unwrap();
        let bearer = Bearer::from_file(&path, |_| {}).unwrap();
        assert!(!format!("{bearer:?}").contains("q1W2e3R4"));
    }
}
