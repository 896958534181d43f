//! The peers: servers as a team would write them today in Node, Python and Go, each with a cached
//! grant.
//!
//! Their code is in `benches/peers`; `make peer-tools` installs what they need.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use grantmint::{
    provider::twilio_live::{DEMO_ACCOUNT_SID, DEMO_API_KEY_SECRET, DEMO_API_KEY_SID},
    rpc::proto::MintTokenResponse,
};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use prost::Message;
use serde_json::{Value, json, value::RawValue};

use crate::{
    load::{Connection, IDENTITY},
    process::{Cores, Server},
};

/// A peer, by its language.
#[derive(Clone, Copy)]
pub(crate) enum Peer {
    Node,
    Python,
    Go,
}

impl Peer {
    pub(crate) const ALL: [Self; 3] = [Self::Node, Self::Python, Self::Go];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Node => "Node",
            Self::Python => "Python",
            Self::Go => "Go",
        }
    }

    /// Starts it with this grant and verifies its token.
    pub(crate) async fn start(self, grant: &RawValue, on: &Cores, all: &Cores) -> Result<Server> {
        let given = json!({
            "account_sid": DEMO_ACCOUNT_SID,
            "api_key_sid": DEMO_API_KEY_SID,
            "api_key_secret": DEMO_API_KEY_SECRET,
            "grant": grant,
        });
        let server = Server::start(self.command()?, &given.to_string(), on, all)?;
        let answer = Connection::open(server.addr).await?.mint().await?.split_off(5);
        verify(&MintTokenResponse::decode(answer)?, grant).context("its answer is wrong")?;
        Ok(server)
    }

    /// Its command; fails if it could not be installed.
    fn command(self) -> Result<Command> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = self.name().to_lowercase();
        let source = root.join("benches/peers").join(&folder);
        let made = root.join("target/peers").join(&folder);
        if let Ok(reason) = fs::read_to_string(made.join("missing")) {
            bail!("{}", reason.trim());
        }
        let existing = |path: PathBuf| {
            ensure!(path.exists(), "it is not made: make peer-tools");
            Ok(path)
        };
        Ok(match self {
            Self::Node => {
                let mut command = Command::new("node");
                command.env("NODE_PATH", existing(made.join("node_modules"))?);
                command.arg(source.join("main.js"));
                command
            }
            Self::Python => {
                let mut command = Command::new(existing(made.join("venv/bin/python"))?);
                command.env("PYTHONPATH", made).arg(source.join("main.py"));
                command
            }
            Self::Go => Command::new(existing(made.join("server"))?),
        })
    }
}

/// Verifies that this is a token for the requested identity with this grant, and that the response
/// matches it.
fn verify(answer: &MintTokenResponse, grant: &RawValue) -> Result<()> {
    let key = DecodingKey::from_secret(DEMO_API_KEY_SECRET.as_bytes());
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_issuer(&[DEMO_API_KEY_SID]);
    validation.sub = Some(DEMO_ACCOUNT_SID.to_owned());
    let token = jsonwebtoken::decode::<Value>(&answer.token, &key, &validation)?;
    let claims = token.claims;
    ensure!(token.header.cty.as_deref() == Some("twilio-fpa;v=1"), "another content type");
    ensure!(claims["grants"]["player"] == serde_json::from_str::<Value>(grant.get())?, "no grant");
    ensure!(claims["grants"]["identity"] == IDENTITY, "another identity");
    ensure!(claims["jti"] == *answer.token_id, "another token_id");
    let validity = answer.validity.as_ref().context("no validity")?;
    let expire = validity.expire_time.context("no expire_time")?.seconds;
    let issue = validity.issue_time.context("no issue_time")?.seconds;
    ensure!(claims["exp"] == expire, "another expire_time");
    // A minute, within the difference of two clock readings.
    ensure!((59..=61).contains(&(expire - issue)), "a life of {} s", expire - issue);
    Ok(())
}
