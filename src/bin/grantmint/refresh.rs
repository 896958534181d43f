//! `grantmint refresh`: an attempt to refresh a grant now.

use clap::Args;
use grantmint::rpc::proto::{
    Grant, RefreshGrantRequest, grant::RefreshState, grant_service_client::GrantServiceClient,
};
use tonic::Status;

use crate::{
    client::{ServerArgs, unary},
    exit::Exit,
    failure::Failure,
    grants,
};

/// Refreshes a grant now, for example after the upstream's key was fixed, and shows its state.
#[derive(Debug, Args)]
pub(crate) struct RefreshCommand {
    /// The grant's name, as grantmint grants shows it: profiles/PROFILE/grants/RESOURCE
    #[arg(value_name = "GRANT")]
    name: String,
    /// Write a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

impl RefreshCommand {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let grant = self.refresh().await?;
        grants::show(std::slice::from_ref(&grant), self.json)?;
        match (grant.refresh_state(), grant.last_fault) {
            (RefreshState::Ok, None) => Ok(Exit::Done),
            (state, fault) => {
                let reason = fault.map(|fault| format!(": {}", fault.reason)).unwrap_or_default();
                let message = format!("the upstream returned no new grant{reason}");
                Err(match state {
                    RefreshState::Rejected => Failure::for_good(message).next(
                        "see docs/operations.md for what each reason means and how to fix it",
                    ),
                    _ => Failure::try_later(message),
                })
            }
        }
    }

    async fn refresh(&self) -> Result<Grant, Status> {
        let mut client = GrantServiceClient::new(self.server.connect().await?);
        let request = RefreshGrantRequest { name: self.name.clone() };
        let answer = client.refresh_grant(unary(request)).await?.into_inner();
        Ok(answer.grant.unwrap_or_default())
    }
}
