//! The life of one connection, as its calls see it.

use tokio_util::sync::CancellationToken;

/// Whether a connection may go on. The server ends it; streams that see its end end themselves,
/// and say where to resume, before the connection is cut. The default never ends.
#[derive(Clone, Debug, Default)]
pub struct Lifetime(CancellationToken);

impl Lifetime {
    /// Ends it, once and for all.
    pub fn end(&self) {
        self.0.cancel();
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits for its end.
    pub async fn ended(&self) {
        self.0.cancelled().await;
    }
}
