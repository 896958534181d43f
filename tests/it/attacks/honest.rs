//! A server under attack, an honest caller, and the resources that the server spends meanwhile.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use grantmint::{
    provider::twilio_live::DEMO_API_KEY_SECRET,
    rpc::proto::token_service_client::TokenServiceClient,
};
use tokio::task::JoinHandle;
use tonic::transport::Channel;

use crate::{
    frames::{Conversation, Stream, connect},
    support::{Configured, Serve, found, mint, soon},
    tls::{
        Client, connected,
        pki::{Pki, uris},
    },
};

/// The most memory that an attack may cost: half of the limit in the contract, since allocations of
/// a debug build are the same.
const MOST_MEMORY: u64 = 50 << 20;

/// The honest caller.
const HONEST: &str = "spiffe://prod.example.org/ns/media/sa/honest";

/// The attacker. Its entry allows as many streams as the server has.
pub(super) const ATTACKER: &str = "spiffe://prod.example.org/ns/media/sa/attacker";

/// How callers connect to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// From loopback without TLS; every caller may do everything.
    Plaintext,
    /// With client certificates, one entry for each caller.
    MutualTls,
}

/// A server under attack.
pub(super) struct Attacked {
    pub(super) serve: Serve,
    /// Set if callers need certificates.
    pki: Option<Pki>,
}

/// An entry of `[callers]`.
fn entry(name: &str, caller: &str) -> String {
    format!(
        "[callers.{name}]\nmatch = [{caller:?}]\nstreams = 1024\n\
         allow = [{{ profiles = [\"demo\"] }}]\n"
    )
}

impl Transport {
    pub(super) const BOTH: [Self; 2] = [Self::Plaintext, Self::MutualTls];

    /// A server with these limits and a grant.
    pub(super) async fn limited(self, limits: &str) -> Attacked {
        let limits = format!("[limits]\n{limits}\n");
        match self {
            Self::Plaintext => {
                let config = Configured::with_secret(&limits, "", DEMO_API_KEY_SECRET);
                Attacked::with(&config, None).await
            }
            Self::MutualTls => Attacked::over_tls(&limits).await,
        }
    }
}

/// A plaintext server with these limits and a grant.
pub(super) async fn limited(limits: &str) -> Serve {
    Transport::Plaintext.limited(limits).await.serve
}

impl Attacked {
    /// A TLS server with these lines in `[server.tls]` and a grant.
    pub(super) async fn over_tls(lines: &str) -> Self {
        let pki = Pki::new();
        let entries = entry("honest", HONEST) + &entry("attacker", ATTACKER);
        let config = pki.configured(&format!("{lines}\n{entries}"));
        Self::with(&config, Some(pki)).await
    }

    async fn with(config: &Configured, pki: Option<Pki>) -> Self {
        let serve = Serve::configured(config, &["--log", "info"]).await;
        let attacked = Self { serve, pki };
        let mut tokens = attacked.tokens().await;
        let minted = async || soon(tokens.mint_token(mint("first", None))).await.ok();
        found("a token", minted).await;
        attacked
    }

    /// A client of the honest caller.
    pub(super) async fn tokens(&self) -> TokenServiceClient<Channel> {
        let Some(pki) = &self.pki else { return self.serve.tokens().await };
        let pair = pki.write_pair("honest", &[&pki.prod.issue(uris(&[HONEST]))]);
        let channel = connected(pki, &self.serve, Some(pair)).await;
        TokenServiceClient::new(channel).max_decoding_message_size(16 << 20)
    }

    /// A client with a certificate of that name, or without one.
    pub(super) fn client(&self, name: Option<&str>) -> Client {
        let pki = self.pki.as_ref().expect("certificates");
        let certificate = name.map(|name| pki.prod.issue(uris(&[name])));
        Client::with(pki, certificate.as_ref().as_slice())
    }

    /// A connection of the attacker with HTTP/2's default initial window.
    pub(super) async fn conversation(&self) -> Conversation {
        self.converse(None).await
    }

    /// The same with this initial window for each stream.
    pub(super) async fn with_window(&self, window: u32) -> Conversation {
        self.converse(Some(window)).await
    }

    async fn converse(&self, window: Option<u32>) -> Conversation {
        Conversation::over(self.stream().await, window).await
    }

    /// A connection of the attacker before its first byte.
    pub(super) async fn stream(&self) -> Box<dyn Stream> {
        let stream = connect(self.serve.address()).await;
        if self.pki.is_none() {
            return Box::new(stream);
        }
        let client = self.client(Some(ATTACKER));
        Box::new(client.shake_hands(stream).await.expect("an accepted certificate"))
    }
}

/// The server's resident memory in bytes.
pub(super) fn memory(serve: &Serve) -> u64 {
    let status =
        fs::read_to_string(format!("/proc/{}/status", serve.pid())).expect("a running process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    let kilobytes = line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number");
    kilobytes * 1_024
}

/// Sequential calls, each of which must succeed.
pub(super) struct Honest {
    stop: Arc<AtomicBool>,
    calls: JoinHandle<u32>,
    before: u64,
}

impl Honest {
    pub(super) async fn begin(attacked: &Attacked) -> Self {
        let mut tokens = attacked.tokens().await;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let calls = tokio::spawn(async move {
            let mut answered = 0;
            while answered == 0 || !stopped.load(Ordering::Relaxed) {
                let answer = soon(tokens.mint_token(mint("honest", None))).await;
                answer.expect("an honest call failed");
                answered += 1;
            }
            answered
        });
        Self { stop, calls, before: memory(&attacked.serve) }
    }

    /// Asserts that every call succeeded and that the server's memory has not grown much.
    pub(super) async fn end(self, attacked: &Attacked) {
        let grown = memory(&attacked.serve).saturating_sub(self.before);
        assert!(grown <= MOST_MEMORY, "{grown} bytes");
        self.stop.store(true, Ordering::Relaxed);
        assert!(soon(self.calls).await.expect("an honest call failed") > 0);
    }
}
