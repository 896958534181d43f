//! A Unix socket on the real binary: its path, its permissions, its clients, and its file.

mod clients;
mod commands;
mod file;
mod limits;
mod peers;

use std::{fs, path::PathBuf};

use grantmint::provider::twilio_live::DEMO_API_KEY_SECRET;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use crate::{
    frames::{GOAWAY, HEADERS, PREFACE, SETTINGS, call, frame},
    support::{Configured, Serve, mint, soon},
};

/// The configuration of a server with a socket.
pub(crate) struct Socket {
    config: Configured,
    path: PathBuf,
}

impl Socket {
    /// With these lines in `[server]`, and these tables.
    pub(crate) fn with(server: &str, tables: &str) -> Self {
        Self::of("", server, tables)
    }

    /// The same, with these keys in addition to the socket's path.
    fn of(keys: &str, server: &str, tables: &str) -> Self {
        // The default temporary directory keeps the path short.
        let config = Configured::with_secret("", "", DEMO_API_KEY_SECRET);
        let path = config.dir.path().join("api.sock");
        let text = fs::read_to_string(&config.file).expect("text");
        let socket = format!("unix = {{ path = \"{}\"{keys} }}", path.display());
        let text = format!("[server]\n{socket}\n{server}\n{tables}\n{text}");
        fs::write(&config.file, text).expect("written");
        Self { config, path }
    }

    pub(crate) async fn serve(&self) -> Serve {
        Serve::where_configured(&self.config).await
    }

    /// The value of `--server`.
    pub(crate) fn url(&self) -> String {
        format!("unix:{}", self.path.display())
    }

    async fn connect(&self) -> UnixStream {
        soon(UnixStream::connect(&self.path)).await.expect("a connection")
    }

    /// A connection that has sent its preface, and whether it was accepted.
    async fn try_connect(&self) -> (UnixStream, bool) {
        let mut stream = self.connect().await;
        stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.expect("sent");
        let is_in = !gets_goaway(&mut stream).await;
        (stream, is_in)
    }
}

/// Whether the server sends GOAWAY instead of a response.
async fn gets_goaway(stream: &mut UnixStream) -> bool {
    // It may be closed already.
    let path = "/grantmint.v1.TokenService/MintToken";
    let _ = stream.write_all(&call(1, path, &mint("alice", None))).await;
    loop {
        let mut head = [0; 9];
        if soon(stream.read_exact(&mut head)).await.is_err() {
            return true;
        }
        let [high, middle, low, kind, ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
        if soon(stream.read_exact(&mut payload)).await.is_err() {
            return true;
        }
        match kind {
            GOAWAY => return true,
            HEADERS => return false,
            _ => {}
        }
    }
}

/// The user that runs this test.
fn own_uid() -> u32 {
    rustix::process::getuid().as_raw()
}
