//! `grantmint grants`: the grant status.

mod frame;
mod row;
mod watch;

use clap::Args;
use grantmint::{
    clock::Clock,
    rpc::proto::{Grant, ListGrantsRequest, grant_service_client::GrantServiceClient},
};

use self::row::{Columns, Row, as_json};
use crate::{
    client::{ServerArgs, unary},
    exit::Exit,
    failure::Failure,
    output,
    terminal::Paint,
};

/// Show the grant status: age, expiry, next refresh
#[derive(Debug, Args)]
pub(crate) struct GrantsCommand {
    /// Only the grants of this profile
    #[arg(long)]
    profile: Option<String>,
    /// Run until Ctrl-C: a live table on a terminal, else a line for each change
    #[arg(long)]
    watch: bool,
    /// Print a JSON object per grant; with --watch one per change
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

impl GrantsCommand {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        if self.watch {
            return watch::follow(&self.server, self.profile, self.json).await;
        }
        show(&self.list().await?, self.json)?;
        Ok(Exit::Done)
    }

    async fn list(&self) -> Result<Vec<Grant>, Failure> {
        let mut client = GrantServiceClient::new(self.server.connect().await?);
        let profile = self.profile.clone().unwrap_or_default();
        let mut grants = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListGrantsRequest { profile: profile.clone(), page_size: 0, page_token };
            let page = client.list_grants(unary(request)).await?.into_inner();
            grants.extend(page.grants);
            if page.next_page_token.is_empty() {
                return Ok(grants);
            }
            page_token = page.next_page_token;
        }
    }
}

/// Prints grants as a table, or as a JSON object each.
pub(crate) fn show(grants: &[Grant], json: bool) -> Result<(), Failure> {
    if json {
        return Ok(grants.iter().try_for_each(|grant| output::data(&as_json(grant)))?);
    }
    let (now, paint) = (Clock::system().now().wall, Paint::stdout());
    let rows: Vec<_> = grants.iter().map(|grant| Row::of(grant, now)).collect();
    let mut columns = Columns::default();
    columns.fit(&rows);
    let mut table = [Row::header()].into_iter().chain(rows);
    Ok(table.try_for_each(|row| output::data(&columns.line(&row, paint)))?)
}
