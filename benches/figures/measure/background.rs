//! Work that runs during a measurement.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::{Result, anyhow};

use crate::process::Cores;

/// Work in its own thread on any core, until it is stopped.
pub(super) struct Background<T> {
    stop: Stop,
    thread: thread::JoinHandle<Result<T>>,
}

/// Whether the work must stop.
#[derive(Clone, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl<T: Send + 'static> Background<T> {
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
        self.thread.join().map_err(|_| anyhow!("the background work panicked"))?
    }
}
