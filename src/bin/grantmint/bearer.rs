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

use crate::dial::{Problem, unusable};

/// How long what the file held is sent before it is read again.
const FRESH: Duration = Duration::from_secs(1);

/// A connection whose calls carry the token, if there is one.
pub(crate) type Connection = InterceptedService<Channel, Bearer>;

/// Puts the token of a file on each call. The file is read anew as calls are made: whoever
/// writes it replaces the token before it expires.
#[derive(Clone)]
pub(crate) struct Bearer {
    file: Option<Arc<TokenFile>>,
}

struct TokenFile {
    path: PathBuf,
    read: Mutex<(Instant, MetadataValue<Ascii>)>,
}

impl Bearer {
    /// That of this file, which must hold one now.
    pub(crate) fn of(path: Option<&Path>) -> Result<Self, Status> {
        let file = path.map(|path| {
            let read = Mutex::new((Instant::now(), header(path)?));
            Ok::<_, Status>(Arc::new(TokenFile { path: path.to_owned(), read }))
        });
        Ok(Self { file: file.transpose()? })
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let Some(file) = &self.file else { return Ok(request) };
        let mut read = file.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.0.elapsed() >= FRESH {
            *read = (Instant::now(), header(&file.path)?);
        }
        request.metadata_mut().insert("authorization", read.1.clone());
        Ok(request)
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
