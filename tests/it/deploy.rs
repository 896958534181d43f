//! What runs the server elsewhere: `grantmint health`, systemd.

mod health;
mod systemd;

use std::path::PathBuf;

/// The top of the repository.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
