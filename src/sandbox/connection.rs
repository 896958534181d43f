//! Serves one connection, which a fault may reset or close.

use std::{error::Error, pin::Pin, sync::Arc};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::watch, time::Instant};

use super::{
    control,
    delivery::{KeepAlive, Reset},
    engine::Engine,
};

/// Serves a connection until it closes.
pub(super) async fn serve(stream: TcpStream, engine: Arc<Engine>) {
    // Responses are small and sent at once; a failure costs only a delay.
    let _ = stream.set_nodelay(true);
    let (close_at, mut closes) = watch::channel(None);
    let service = service_fn(async |request: http::Request<_>| {
        close_at.send_replace(None);
        let answer = if control::is_below(request.uri().path()) {
            Ok(control::answer(&engine, request).await)
        } else {
            engine.answer(request).await
        };
        let keep_alive = answer.as_ref().ok().and_then(|answer| answer.extensions().get());
        close_at.send_replace(keep_alive.map(|KeepAlive(idle)| Instant::now() + *idle));
        answer
    });
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let ended = loop {
        let close = *closes.borrow_and_update();
        tokio::select! {
            // A response is sent before its connection is closed.
            biased;
            ended = &mut connection => break Some(ended),
            _ = closes.changed() => {}
            () = at(close) => break None,
        }
    };
    let ended = if let Some(ended) = ended {
        ended
    } else {
        Pin::new(&mut connection).graceful_shutdown();
        (&mut connection).await
    };
    if ended.is_err_and(|error| error.source().is_some_and(<dyn Error>::is::<Reset>)) {
        // With zero linger, closing sends RST.
        let _ = connection.into_parts().io.into_inner().set_zero_linger();
    }
}

/// Waits until `time`, or indefinitely.
async fn at(time: Option<Instant>) {
    match time {
        // A timer would take another millisecond, during which the connection may be reused.
        Some(time) if time <= Instant::now() => {}
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
