//! Which calls are recorded, and what a span holds.

use http::{HeaderMap, HeaderValue};
use tokio::sync::mpsc::error::TryRecvError;

use super::*;
use crate::telemetry::Metrics;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn headers(traceparent: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", HeaderValue::from_str(traceparent).unwrap());
    headers
}

fn with_share(share: f64) -> (Tracer, Spans) {
    let metrics = Metrics::default().traces();
    let sample = Sample::new(share).unwrap();
    Tracer::new(sample, Clock::system(), ResourceNames::default(), metrics)
}

#[test]
fn parent_decides_and_else_the_share() {
    let parent = |flags: &str| headers(&format!("00-{TRACE}-{SPAN}-{flags}"));
    for (share, without_parent) in [(0.0, false), (1.0, true)] {
        let (tracer, _spans) = with_share(share);
        let sampled = tracer.call(&parent("01")).unwrap().span.unwrap();
        assert_eq!(sampled.context().to_string(), format!("{TRACE} recorded"));
        let unsampled = tracer.call(&parent("00")).unwrap();
        assert!(unsampled.span.is_none());
        assert_eq!(unsampled.context.to_string(), TRACE);
        // Unknown flags are ignored.
        assert!(tracer.call(&parent("03")).unwrap().span.is_some());
        let recorded = |headers: &HeaderMap| tracer.call(headers).is_some();
        assert_eq!(recorded(&HeaderMap::new()), without_parent);
        assert_eq!(tracer.root(Rate::Sampled, "refresh").is_some(), without_parent);
        assert_eq!(tracer.root(Rate::Always, "reload").is_some(), without_parent);
    }
    let off = Tracer::default();
    assert!(off.call(&HeaderMap::new()).is_none() && off.root(Rate::Always, "x").is_none());
    let known = off.call(&parent("01")).unwrap();
    assert!(known.span.is_none());
    assert_eq!(known.context.to_string(), TRACE);
}

#[test]
fn malformed_traceparent_is_ignored() {
    let (tracer, _spans) = with_share(0.0);
    for text in [
        "",
        "00",
        "garbage",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ] {
        assert!(tracer.call(&headers(text)).is_none(), "{text}");
    }
    let of_later_version = format!("01-{TRACE}-{SPAN}-01-extra");
    assert!(tracer.call(&headers(&of_later_version)).is_some());
    let mut twice = headers(&format!("00-{TRACE}-{SPAN}-01"));
    twice.append("traceparent", twice["traceparent"].clone());
    assert!(tracer.call(&twice).is_none());
}

#[test]
fn tracestate_is_kept_if_it_is_valid() {
    let (tracer, mut spans) = with_share(0.0);
    let too_many = ["a=1"; 33].join(",");
    let too_long = format!("a={}", "1".repeat(512));
    for (lines, expected) in [
        (
            &["congo=t61rcWkgMzE", "rojo=00f067aa0ba902b7"][..],
            "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7",
        ),
        (&[" a=1 ,, b=2 "], "a=1,b=2"),
        (&["no member"], ""),
        (&["a=1,=2"], ""),
        (&[""], ""),
        (&[&too_many], ""),
        (&[&too_long], ""),
    ] {
        let mut headers = headers(&format!("00-{TRACE}-{SPAN}-01"));
        for line in lines {
            headers.append("tracestate", HeaderValue::from_str(line).unwrap());
        }
        drop(tracer.call(&headers));
        let span = spans.try_recv().unwrap();
        assert_eq!(span.state.as_deref().unwrap_or_default(), expected, "{lines:?}");
        assert!(span.has_remote_parent);
    }
}

#[test]
fn share_is_met_and_equal_ids_are_decided_alike() {
    let sample = Sample::new(0.25).unwrap();
    let taken = (0..20_000).filter(|_| sample.takes(TraceId::random())).count();
    assert!((4_500..5_500).contains(&taken), "{taken}");
    let id = TraceId::random();
    assert_eq!(sample.takes(id), sample.takes(id));
    for share in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        assert!(Sample::new(share).is_err());
    }
}

#[test]
fn child_belongs_to_the_entered_span_only() {
    let (tracer, mut spans) = with_share(1.0);
    assert!(child("outside", Kind::Internal).is_none());
    let outer = tracer.root(Rate::Sampled, "outer").unwrap();
    let entered = outer.context().enter();
    drop(child("inner", Kind::Client));
    {
        let _unrecorded = Context::unrecorded(TraceId::random()).enter();
        assert!(child("in an unsampled call", Kind::Internal).is_none());
    }
    drop(child("again", Kind::Internal));
    drop(entered);
    assert!(child("outside", Kind::Internal).is_none());
    drop(outer);
    let [inner, again, outer] = [(); 3].map(|()| spans.try_recv().unwrap());
    assert_eq!([&inner.name, &again.name, &outer.name], ["inner", "again", "outer"]);
    for inner in [inner, again] {
        assert_eq!((inner.trace_id, inner.parent_id), (outer.trace_id, Some(outer.span_id)));
        assert!(!inner.has_remote_parent);
    }
    assert_eq!(outer.parent_id, None);
}

#[test]
fn full_queue_drops_and_counts_spans() {
    let metrics = Metrics::default();
    let sample = Sample::new(1.0).unwrap();
    let names = ResourceNames::default();
    let (tracer, mut spans) = Tracer::new(sample, Clock::system(), names, metrics.traces());
    for _ in 0..MAX_QUEUED + 3 {
        drop(tracer.root(Rate::Sampled, "span"));
    }
    let page = metrics.render(crate::telemetry::MetricsFormat::Text);
    assert!(page.contains("grantmint_trace_spans_total{outcome=\"dropped\"} 3\n"), "{page}");
    for _ in 0..MAX_QUEUED {
        spans.try_recv().unwrap();
    }
    assert_eq!(spans.try_recv(), Err(TryRecvError::Empty));
}
