//! Queues log lines for a writer thread, so that logging never blocks on a slow reader.

use std::{
    io::{self, Write},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::Duration,
};

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
pub(super) struct LogLines(SyncSender<Message>);

/// Waits on drop until queued lines are written, for up to a second.
#[derive(Debug)]
pub struct LogEnd {
    lines: SyncSender<Message>,
    written: Receiver<()>,
}

/// Starts the thread that writes lines to `out`.
pub(super) fn log_lines(out: impl Write + Send + 'static) -> io::Result<(LogLines, LogEnd)> {
    let (lines, waiting) = sync_channel(MAX_QUEUED);
    let (all_written, written) = sync_channel(1);
    thread::Builder::new().name("log".to_owned()).spawn(move || {
        write(&waiting, out);
        // The receiver may be gone.
        let _ = all_written.try_send(());
    })?;
    Ok((LogLines(lines.clone()), LogEnd { lines, written }))
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
        let _ = self.0.try_send(Message::Line(line.to_vec()));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogEnd {
    fn drop(&mut self) {
        if self.lines.try_send(Message::End).is_ok() {
            let _ = self.written.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queued_lines_are_written_on_drop() {
        let (mut read, out) = io::pipe().unwrap();
        let (mut lines, end) = log_lines(out).unwrap();
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
        let (mut lines, end) = log_lines(out).unwrap();
        let line = [b'x'; 1_000];
        for _ in 0..2 * MAX_QUEUED {
            lines.write_all(&line).unwrap();
        }
        drop(end);
    }
}
