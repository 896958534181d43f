//! What goes on beside that which is measured.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::{Result, anyhow};

use crate::process::Cores;

/// Work in a thread of its own, on any core, until it is stopped.
pub(super) struct Aside<T> {
    stop: Stop,
    thread: thread::JoinHandle<Result<T>>,
}

/// Whether it is to stop.
#[derive(Clone, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl<T: Send + 'static> Aside<T> {
    pub(super) fn start<F>(cores: &Cores, work: impl FnOnce(Stop) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<T>>,
    {
        let (cores, stop) = (cores.clone(), Stop::default());
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            cores.bind()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(work(stopped))
        });
        Self { stop, thread }
    }

    pub(super) fn stop(self) -> Result<T> {
        self.stop.0.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("what went on beside panicked"))?
    }
}
