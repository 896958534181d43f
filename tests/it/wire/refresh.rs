//! `RefreshGrant`: who may call it, what it starts, and what holds it back.

use grantmint::{
    clock::Clock,
    rpc::proto::{
        Grant, RefreshGrantRequest,
        grant::{RefreshState, State},
    },
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::harness::{VJ, World, profile, told};
use crate::support::{found, soon, until};

async fn refresh(world: &World, resource: &str) -> Result<Grant, Status> {
    let name = format!("profiles/live/grants/{resource}");
    let answer = soon(world.grants().refresh_grant(RefreshGrantRequest { name })).await?;
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
    let world = World::simple().await;
    let before = world.sandbox.requests().len();
    let generation = world.mint("alice", None).await.unwrap().validity.unwrap().generation;
    // Its playback token ends in whole seconds: an answer of the same second is no newer grant.
    until("the grant is a second old", async || {
        Clock::system().now().wall.unix_micros() > generation + 1_000_000
    })
    .await;
    let first = refresh(&world, VJ[0]).await.unwrap();
    assert_eq!((first.state(), first.last_fault), (State::Live, None));
    assert!(first.generation > generation);
    assert_eq!(world.sandbox.requests().len(), before + 1);
    let minted = world.mint("alice", None).await.unwrap();
    assert_eq!(minted.validity.unwrap().generation, first.generation);

    let status = refresh(&world, VJ[0]).await.unwrap_err();
    let held = told(&status);
    assert_eq!((held.code, held.reason.as_str()), (Code::Unavailable, "UPSTREAM_THROTTLED"));
    assert_eq!(held.metadata["grant"], format!("profiles/live/grants/{}", VJ[0]));
    let delay = status.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!((4.0..5.3).contains(&delay.as_secs_f64()), "{delay:?}");
    assert_eq!(world.sandbox.requests().len(), before + 1, "nothing was sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejected_grant_refreshes_before_its_next_probe() {
    let tables = profile("live", &VJ[..1], "");
    let world = World::with_faults(&tables, &["status=401"]).await;
    let failed = refresh(&world, VJ[0]).await.unwrap();
    assert_eq!((failed.state(), failed.refresh_state()), (State::Pending, RefreshState::Rejected));
    assert_eq!(failed.last_fault.unwrap().reason, "HTTP_STATUS_401");
    // Its probe is due in 30 s, and a call is refused at once.
    let refused = world.mint("alice", None).await.unwrap_err();
    assert_eq!(told(&refused).reason, "UPSTREAM_REJECTED");

    world.sandbox.clear_faults();
    let again = async || refresh(&world, VJ[0]).await.ok();
    let fixed = found("an attempt is allowed again", again).await;
    assert_eq!((fixed.state(), fixed.refresh_state()), (State::Live, RefreshState::Ok));
    world.mint("alice", None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refresh_must_be_allowed_by_name_even_in_observe_mode() {
    for mode in ["enforce", "observe"] {
        let minting = r#"{ profiles = ["*"] }"#;
        let world = World::of(&entry(minting, mode)).await;
        let status = refresh(&world, VJ[0]).await.unwrap_err();
        let denied = (status.code(), told(&status).reason);
        assert_eq!(denied, (Code::PermissionDenied, "METHOD_NOT_ALLOWED".to_owned()), "{mode}");

        let row = format!(
            "{{ methods = [\"RefreshGrant\"], profiles = [\"live\"], resources = [{:?}] }}",
            VJ[0]
        );
        let world = World::of(&entry(&row, mode)).await;
        assert!(refresh(&world, VJ[0]).await.is_ok(), "{mode}");
        let status = refresh(&world, VJ[1]).await.unwrap_err();
        assert_eq!(told(&status).reason, "RESOURCE_NOT_ALLOWED", "{mode}");
    }
    let world = World::simple().await;
    let status = refresh(&world, VJ[1]).await.unwrap_err();
    assert_eq!(told(&status).reason, "RESOURCE_NOT_FOUND");
}
