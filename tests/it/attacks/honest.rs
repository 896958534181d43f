//! A server under attack, a caller of it that means well, and what the server spends on others
//! meanwhile.

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

/// More than any attack may cost: half of what the contract allows, since a debug build's
/// allocations are the same.
const MOST_MEMORY: u64 = 50 << 20;

/// The caller that means well.
const HONEST: &str = "spiffe://prod.example.org/ns/media/sa/honest";

/// Another, whose entry gives it as many streams as the server has.
pub(super) const ATTACKER: &str = "spiffe://prod.example.org/ns/media/sa/attacker";

/// How a server's callers come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From this host, where all of them may do everything.
    Plaintext,
    /// With certificates, each in an entry of its own.
    MutualTls,
}

/// A server under attack.
pub(super) struct Attacked {
    pub(super) serve: Serve,
    /// Where its callers need certificates.
    pki: Option<Pki>,
}

/// An entry of `[callers]`.
fn entry(name: &str, caller: &str) -> String {
    format!(
        "[callers.{name}]\nmatch = [{caller:?}]\nstreams = 1024\n\
         allow = [{{ profiles = [\"demo\"] }}]\n"
    )
}

impl Way {
    pub(super) const BOTH: [Self; 2] = [Self::Plaintext, Self::MutualTls];

    /// A server with these limits, which has a grant.
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

/// A server with these limits over plaintext, which has a grant.
pub(super) async fn limited(limits: &str) -> Serve {
    Way::Plaintext.limited(limits).await.serve
}

impl Attacked {
    /// A server over TLS with these lines in `[server.tls]`, which has a grant.
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

    /// Calls of the one that means well.
    pub(super) async fn tokens(&self) -> TokenServiceClient<Channel> {
        let Some(pki) = &self.pki else { return self.serve.tokens().await };
        let pair = pki.write_pair("honest", &[&pki.prod.issue(uris(&[HONEST]))]);
        let channel = connected(pki, &self.serve, Some(pair)).await;
        TokenServiceClient::new(channel).max_decoding_message_size(16 << 20)
    }

    /// A client with a certificate of that name, or with none.
    pub(super) fn client(&self, who: Option<&str>) -> Client {
        let pki = self.pki.as_ref().expect("certificates");
        let certificate = who.map(|who| pki.prod.issue(uris(&[who])));
        Client::with(pki, certificate.as_ref().as_slice())
    }

    /// A connection of the other, with the first window that HTTP/2 begins with.
    pub(super) async fn conversation(&self) -> Conversation {
        self.converse(None).await
    }

    /// The same, with this first window of each stream.
    pub(super) async fn with_window(&self, window: u32) -> Conversation {
        self.converse(Some(window)).await
    }

    async fn converse(&self, window: Option<u32>) -> Conversation {
        Conversation::over(self.stream().await, window).await
    }

    /// A connection of the other, before its first byte.
    pub(super) async fn stream(&self) -> Box<dyn Stream> {
        let stream = connect(self.serve.address()).await;
        if self.pki.is_none() {
            return Box::new(stream);
        }
        let client = self.client(Some(ATTACKER));
        Box::new(client.shake_hands(stream).await.expect("it is known"))
    }
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
    pub(super) async fn begin(attacked: &Attacked) -> Self {
        let mut tokens = attacked.tokens().await;
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
        Self { stop, calls, before: memory(&attacked.serve) }
    }

    /// All its calls were answered, and the server has not grown by much.
    pub(super) async fn end(self, attacked: &Attacked) {
        let grown = memory(&attacked.serve).saturating_sub(self.before);
        assert!(grown <= MOST_MEMORY, "{grown} bytes");
        self.stop.store(true, Ordering::Relaxed);
        assert!(soon(self.calls).await.expect("no failed call") > 0);
    }
}
