//! Tens of thousands of grants: no message and no page grows with their number.

use std::{collections::HashSet, fmt::Write as _, fs, process::Stdio};

use grantmint::{provider::twilio_live::DEMO_RESOURCE, rpc::proto::WatchGrantsRequest};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use crate::support::{BINARY, Configured, Serve, soon};

/// A snapshot of this many grants in one message would exceed 4 MiB, the default limit of clients.
const GRANTS: usize = 46_000;

fn many() -> Configured {
    let config = Configured::profile("budget = { rate = 10000 }");
    let mut resources = "resources = [".to_owned();
    for number in 0..GRANTS {
        let _ = write!(resources, "\"VJ{number:032x}\",");
    }
    resources.push(']');
    let text = fs::read_to_string(&config.file).expect("written");
    let one = format!("resources = [\"{DEMO_RESOURCE}\"]");
    fs::write(&config.file, text.replace(&one, &resources)).expect("written");
    config
}

#[tokio::test]
async fn snapshot_comes_in_batches_of_1_000_with_an_end_marker() {
    // With a refused key the account has one probe in 30 s, so the server only serves the watch.
    let serve = Serve::configured(&many(), &["--fault", "status=401"]).await;
    let mut grants = serve.grants().await;
    let watch = soon(grants.watch_grants(WatchGrantsRequest::default())).await;
    let mut watch = watch.expect("a watch").into_inner();
    let mut names = HashSet::new();
    loop {
        let message = soon(watch.message()).await.expect("no error").expect("a message");
        assert!(message.snapshot && message.grants.len() <= 1_000, "{}", message.grants.len());
        names.extend(message.grants.into_iter().map(|grant| grant.name));
        if message.snapshot_complete {
            break;
        }
    }
    assert_eq!(names.len(), GRANTS);

    let page = serve.page("/readyz").await.1;
    assert_eq!(
        page.lines().count(),
        1_002,
        "expected the state, 1,000 grants, and the number of others"
    );
    assert!(page.ends_with("and 45000 more; grantmint grants lists them all\n"), "{page}");

    let mut command = Command::new(BINARY);
    command.args(["grants", "--watch", "--json", "--server", &serve.server]).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut watch = command.spawn().expect("the binary starts");
    let mut lines = BufReader::new(watch.stdout.take().expect("piped")).lines();
    let mut shown = HashSet::new();
    while shown.len() < GRANTS {
        let line = soon(lines.next_line()).await.expect("text").expect("an open stream");
        let grant: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        shown.insert(grant["name"].as_str().expect("a name").to_owned());
    }
    assert_eq!(shown, names);
}
