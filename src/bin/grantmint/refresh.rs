//! `grantmint refresh`: refreshes a grant now.

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

/// Refresh a grant now, for example after fixing the upstream's key, and show its status
#[derive(Debug, Args)]
pub(crate) struct RefreshCommand {
    /// Name of the grant, as in grantmint grants: profiles/PROFILE/grants/RESOURCE
    #[arg(value_name = "GRANT")]
    name: String,
    /// Print a JSON object
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
                    RefreshState::Rejected => Failure::permanent(message).next(
                        "see docs/operations.md for what each reason means and how to fix it",
                    ),
                    _ => Failure::transient(message),
                })
            }
        }
    }

    async fn refresh(&self) -> Result<Grant, Status> {
        let mut client = GrantServiceClient::new(self.server.connect().await?);
        let request = RefreshGrantRequest { name: self.name.clone() };
        let response = client.refresh_grant(unary(request)).await?.into_inner();
        Ok(response.grant.unwrap_or_default())
    }
}
