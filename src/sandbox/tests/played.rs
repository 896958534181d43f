//! Scenarios, and the log of requests.

use super::*;

/// The status of a request now; `None` without a response.
async fn status(sandbox: &Sandbox, resource: &str) -> Option<u16> {
    let (path, bearer) = (path(resource), bearer(KEY));
    let sent = send(sandbox, Method::POST, &path, Some(&bearer), FORM);
    within(sent).await.ok().map(|reply| reply.status.as_u16())
}

async fn playing(scenario: &str) -> (Sandbox, Arc<Simulation>) {
    let faults = scenario::parse("scenario.toml", scenario, &[]).unwrap_or_else(|e| panic!("{e}"));
    clocked(Config { faults, ..plain() }).await
}

#[tokio::test]
async fn scenario_applies_by_time() {
    let scenario = "[[fault]]\nstatus = 503\nfrom = \"20s\"\nuntil = \"80s\"\n";
    let (sandbox, clock) = playing(scenario).await;
    let mut seen = Vec::new();
    for later in [0, 15, 10, 50, 10] {
        clock.suspend(Duration::from_secs(later));
        seen.push(status(&sandbox, RESOURCE).await.unwrap());
    }
    assert_eq!(seen, [201, 201, 503, 503, 201]);
}

#[tokio::test]
async fn scenario_applies_by_request_and_resource() {
    let other = format!("VJ{}", "a".repeat(32));
    let scenario = format!(
        "[[fault]]\nresource = \"{other}\"\nrequests = 2\nreset = true\n\
         [[fault]]\nrequests = \"3-4\"\nstatus = 500\n"
    );
    let (sandbox, _) = playing(&scenario).await;
    let mut seen = Vec::new();
    for resource in [RESOURCE, &other, RESOURCE, &other, &other] {
        seen.push(status(&sandbox, resource).await);
    }
    assert_eq!(seen, [Some(201), Some(201), Some(500), None, Some(201)]);
}

#[tokio::test]
async fn scenario_set_at_run_time_starts_then() {
    let (sandbox, clock) = clocked(plain()).await;
    sandbox.set_fault(fault("status=500"));
    status(&sandbox, RESOURCE).await;
    clock.suspend(Duration::from_secs(100));
    let put = |text: &'static str| control(&sandbox, Method::PUT, "/sandbox/scenario", text);
    let scenario = "[[fault]]\nhang = false\nstatus = 404\nfrom = '20s'\nrequests = \"2-\"\n";
    assert_eq!(put(scenario).await.status, StatusCode::NO_CONTENT);
    assert_eq!(status(&sandbox, RESOURCE).await, Some(201), "earlier faults are replaced");
    clock.suspend(Duration::from_secs(20));
    assert_eq!(status(&sandbox, RESOURCE).await, Some(404));

    let reply = put("[[fault]]\nstauts = 503\n").await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        reply.json()["error"],
        "scenario:2: fault[0].stauts: unknown key; did you mean status?"
    );
    assert_eq!(status(&sandbox, RESOURCE).await, Some(404), "an invalid scenario changes nothing");
    assert_eq!(control(&sandbox, Method::GET, "/sandbox/scenario", "").await.status, 405);
    let long = "#".repeat(65 * 1024);
    let reply = control(&sandbox, Method::PUT, "/sandbox/scenario", &long).await;
    assert_eq!(reply.json()["error"], "the body is longer than 65536 bytes");
}

#[tokio::test]
async fn retry_after_date_is_relative_to_the_response() {
    let (sandbox, clock) = clocked(plain()).await;
    clock.suspend(Duration::from_secs(3_600));
    sandbox.set_fault(fault("status=429,retry-after-date=100s"));
    let date = ask(&sandbox).await.headers[header::RETRY_AFTER].to_str().unwrap().to_owned();
    let date = httpdate::parse_http_date(&date).unwrap();
    let ahead = date.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let now = u64::try_from(NOW).unwrap() + 3_600;
    assert!((now + 100..now + 150).contains(&ahead), "{ahead}");
}

#[tokio::test]
async fn log_has_requests_and_no_secrets() {
    let (sandbox, clock) = clocked(plain()).await;
    clock.suspend(Duration::from_secs(7));
    let granted = ask(&sandbox).await.credential();
    sandbox.set_fault(fault("status=503,latency=20ms"));
    ask(&sandbox).await;
    sandbox.set_fault(fault("reset"));
    status(&sandbox, RESOURCE).await;
    sandbox.clear_faults();
    within(send(&sandbox, Method::GET, "/elsewhere?secret", None, "")).await.unwrap();
    until(&sandbox, |counters| counters.in_flight == 0).await;

    let reply = control(&sandbox, Method::GET, "/sandbox/requests", "").await;
    assert_eq!(reply.status, StatusCode::OK);
    let mut log = reply.json();
    let mut times = Vec::new();
    for line in log.as_array_mut().unwrap() {
        let line = line.as_object_mut().unwrap();
        let mut take = |key| line.remove(key).unwrap().as_u64().unwrap();
        times.push((take("at_ms"), take("held_ms")));
    }
    let line = |number: u64, fault: Option<&str>, status: Option<u16>| {
        json!({
            "number": number, "resource": RESOURCE, "ttl": "60", "fault": fault,
            "status": status,
        })
    };
    let mut elsewhere = line(4, None, Some(401));
    for key in ["resource", "ttl"] {
        elsewhere[key] = Value::Null;
    }
    let wanted = json!([
        line(1, None, Some(201)),
        line(2, Some("status=503,latency=20ms"), Some(503)),
        line(3, Some("reset"), None),
        elsewhere,
    ]);
    assert_eq!(log, wanted);
    assert!(times.is_sorted_by_key(|(at, _)| *at) && times[0].0 >= 7_000, "{times:?}");
    assert!(times[1].1 >= 20 && times[1].1 < 20_000, "{times:?}");

    let text = String::from_utf8(reply.body.into()).unwrap();
    for secret in [KEY, &*granted, "?secret"] {
        assert!(!text.contains(secret), "{text}");
    }
    assert_eq!(control(&sandbox, Method::PUT, "/sandbox/requests", "").await.status, 405);
}

#[tokio::test]
async fn hang_is_held_until_the_client_leaves() {
    let (sandbox, clock) = clocked(plain()).await;
    sandbox.set_fault(fault("hang"));
    let mut stream = TcpStream::connect(sandbox.addr()).await.unwrap();
    ask_raw(&mut stream).await;
    until(&sandbox, |counters| counters.faults == 1).await;
    assert_eq!(sandbox.requests()[0].held, None);
    clock.suspend(Duration::from_secs(2));
    drop(stream);
    until(&sandbox, |counters| counters.in_flight == 0).await;
    let request = sandbox.requests().remove(0);
    assert!(request.held.is_some_and(|held| held >= Duration::from_secs(2)), "{request:?}");
    assert_eq!((request.status, request.fault.as_deref()), (None, Some("hang")));
}
