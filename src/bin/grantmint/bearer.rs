//! The bearer token of commands.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use grantmint::settings::read_secret;
use tokio::time::Instant;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

use crate::{
    dial::{Problem, unusable},
    output,
};

/// How long a token is sent before its file is read again.
const FRESH: Duration = Duration::from_secs(1);

/// A connection that adds the token, if any, to each call.
pub(crate) type Connection = InterceptedService<Channel, Bearer>;

/// Adds the token of a file to each call. The file is read again as calls are made, since tokens
/// are replaced before they expire. While it cannot be read, the last token is sent.
#[derive(Clone)]
pub(crate) struct Bearer {
    file: Option<Arc<TokenFile>>,
}

struct TokenFile {
    path: PathBuf,
    last: Mutex<Last>,
}

/// The result of the last successful read.
struct Last {
    header: MetadataValue<Ascii>,
    /// The last attempt to read.
    tried: Instant,
    failed: bool,
}

impl Bearer {
    /// Reads the token in this file; it must hold one now.
    pub(crate) fn of(path: Option<&Path>) -> Result<Self, Status> {
        let file = path.map(|path| {
            let last = Last { header: header(path)?, tried: Instant::now(), failed: false };
            Ok::<_, Status>(Arc::new(TokenFile { path: path.to_owned(), last: Mutex::new(last) }))
        });
        Ok(Self { file: file.transpose()? })
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let Some(file) = &self.file else { return Ok(request) };
        let mut last = file.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.tried.elapsed() >= FRESH {
            last.reread(&file.path);
        }
        request.metadata_mut().insert("authorization", last.header.clone());
        Ok(request)
    }
}

impl Last {
    /// Reads the file again. If that fails the last token stays, and the first failure is reported.
    fn reread(&mut self, path: &Path) {
        self.tried = Instant::now();
        let read = header(path);
        if let Err(problem) = &read
            && !self.failed
        {
            let problem = problem.message();
            output::message(&format!("{problem}; the last token is sent until the file holds one"));
        }
        self.failed = read.is_err();
        self.header = read.unwrap_or_else(|_| self.header.clone());
    }
}

/// The header with the token that the file holds now.
fn header(path: &Path) -> Result<MetadataValue<Ascii>, Status> {
    let problem =
        |why: String| unusable(Problem::TokenFile { file: path.display().to_string(), why });
    // Reading a pipe would block each call.
    let metadata = fs::metadata(path).map_err(|error| problem(error.to_string()))?;
    if !metadata.is_file() {
        return Err(problem("not a regular file".to_owned()));
    }
    let token = read_secret(path).map_err(|error| problem(error.to_string()))?;
    let token = token.trim();
    let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let value = MetadataValue::try_from(format!("Bearer {token}")).ok().filter(|_| is_token);
    let mut value = value.ok_or_else(|| problem("the file holds no token".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn last_token_is_sent_while_the_file_is_unreadable() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, "one").unwrap();
        let mut bearer = Bearer::of(Some(&path)).unwrap();
        let mut sent = async || {
            advance(FRESH).await;
            let request = bearer.call(Request::new(())).unwrap();
            request.metadata().get("authorization").unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(sent().await, "Bearer one");
        fs::write(&path, "").unwrap();
        assert_eq!(sent().await, "Bearer one");
        fs::remove_file(&path).unwrap();
        assert_eq!(sent().await, "Bearer one");
        fs::write(&path, "two").unwrap();
        assert_eq!(sent().await, "Bearer two");
        fs::remove_file(&path).unwrap();
        assert!(Bearer::of(Some(&path)).is_err(), "a command needs a token to start");
    }
}
