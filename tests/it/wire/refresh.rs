//! `RefreshGrant`: permissions, attempts, and limits.

use grantmint::{
    clock::Clock,
    rpc::proto::{
        Grant, RefreshGrantRequest,
        grant::{RefreshState, State},
    },
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::harness::{TestServer, VJ, profile, reported_error};
use crate::support::{found, soon, until};

async fn refresh(server: &TestServer, resource: &str) -> Result<Grant, Status> {
    let name = format!("profiles/live/grants/{resource}");
    let answer = soon(server.grants().refresh_grant(RefreshGrantRequest { name })).await?;
    Ok(answer.into_inner().grant.unwrap())
}

fn entry(rows: &str, mode: &str) -> String {
    let live = profile("live", &VJ[..2], "");
    format!(
        "{live}\n[callers.tester]\nmatch = [\"loopback\"]\nallow = [{rows}, \
         {{ methods = [\"ListGrants\"], profiles = [\"live\"] }}]\n\
         [server]\nauthorize = \"{mode}\"\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn healthy_grant_refreshes_on_request_every_five_seconds() {
    let server = TestServer::simple().await;
    let before = server.sandbox.requests().len();
    let generation = server.mint("alice", None).await.unwrap().validity.unwrap().generation;
    // The playback token's expiry has whole seconds: a response in the same second is not a newer
    // grant.
    until("the grant is a second old", async || {
        Clock::system().now().wall.unix_micros() > generation + 1_000_000
    })
    .await;
    let first = refresh(&server, VJ[0]).await.unwrap();
    assert_eq!((first.state(), first.last_fault), (State::Live, None));
    assert!(first.generation > generation);
    assert_eq!(server.sandbox.requests().len(), before + 1);
    let minted = server.mint("alice", None).await.unwrap();
    assert_eq!(minted.validity.unwrap().generation, first.generation);

    let status = refresh(&server, VJ[0]).await.unwrap_err();
    let held = reported_error(&status);
    assert_eq!((held.code, held.reason.as_str()), (Code::Unavailable, "UPSTREAM_THROTTLED"));
    assert_eq!(held.metadata["grant"], format!("profiles/live/grants/{}", VJ[0]));
    let delay = status.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!((4.0..5.3).contains(&delay.as_secs_f64()), "{delay:?}");
    assert_eq!(server.sandbox.requests().len(), before + 1, "nothing was sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejected_grant_refreshes_before_its_next_probe() {
    let tables = profile("live", &VJ[..1], "");
    let server = TestServer::with_faults(&tables, &["status=401"]).await;
    let failed = refresh(&server, VJ[0]).await.unwrap();
    assert_eq!((failed.state(), failed.refresh_state()), (State::Pending, RefreshState::Rejected));
    assert_eq!(failed.last_fault.unwrap().reason, "HTTP_STATUS_401");
    // Its probe is due in 30 s, and a call is refused at once.
    let refused = server.mint("alice", None).await.unwrap_err();
    assert_eq!(reported_error(&refused).reason, "UPSTREAM_REJECTED");

    server.sandbox.clear_faults();
    let again = async || refresh(&server, VJ[0]).await.ok();
    let fixed = found("an attempt is allowed again", again).await;
    assert_eq!((fixed.state(), fixed.refresh_state()), (State::Live, RefreshState::Ok));
    server.mint("alice", None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refresh_must_be_allowed_by_name_even_in_observe_mode() {
    for mode in ["enforce", "observe"] {
        let minting = r#"{ profiles = ["*"] }"#;
        let server = TestServer::of(&entry(minting, mode)).await;
        let status = refresh(&server, VJ[0]).await.unwrap_err();
        let denied = (status.code(), reported_error(&status).reason);
        assert_eq!(denied, (Code::PermissionDenied, "METHOD_NOT_ALLOWED".to_owned()), "{mode}");

        let row = format!(
            "{{ methods = [\"RefreshGrant\"], profiles = [\"live\"], resources = [{:?}] }}",
            VJ[0]
        );
        let server = TestServer::of(&entry(&row, mode)).await;
        assert!(refresh(&server, VJ[0]).await.is_ok(), "{mode}");
        let status = refresh(&server, VJ[1]).await.unwrap_err();
        assert_eq!(reported_error(&status).reason, "RESOURCE_NOT_ALLOWED", "{mode}");
    }
    let server = TestServer::simple().await;
    let status = refresh(&server, VJ[1]).await.unwrap_err();
    assert_eq!(reported_error(&status).reason, "RESOURCE_NOT_FOUND");
}
