//! Lines of the log on their way out: who logs never waits for who reads.

use std::{
    io::{self, Write},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::Duration,
};

/// Lines that may wait to be written; more are lost.
const MOST_WAITING: usize = 4_096;

/// How long the end waits for what is left to be written.
const END_PATIENCE: Duration = Duration::from_secs(1);

enum Message {
    Line(Vec<u8>),
    End,
}

/// Where lines are given; one whole line a write.
#[derive(Clone, Debug)]
pub(super) struct LogLines(SyncSender<Message>);

/// Waits for what is left of the log to be written, a second at the most, when it goes.
#[derive(Debug)]
pub struct LogEnd {
    lines: SyncSender<Message>,
    written: Receiver<()>,
}

/// Starts the thread that writes lines to `out`.
pub(super) fn log_lines(out: impl Write + Send + 'static) -> io::Result<(LogLines, LogEnd)> {
    let (lines, waiting) = sync_channel(MOST_WAITING);
    let (all_written, written) = sync_channel(1);
    thread::Builder::new().name("log".to_owned()).spawn(move || {
        write(&waiting, out);
        // Nobody may wait for it.
        let _ = all_written.try_send(());
    })?;
    Ok((LogLines(lines.clone()), LogEnd { lines, written }))
}

/// Writes what comes. A line that cannot be written, on a full disk, is lost.
fn write(waiting: &Receiver<Message>, mut out: impl Write) {
    while let Ok(Message::Line(line)) = waiting.recv() {
        let _ = out.write_all(&line);
    }
    let _ = out.flush();
}

impl Write for LogLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // Full: nobody reads.
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
            let _ = self.written.recv_timeout(END_PATIENCE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_logged_is_written_at_the_end() {
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
    fn a_reader_that_does_not_read_holds_neither_who_logs_nor_the_end() {
        let (_unread, out) = io::pipe().unwrap();
        let (mut lines, end) = log_lines(out).unwrap();
        let line = [b'x'; 1_000];
        for _ in 0..2 * MOST_WAITING {
            lines.write_all(&line).unwrap();
        }
        drop(end);
    }
}
