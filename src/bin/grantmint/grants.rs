//! `grantmint grants`: how the grants fare.

use std::process::ExitCode;

use clap::Args;
use grantmint::{
    clock::{Clock, WallTime},
    rpc::proto::{
        Grant, ListGrantsRequest, WatchGrantsRequest,
        grant::{RefreshState, State},
        grant_service_client::GrantServiceClient,
        watch_grants_request::Target,
    },
};
use tonic::{Status, transport::Channel};

use crate::{
    client::{ServerArgs, relative, unary, utc},
    output,
};

/// Shows how the grants fare: ages, ends, next refresh.
#[derive(Debug, Args)]
pub(crate) struct GrantsCommand {
    /// Only this profile's
    #[arg(long)]
    profile: Option<String>,
    /// Go on, with a line for each change
    #[arg(long)]
    watch: bool,
    /// Write a JSON object a grant
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

impl GrantsCommand {
    pub(crate) async fn run(self) -> ExitCode {
        match self.show().await {
            Ok(()) => ExitCode::SUCCESS,
            Err(status) => output::call_failed(&status),
        }
    }

    async fn show(&self) -> Result<(), Status> {
        let client = GrantServiceClient::new(self.server.connect().await?);
        if !self.json {
            output::data(&row([
                "GRANT",
                "STATE",
                "FETCHED",
                "ENDS",
                "NEXT REFRESH",
                "REFRESH",
                "LAST FAULT",
            ]));
        }
        if self.watch { self.follow(client).await } else { self.list(client).await }
    }

    async fn list(&self, mut client: GrantServiceClient<Channel>) -> Result<(), Status> {
        let profile = self.profile.clone().unwrap_or_default();
        let mut page_token = String::new();
        loop {
            let request = ListGrantsRequest { profile: profile.clone(), page_size: 0, page_token };
            let page = client.list_grants(unary(request)).await?.into_inner();
            self.print(&page.grants);
            if page.next_page_token.is_empty() {
                return Ok(());
            }
            page_token = page.next_page_token;
        }
    }

    async fn follow(&self, mut client: GrantServiceClient<Channel>) -> Result<(), Status> {
        let target = self.profile.clone().map(Target::Profile);
        let mut changes = client.watch_grants(WatchGrantsRequest { target }).await?.into_inner();
        while let Some(changed) = changes.message().await? {
            self.print(&changed.grants);
        }
        Ok(())
    }

    fn print(&self, grants: &[Grant]) {
        let now = Clock::system().now().wall;
        for grant in grants {
            output::data(&if self.json { as_json(grant) } else { as_row(grant, now) });
        }
    }
}

fn row(cells: [&str; 7]) -> String {
    let [grant, state, fetched, ends, next, refresh, fault] = cells;
    format!("{grant:<52}  {state:<8}  {fetched:<11}  {ends:<11}  {next:<12}  {refresh:<9}  {fault}")
}

fn as_row(grant: &Grant, now: WallTime) -> String {
    let (state, refresh) = words(grant);
    row([
        &grant.name,
        &state,
        &relative(grant.fetch_time.as_ref(), now),
        &relative(grant.end_time.as_ref(), now),
        &relative(grant.next_attempt_time.as_ref(), now),
        &refresh,
        grant.last_fault.as_ref().map_or("-", |fault| &fault.reason),
    ])
}

fn as_json(grant: &Grant) -> String {
    let (state, refresh) = words(grant);
    let known = |at: Option<&prost_types::Timestamp>| at.map(|at| utc(Some(at)));
    serde_json::json!({
        "name": grant.name,
        "state": state,
        "refresh_state": refresh,
        "generation": grant.generation,
        "fetch_time": known(grant.fetch_time.as_ref()),
        "end_time": known(grant.end_time.as_ref()),
        "next_attempt_time": known(grant.next_attempt_time.as_ref()),
        "last_fault": grant.last_fault.as_ref().map(|fault| &fault.reason),
        "consecutive_failures": grant.consecutive_failures,
    })
    .to_string()
}

/// State and refresh state in a word each.
fn words(grant: &Grant) -> (String, String) {
    let word = |name: &str, prefix: &str| name.trim_start_matches(prefix).to_lowercase();
    let state = State::try_from(grant.state).unwrap_or_default();
    let refresh = RefreshState::try_from(grant.refresh_state).unwrap_or_default();
    (word(state.as_str_name(), "STATE_"), word(refresh.as_str_name(), "REFRESH_STATE_"))
}
