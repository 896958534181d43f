//! One connection, from its preface to its end.

use std::{error::Error, pin::pin, time::Duration};

use hyper::server::conn::http2;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::time::sleep;

use super::{
    Calls,
    calls::{Arrivals, OpenCalls},
    frames::Excess,
    socket::{Driver, Io, Socket},
};
use crate::{
    drain::{Drain, Phase},
    rpc::layers::Guarded,
};

/// Streams at the same time on one connection.
const MAX_STREAMS: u32 = 128;

/// What a reader that stops can hold of each stream.
const SEND_BUFFER: usize = 64 * 1024;

const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
const MAX_HEADER_BYTES: u32 = 8 * 1024;
const HEADER_TABLE: u32 = 4_096;
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that has not sent its preface and settings by then is closed.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(5);

/// The HTTP/2 preface and an empty SETTINGS frame.
const PREFACE_BYTES: usize = 24 + 9;

/// Connections are asked to move on after this, less up to a tenth, so that clients spread
/// over replicas that came later.
const CONNECTION_AGE: Duration = Duration::from_secs(600);

/// How long a client may go on whose certificate no longer holds.
const UNTRUSTED_GRACE: Duration = Duration::from_secs(9);

/// Serves one connection to its end. It is told to go when its client is no longer trusted, and
/// cut soon after.
pub(super) async fn serve<I: Io, S: Calls>(
    socket: Socket<I>,
    driver: Driver<I>,
    service: Guarded<S>,
    drain: Drain,
    untrusted: impl Future<Output = ()>,
) {
    let service = TowerToHyperService::new(service);
    let mut calls = OpenCalls::default();
    let connection = builder(calls.arrivals()).serve_connection(TokioIo::new(socket), service);
    let mut connection = pin!(connection);

    let mut preface = pin!(sleep(PREFACE_TIMEOUT));
    let mut age = pin!(sleep(CONNECTION_AGE.mul_f64(1.0 - 0.1 * fastrand::f64())));
    let (mut untrusted, mut is_trusted) = (pin!(untrusted), true);
    tokio::select! {
        ended = driver.run(connection.as_mut(), &mut calls) => return report(ended),
        () = preface.as_mut() => {}
        () = untrusted.as_mut() => is_trusted = false,
        () = drain.wait(Phase::Draining) => {}
    }
    if driver.bytes_read() < PREFACE_BYTES {
        return;
    }
    if is_trusted {
        tokio::select! {
            ended = driver.run(connection.as_mut(), &mut calls) => return report(ended),
            () = age.as_mut() => {}
            () = untrusted.as_mut() => is_trusted = false,
            () = drain.wait(Phase::Draining) => {}
        }
    }
    connection.as_mut().graceful_shutdown();
    let cut = async {
        if is_trusted {
            untrusted.await;
        }
        sleep(UNTRUSTED_GRACE).await;
    };
    tokio::select! {
        ended = driver.run(connection, &mut calls) => report(ended),
        () = cut => {}
        () = drain.wait(Phase::Cut) => {}
    }
}

/// Logs the end of a connection that was cut on our side.
fn report(ended: Result<Result<(), hyper::Error>, Excess>) {
    let error = match ended {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error,
        Err(excess) => {
            let limit = excess.as_str();
            tracing::warn!(limit, "a connection is cut: its client exceeds a limit");
            return;
        }
    };
    if error.is_timeout() {
        tracing::info!("a connection is cut: its client does not answer pings");
    } else if let Some(error) = error.source().and_then(|error| error.downcast_ref::<h2::Error>())
        && error.is_library()
        && let Some(reason) = error.reason()
    {
        tracing::warn!(?reason, %error, "a connection is cut: its client breaks HTTP/2");
    }
}

fn builder(calls: Arrivals) -> http2::Builder<Arrivals> {
    let mut builder = http2::Builder::new(calls);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        // The socket limits both by rate.
        .max_local_error_reset_streams(None)
        .max_pending_accept_reset_streams(usize::MAX)
        .max_send_buf_size(SEND_BUFFER)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADER_BYTES)
        .header_table_size(HEADER_TABLE)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    builder
}
