//! The audit log.

use grantmint::audit::{Access, Target};

use super::{
    Context, fix,
    row::{Row, Subject},
};

const GROUP: &str = "audit";

/// Whether records can be written.
pub(super) fn check(context: &Context) -> Vec<Row> {
    let Some(config) = &context.config.audit else { return Vec::new() };
    let subject = Subject::new(GROUP, config.target.to_string());
    let row = match config.target.access() {
        Ok(Access::Writable) => subject.ok("writable"),
        Ok(Access::Missing) => subject.ok("does not exist yet; its directory is writable"),
        Err(error) => match &config.target {
            Target::File(path) if is_pipe_without_reader(path, &error) => subject
                .failed_for_now("is a pipe that no process reads", "start the pipe's reader first"),
            _ => subject.failed(format!("cannot be written: {error}"), fix::of_io(&error)),
        },
    };
    vec![row]
}

fn is_pipe_without_reader(path: &std::path::Path, error: &std::io::Error) -> bool {
    use std::os::unix::fs::FileTypeExt;

    let is_pipe = path.metadata().is_ok_and(|it| it.file_type().is_fifo());
    is_pipe && error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error())
}
