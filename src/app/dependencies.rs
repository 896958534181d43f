//! What a server needs from elsewhere before it is ready, beside its grants.

use tokio::sync::watch;

use crate::{clock::Anchor, ready::Dependency, tls::WorkloadApi};

impl Dependency for WorkloadApi {
    fn has_arrived(&self) -> bool {
        self.has_svid()
    }

    fn line(&self, now: Anchor) -> String {
        self.line(now.wall)
    }

    fn changes(&self) -> watch::Receiver<()> {
        self.changes()
    }
}
