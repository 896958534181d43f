//! The bearer token that commands send.

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

/// How long what the file held is sent before it is read again.
const FRESH: Duration = Duration::from_secs(1);

/// A connection whose calls carry the token, if there is one.
pub(crate) type Connection = InterceptedService<Channel, Bearer>;

/// Puts the token of a file on each call. The file is read again as calls are made: whoever
/// writes it replaces the token before it expires. While it cannot be read, the last token is sent.
#[derive(Clone)]
pub(crate) struct Bearer {
    file: Option<Arc<TokenFile>>,
}

struct TokenFile {
    path: PathBuf,
    last: Mutex<Last>,
}

/// What the file held when it could be read last.
struct Last {
    header: MetadataValue<Ascii>,
    /// When reading was last tried.
    tried: Instant,
    failed: bool,
}

impl Bearer {
    /// That of this file, which must hold one now.
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
            last.read_again(&file.path);
        }
        request.metadata_mut().insert("authorization", last.header.clone());
        Ok(request)
    }
}

impl Last {
    /// Takes the token that the file holds now. Where there is none the last one stays, and the
    /// first failure is reported.
    fn read_again(&mut self, path: &Path) {
        self.tried = Instant::now();
        let read = header(path);
        if let Err(problem) = &read
            && !self.failed
        {
            let problem = problem.message();
            output::say(&format!("{problem}; the last token is sent until the file holds one"));
        }
        self.failed = read.is_err();
        self.header = read.unwrap_or_else(|_| self.header.clone());
    }
}

/// The header for the token that the file holds now.
fn header(path: &Path) -> Result<MetadataValue<Ascii>, Status> {
    let problem =
        |why: String| unusable(Problem::TokenFile { file: path.display().to_string(), why });
    // A pipe would hold each call.
    let metadata = fs::metadata(path).map_err(|error| problem(error.to_string()))?;
    if !metadata.is_file() {
        return Err(problem("it is no regular file".to_owned()));
    }
    let token = read_secret(path).map_err(|error| problem(error.to_string()))?;
    let token = token.trim();
    let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let value = MetadataValue::try_from(format!("Bearer {token}")).ok().filter(|_| is_token);
    let mut value = value.ok_or_else(|| problem("it holds no token".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_token_is_sent_while_the_file_cannot_be_read() {
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
        assert!(Bearer::of(Some(&path)).is_err(), "a command needs one to start");
    }
}
