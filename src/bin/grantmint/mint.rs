//! `grantmint mint`: one token.

use clap::Args;
use grantmint::rpc::proto::{
    MintTokenRequest, MintTokenResponse, token_service_client::TokenServiceClient,
};
use tonic::Status;

use crate::{
    client::{OptionArgs, ServerArgs, unary, utc},
    exit::Exit,
    failure::Failure,
    output,
};

/// Mint one token and print it
#[derive(Debug, Args)]
pub(crate) struct MintCommand {
    /// The identity that the token is for
    identity: String,
    /// Print a JSON object with the token, its id and its times
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: OptionArgs,
    #[command(flatten)]
    server: ServerArgs,
}

impl MintCommand {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let minted = self.mint().await?;
        if self.json {
            output::data(&as_json(&minted))?;
            return Ok(Exit::Done);
        }
        output::data(&minted.token)?;
        let validity = minted.validity.unwrap_or_default();
        let within = validity.use_within.unwrap_or_default().seconds;
        let expiry = utc(validity.expire_time.as_ref());
        output::message(&format!("use within {within} s; expires at {expiry}"));
        Ok(Exit::Done)
    }

    async fn mint(&self) -> Result<MintTokenResponse, Status> {
        let request = MintTokenRequest {
            options: Some(self.options.to_proto()),
            identity: self.identity.clone(),
        };
        let mut client = TokenServiceClient::new(self.server.connect().await?);
        Ok(client.mint_token(unary(request)).await?.into_inner())
    }
}

fn as_json(minted: &MintTokenResponse) -> String {
    let validity = minted.validity.clone().unwrap_or_default();
    serde_json::json!({
        "token": minted.token,
        "token_id": minted.token_id,
        "issue_time": utc(validity.issue_time.as_ref()),
        "expire_time": utc(validity.expire_time.as_ref()),
        "use_by_time": utc(validity.use_by_time.as_ref()),
        "grant": validity.grant,
        "generation": validity.generation,
    })
    .to_string()
}
