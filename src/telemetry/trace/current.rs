//! The context of the task that is being polled.

use std::{
    borrow::Cow,
    cell::RefCell,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context as TaskContext, Poll},
};

use super::{Kind, Span, SpanId, TraceId, context::Context};

thread_local! {
    static CURRENT: RefCell<Option<Context>> = const { RefCell::new(None) };
}

impl Context {
    /// Makes this the current context of the thread until the result is dropped.
    #[must_use]
    pub fn enter(&self) -> Entered {
        let previous = CURRENT.try_with(|it| it.replace(Some(self.clone()))).unwrap_or_default();
        Entered { previous, of_thread: PhantomData }
    }
}

/// Restores the previous context of the thread on drop.
#[derive(Debug)]
pub struct Entered {
    previous: Option<Context>,
    of_thread: PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let previous = self.previous.take();
        // Fails only while the thread ends.
        let _ = CURRENT.try_with(|it| it.replace(previous));
    }
}

/// A span inside the current one; none if nothing is recorded.
#[must_use]
pub fn child(name: impl Into<Cow<'static, str>>, kind: Kind) -> Option<Span> {
    let context = CURRENT.try_with(|it| it.borrow().clone()).ok()??;
    let (span_id, state, recorder) = context.span?;
    Some(Span::inside(&recorder, (context.trace_id, span_id, state), name.into(), kind))
}

/// Calls `read` with the ids of the current trace, and of its span if it is recorded.
pub(in crate::telemetry) fn with_ids(read: impl FnOnce(TraceId, Option<SpanId>)) {
    let _ = CURRENT.try_with(|it| {
        if let Some(context) = &*it.borrow() {
            read(context.trace_id, context.span.as_ref().map(|(id, ..)| *id));
        }
    });
}

/// A future that is polled in a context.
#[derive(Debug)]
pub struct Traced<F> {
    context: Context,
    future: F,
}

impl<F> Traced<F> {
    /// Polls `future` in `context`.
    pub const fn new(context: Context, future: F) -> Self {
        Self { context, future }
    }
}

impl<F: Future + Unpin> Future for Traced<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<F::Output> {
        let _entered = self.context.enter();
        Pin::new(&mut self.future).poll(cx)
    }
}

/// Runs `future` in `context`, if there is one.
pub async fn within<F: Future>(context: Option<Context>, future: F) -> F::Output {
    match context {
        None => future.await,
        Some(context) => Traced::new(context, Box::pin(future)).await,
    }
}
