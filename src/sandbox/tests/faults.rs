//! Every fault, over real TCP.

use super::*;

#[tokio::test]
async fn status_has_its_documented_body() {
    let sandbox = demo().await;
    for status in [400, 401, 403, 404, 429, 500, 503] {
        sandbox.set_fault(fault(&format!("status={status}")));
        let reply = ask(&sandbox).await;
        assert_eq!((reply.status.as_u16(), reply.json()), (status, json!({"no": status})));
        assert!(!reply.headers.contains_key(header::RETRY_AFTER));
    }
    sandbox.set_fault(fault("status=502"));
    assert_eq!(ask(&sandbox).await.headers["content-type"], "text/html");
    sandbox.set_fault(fault("status=307"));
    assert!(ask(&sandbox).await.headers.contains_key("location"));
    sandbox.set_fault(fault("status=500,body-text="));
    assert!(ask(&sandbox).await.body.is_empty());
    sandbox.set_fault(fault("status=204,body-text=x"));
    assert_eq!(ask(&sandbox).await.status, StatusCode::NO_CONTENT);
    sandbox.set_fault(fault("status=200"));
    let reply = ask(&sandbox).await;
    assert_eq!((reply.status, &reply.json()["life"]), (StatusCode::OK, &json!(60)));
    sandbox.clear_faults();
    assert_eq!(ask(&sandbox).await.status, StatusCode::CREATED);
    let counters = sandbox.counters();
    assert_eq!((counters.requests, counters.granted, counters.faults), (13, 2, 12));
    assert_eq!((counters.throttled, counters.refused[&429], counters.refused[&500]), (1, 1, 2));
}

#[tokio::test]
async fn retry_after_is_any_string() {
    let sandbox = demo().await;
    for text in ["5", "soon", "-1", "", "Sun, 06 Nov 1994 08:49:37 GMT"] {
        sandbox.set_fault(fault(&format!("status=429,retry-after={}", json!(text))));
        let reply = ask(&sandbox).await;
        assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(reply.headers[header::RETRY_AFTER], text);
    }
}

#[tokio::test]
async fn shorter_life_applies_to_the_grant() {
    let sandbox = demo().await;
    for (by, life) in [(20, 40), (90, 0)] {
        sandbox.set_fault(fault(&format!("shorter-life={by}s")));
        assert_eq!(ask(&sandbox).await.json()["life"], life);
    }
    assert_eq!(sandbox.counters().granted, 2);
}

#[tokio::test]
async fn latency_delays_a_normal_response() {
    let sandbox = demo().await;
    sandbox.set_fault(fault("latency=20ms"));
    let start = tokio::time::Instant::now();
    assert_eq!(ask(&sandbox).await.status, StatusCode::CREATED);
    assert!(start.elapsed() >= Duration::from_millis(20));
}

#[tokio::test]
async fn hang_lasts_until_the_client_leaves() {
    let sandbox = demo().await;
    sandbox.set_fault(fault("hang,times=1"));
    let asker = tokio::spawn({
        let sandbox = sandbox.clone();
        async move { ask(&sandbox).await.status }
    });
    until(&sandbox, |counters| counters.faults == 1).await;
    assert_eq!(ask(&sandbox).await.headers["in-flight"], "2");
    assert!(!asker.is_finished());
    assert_eq!(sandbox.counters().in_flight, 1);
    asker.abort();
    until(&sandbox, |counters| counters.in_flight == 0).await;
    let counters = sandbox.counters();
    assert_eq!((counters.unanswered, counters.max_in_flight), (1, 2));
}

#[tokio::test]
async fn reset_is_a_tcp_reset() {
    let sandbox = demo().await;
    sandbox.set_fault(fault("reset,times=1"));
    let mut stream = TcpStream::connect(sandbox.addr()).await.unwrap();
    ask_raw(&mut stream).await;
    let error = within(stream.read(&mut [0; 16])).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(sandbox.counters().unanswered, 1);
    assert_eq!(ask(&sandbox).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn fault_is_limited_to_its_resource_and_times() {
    let mut config = plain();
    let other = "another-of-any-form";
    config.faults = vec![
        fault(&format!("status=404,resource={other}")),
        fault("status=503,times=1"),
        fault("status=500,times=1"),
    ];
    let sandbox = sandbox(config).await;
    assert_eq!(ask(&sandbox).await.status, 503);
    assert_eq!(ask(&sandbox).await.status, 500);
    assert_eq!(ask(&sandbox).await.status, 201);
    // In any letter case.
    let (path, bearer) = (path("Another-of-any-FORM"), bearer(KEY));
    let reply = within(send(&sandbox, Method::POST, &path, Some(&bearer), FORM)).await.unwrap();
    assert_eq!(reply.status, 404);
}

#[tokio::test]
async fn faults_and_counters_are_available_over_http() {
    let sandbox = demo().await;
    let put = |body: &'static str| control(&sandbox, Method::PUT, "/sandbox/fault", body);
    assert_eq!(put("status=503\n").await.status, StatusCode::NO_CONTENT);
    assert_eq!(ask(&sandbox).await.status, 503);
    assert_eq!(put(r#"{"status": 429, "retry-after": 7, "times": 1}"#).await.status, 204);
    control(&sandbox, Method::POST, "/sandbox/fault", "body=empty").await;
    assert_eq!(ask(&sandbox).await.headers[header::RETRY_AFTER], "7");
    assert_eq!(ask(&sandbox).await.body, "{}");
    let reply = put("stauts=503").await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert!(reply.json()["error"].as_str().unwrap().starts_with("the fault: \"stauts\""));
    control(&sandbox, Method::DELETE, "/sandbox/fault", "").await;
    assert_eq!(ask(&sandbox).await.status, 201);

    let reply = control(&sandbox, Method::GET, "/sandbox/counters", "").await;
    assert_eq!(
        reply.json(),
        json!({
            "connections": sandbox.counters().connections,
            "requests": 4,
            "granted": 1,
            "refused": {"429": 1, "503": 1},
            "unauthorized": 0,
            "throttled": 1,
            "faults": 3,
            "unanswered": 0,
            "in_flight": 0,
            "max_in_flight": 1,
        })
    );
    for (method, path, status) in [
        (Method::GET, "/sandbox/other", 404),
        (Method::GET, "/sandbox/fault", 405),
        (Method::DELETE, "/sandbox/counters", 405),
    ] {
        assert_eq!(control(&sandbox, method, path, "").await.status, status);
    }
}
