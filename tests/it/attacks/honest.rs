//! A caller that means well, and what the server spends on others meanwhile.

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use grantmint::provider::twilio_live::DEMO_API_KEY_SECRET;
use tokio::task::JoinHandle;

use crate::support::{Configured, Serve, mint, soon};

/// More than any attack may cost: half of what the contract allows, since a debug build's
/// allocations are the same.
const MOST_MEMORY: u64 = 50 << 20;

/// A server with these limits, which has a grant.
pub(super) async fn limited(limits: &str) -> Serve {
    let top = format!("[limits]\n{limits}");
    let config = Configured::with_secret(&top, "", DEMO_API_KEY_SECRET);
    let serve = Serve::configured(&config, &["--log", "info"]).await;
    serve.first_token().await;
    serve
}

pub(super) fn address(serve: &Serve) -> SocketAddr {
    serve.server.strip_prefix("http://").expect("a URL").parse().expect("an address")
}

/// Bytes of the server in memory.
pub(super) fn memory(serve: &Serve) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", serve.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    let kilobytes = line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number");
    kilobytes * 1_024
}

/// Calls one after the other, all of which must be answered.
pub(super) struct Honest {
    stop: Arc<AtomicBool>,
    calls: JoinHandle<u32>,
    before: u64,
}

impl Honest {
    pub(super) async fn begin(serve: &Serve) -> Self {
        let mut tokens = serve.tokens().await;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let calls = tokio::spawn(async move {
            let mut answered = 0;
            while answered == 0 || !stopped.load(Ordering::Relaxed) {
                let answer = soon(tokens.mint_token(mint("honest", None))).await;
                answer.expect("an honest call is answered");
                answered += 1;
            }
            answered
        });
        Self { stop, calls, before: memory(serve) }
    }

    /// All its calls were answered, and the server has not grown by much.
    pub(super) async fn end(self, serve: &Serve) {
        let grown = memory(serve).saturating_sub(self.before);
        assert!(grown <= MOST_MEMORY, "{grown} bytes");
        self.stop.store(true, Ordering::Relaxed);
        assert!(soon(self.calls).await.expect("no failed call") > 0);
    }
}
