//! Queues log lines for a writer thread, so that logging never blocks on a slow reader. A line that
//! is logged in a trace ends with the ids of the trace and its span.
//!
//! `tracing-appender` is not used: if its queue is full at exit, it prints to standard output, which
//! blocks forever where nobody reads that either, and panics where it is closed.

use std::{
    fmt,
    io::{self, Write},
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread,
    time::Duration,
};

use super::{LogFormat, trace};

/// The maximum number of queued lines; further lines are dropped.
const MAX_QUEUED: usize = 4_096;

/// How long a dropped [`LogEnd`] waits for queued lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

enum Message {
    Line(Vec<u8>),
    End,
}

/// Queues lines; each write is one whole line.
#[derive(Clone, Debug)]
pub(super) struct LogLines {
    lines: SyncSender<Message>,
    format: LogFormat,
}

/// Waits on drop until queued lines are written, for up to a second.
#[derive(Debug)]
pub struct LogEnd {
    lines: SyncSender<Message>,
    written: Receiver<()>,
}

/// Starts the thread that writes lines to `out`.
pub(super) fn log_lines(
    format: LogFormat,
    out: impl Write + Send + 'static,
) -> io::Result<(LogLines, LogEnd)> {
    let (lines, waiting) = sync_channel(MAX_QUEUED);
    let (all_written, written) = sync_channel(1);
    thread::Builder::new().name("log".to_owned()).spawn(move || {
        write(&waiting, out);
        // The receiver may be gone.
        let _ = all_written.try_send(());
    })?;
    Ok((LogLines { lines: lines.clone(), format }, LogEnd { lines, written }))
}

/// Writes queued lines. A line that cannot be written, as on a full disk, is dropped.
fn write(waiting: &Receiver<Message>, mut out: impl Write) {
    while let Ok(Message::Line(line)) = waiting.recv() {
        let _ = out.write_all(&line);
    }
    let _ = out.flush();
}

impl Write for LogLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // Dropped if the queue is full.
        let _ = self.lines.try_send(Message::Line(with_ids(self.format, line)));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The line with the ids of the current trace, if there is one.
fn with_ids(format: LogFormat, line: &[u8]) -> Vec<u8> {
    let mut whole = line.to_vec();
    trace::with_ids(|trace, span| {
        let end: &[u8] = match format {
            LogFormat::Json => b"}\n",
            LogFormat::Human => b"\n",
        };
        if !whole.ends_with(end) {
            return;
        }
        whole.truncate(whole.len() - end.len());
        let mut field = |name: &str, id: &dyn fmt::Display| {
            // Writing to a Vec does not fail.
            let _ = match format {
                LogFormat::Json => write!(whole, ",\"{name}\":\"{id}\""),
                LogFormat::Human => write!(whole, " {name}={id}"),
            };
        };
        field("trace_id", &trace);
        if let Some(span) = span {
            field("span_id", &span);
        }
        whole.extend(end);
    });
    whole
}

impl Drop for LogEnd {
    fn drop(&mut self) {
        if let Err(TrySendError::Full(end)) = self.lines.try_send(Message::End) {
            // On a thread of its own, since sending waits without a timeout.
            let lines = self.lines.clone();
            let send = move || lines.send(end);
            let _ = thread::Builder::new().name("log-end".to_owned()).spawn(send);
        }
        let _ = self.written.recv_timeout(FLUSH_TIMEOUT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn queued_lines_are_written_on_drop() {
        let (mut read, out) = io::pipe().unwrap();
        let (mut lines, end) = log_lines(LogFormat::Json, out).unwrap();
        for index in 0..100 {
            writeln!(lines, "line {index}").unwrap();
        }
        drop(end);
        let mut text = vec![0; 65_536];
        let length = io::Read::read(&mut read, &mut text).unwrap();
        assert_eq!(text[..length].split(|byte| *byte == b'\n').count(), 101);
    }

    #[test]
    fn stalled_reader_blocks_neither_logging_nor_exit() {
        let (_unread, out) = io::pipe().unwrap();
        let (mut lines, end) = log_lines(LogFormat::Json, out).unwrap();
        let line = [b'x'; 1_000];
        for _ in 0..2 * MAX_QUEUED {
            lines.write_all(&line).unwrap();
        }
        let clock = Clock::system();
        let dropped = clock.now().boot;
        drop(end);
        let waited = clock.now().boot.since(dropped);
        assert!(waited >= FLUSH_TIMEOUT, "a slow reader gets the time to read");
    }

    #[test]
    fn line_in_a_trace_ends_with_its_ids() {
        let sample = trace::Sample::new(1.0).unwrap();
        let metrics = crate::telemetry::Metrics::default().traces();
        let names = crate::telemetry::ResourceNames::default();
        let clock = Clock::system();
        let (tracer, mut spans) = trace::Tracer::new(sample, clock, names, metrics);
        let line =
            |format, line: &str| String::from_utf8(with_ids(format, line.as_bytes())).unwrap();
        let span = tracer.root(trace::Rate::Sampled, "work").unwrap();
        let entered = span.context().enter();
        let json = line(LogFormat::Json, "{\"a\":1}\n");
        let human = line(LogFormat::Human, "INFO done\n");
        let partial = line(LogFormat::Json, "{\"a\":");
        drop(entered);
        drop(span);
        let trace::SpanRecord { trace_id, span_id, .. } = spans.try_recv().unwrap();
        let expected =
            format!("{{\"a\":1,\"trace_id\":\"{trace_id}\",\"span_id\":\"{span_id}\"}}\n");
        assert_eq!(json, expected);
        assert_eq!(human, format!("INFO done trace_id={trace_id} span_id={span_id}\n"));
        assert_eq!(partial, "{\"a\":");
        assert_eq!(line(LogFormat::Human, "INFO done\n"), "INFO done\n");
    }
}
