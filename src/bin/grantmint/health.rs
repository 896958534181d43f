//! `grantmint health`: whether a server is ready, for container health checks.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::timeout;
use tonic::Status;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{client::ServerArgs, exit::Exit, failure::Failure, output};

/// Check a server's health: exit with 0 if gRPC health reports SERVING
#[derive(Debug, Args)]
pub(crate) struct HealthCommand {
    /// The service, such as grantmint.v1.TokenService or profiles/NAME; default: the whole server
    #[arg(long, value_name = "NAME", default_value_t, hide_default_value = true)]
    service: String,
    /// How long to wait for the response, connecting included
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Write a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

impl HealthCommand {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let Ok(status) = timeout(self.timeout, self.check()).await else {
            let wait = humantime::format_duration(self.timeout);
            return Err(Failure::transient(format!("no response within {wait}")));
        };
        let status = status?;
        let name = status.as_str_name();
        if self.json {
            output::data(&json!({"service": self.service, "status": name}).to_string())?;
        } else {
            output::data(name)?;
        }
        if status == ServingStatus::Serving {
            return Ok(Exit::Done);
        }
        Err(Failure::transient("the server is not ready")
            .next("/readyz on the admin listener reports why"))
    }

    async fn check(&self) -> Result<ServingStatus, Status> {
        let mut client = HealthClient::new(self.server.connect().await?);
        let request = HealthCheckRequest { service: self.service.clone() };
        Ok(client.check(request).await?.into_inner().status())
    }
}
