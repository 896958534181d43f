//! `grantmint bulk`: many tokens, one a line.

mod expiry;
mod waits;

use std::{
    fs::{File, Permissions},
    io::{self, BufWriter, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use clap::{ArgGroup, Args};
use grantmint::{
    clock::{Clock, WallTime},
    name::{Identity, NameError},
    settings::text,
};
use grantmint_client::{Bulk, Chunk, Error as CallError, Identities, Options};
use indicatif::{ProgressBar, ProgressStyle};
use prost_types::Timestamp;
use serde_json::json;
use tokio::time::Instant;

use self::{
    expiry::UseBy,
    waits::{Cause, Waits},
};
use crate::{
    client::{OptionArgs, ServerArgs, timestamp, utc},
    exit::Exit,
    failure::Failure,
    output::{self, MessageFormat, StdoutError},
};

/// About the size of a chunk, so that it fits the processor's cache.
const OUTPUT_BUFFER: usize = 128 * 1024;

/// Mint many tokens, one per line; resumes after transient failures
///
/// Exits with 4 if some of the tokens are past their use-by time by the end.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("source").required(true).args(["count", "identities"])))]
pub(crate) struct BulkCommand {
    /// Number of identities to mint for, numbered from 0
    #[arg(long, value_name = "N")]
    count: Option<u32>,
    /// Prefix of numbered identities
    #[arg(long, default_value = "user-", requires = "count")]
    prefix: String,
    /// File with the identities to mint for, one per line; - for standard input
    #[arg(long, value_name = "FILE")]
    identities: Option<PathBuf>,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print one JSON object per token: index, identity, token, `use_by_time`
    #[arg(long)]
    json: bool,
    /// Fail if no token arrives for this long
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    patience: Duration,
    #[command(flatten)]
    options: OptionArgs,
    #[command(flatten)]
    server: ServerArgs,
}

impl BulkCommand {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let identities = self.identities().map_err(|error| {
            Failure::permanent(format!("cannot read the identities in {}: {error}", self.source()))
        })?;
        let connection = self.server.connect_lazily()?;
        let sink = self.sink().map_err(|error| self.cannot_write(error))?;
        let started = Instant::now();
        let mut output = Output {
            command: &self,
            sink,
            done: 0,
            all: identities.len(),
            use_by: UseBy::default(),
            waits: Arc::default(),
            bar: progress_bar(identities.len(), self.json),
            format: MessageFormat::of(self.json),
        };
        let options = Options::from(self.options.to_proto());
        let mut bulk = Bulk::new(connection, identities, &options)
            .patience(self.patience)
            .on_resume(self.report_waits(&output));
        let ended = output.write(&mut bulk).await;
        output.bar.finish_and_clear();
        let failure = match ended {
            Ok(()) => None,
            Err(BulkError::Call(error)) => {
                Some(Failure::from(self.server.explained(error)).by_line(&self.source()))
            }
            Err(BulkError::Write(error)) => Some(self.cannot_write(error)),
        };
        // If the reader of standard output is gone, print no summary either.
        if failure.as_ref().is_some_and(|failure| failure.exit() == Exit::Done) {
            return Ok(Exit::Done);
        }
        let _ = output.sink.flush();
        match (failure, output.summarize(started.elapsed())) {
            (Some(failure), _) => Err(failure),
            (None, 0) => Ok(Exit::Done),
            (None, _) => Ok(Exit::PastUse),
        }
    }

    /// Reports each wait before the bulk is resumed.
    fn report_waits(
        &self,
        output: &Output<'_>,
    ) -> impl FnMut(usize, &CallError, Duration) + Send + Sync + 'static {
        let (server, format) = (self.server.clone(), output.format);
        let (waits, bar) = (Arc::clone(&output.waits), output.bar.clone());
        move |_, error, pause| {
            let status = server.explained(error.clone());
            lock(&waits).start(&bar, format, pause, &Cause::of(&status));
        }
    }

    fn cannot_write(&self, error: io::Error) -> Failure {
        match &self.output {
            Some(path) if error.kind() != io::ErrorKind::BrokenPipe => {
                let path = path.display();
                Failure::permanent(format!("cannot write the tokens to {path}: {error}"))
            }
            _ => StdoutError(error).into(),
        }
    }

    /// Where identities are read from.
    fn source(&self) -> String {
        let path = self.identities.as_deref().unwrap_or_else(|| Path::new("-"));
        if path == Path::new("-") {
            "standard input".to_owned()
        } else {
            path.display().to_string()
        }
    }

    fn identities(&self) -> io::Result<Identities> {
        let Some(path) = &self.identities else {
            let count = self.count.unwrap_or_default() as usize;
            return Ok(Identities::Series { prefix: self.prefix.clone(), count });
        };
        let mut bytes = Vec::new();
        if path.as_os_str() == "-" {
            io::stdin().read_to_end(&mut bytes)?;
        } else {
            File::open(path)?.read_to_end(&mut bytes)?;
        }
        let text = text::decode(&bytes).map_err(|why| io::Error::other(format!("it {why}")))?;
        // Checked before the first call: the server's error would not name the line, and some
        // tokens would already be written.
        for (line, identity) in (1..).zip(text.lines()) {
            check_line(identity).map_err(|why| io::Error::other(format!("line {line} {why}")))?;
        }
        Ok(Identities::List(text.lines().map(str::to_owned).collect()))
    }

    fn sink(&self) -> io::Result<BufWriter<Box<dyn Write + Send>>> {
        let sink: Box<dyn Write + Send> = match &self.output {
            Some(path) => Box::new(TokenFile::open(path)?),
            None => Box::new(io::stdout()),
        };
        Ok(BufWriter::with_capacity(OUTPUT_BUFFER, sink))
    }
}

/// Checks an identity in a file. Invisible characters there are mistakes of the tool that wrote it.
fn check_line(identity: &str) -> Result<(), &'static str> {
    Identity::parse(identity).map_err(NameError::as_str)?;
    let unseen = |it: char| it.is_whitespace() || text::is_invisible(it);
    if identity.starts_with(unseen) || identity.ends_with(unseen) {
        return Err("starts or ends with whitespace or an invisible character");
    }
    // Scripts and emoji join letters with these.
    let joins = |it: char| matches!(it, '\u{200c}' | '\u{200d}');
    if identity.contains(|it| text::is_invisible(it) && !joins(it)) {
        return Err("contains an invisible character");
    }
    if text::is_quoted(identity) || identity.starts_with('"') || identity.ends_with('"') {
        return Err("starts or ends with quotes, which would be part of the identity");
    }
    if identity.ends_with(',') {
        return Err("ends with a comma, which would be part of the identity");
    }
    Ok(())
}

/// A file that only its owner may read, since tokens are bearer secrets. Its old content stays
/// until the first token is written.
struct TokenFile {
    file: File,
    truncated: bool,
}

impl TokenFile {
    fn open(path: &Path) -> io::Result<Self> {
        let mut options = File::options();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path)?;
        // The permissions of a device, such as /dev/null, stay unchanged.
        if file.metadata()?.is_file() {
            file.set_permissions(Permissions::from_mode(0o600))?;
        }
        Ok(Self { file, truncated: false })
    }
}

impl Write for TokenFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.truncated && self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        self.truncated = true;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Why a bulk failed.
enum BulkError {
    Call(CallError),
    Write(io::Error),
}

/// The output of a bulk.
struct Output<'a> {
    command: &'a BulkCommand,
    sink: BufWriter<Box<dyn Write + Send>>,
    /// Tokens written, and tokens requested.
    done: usize,
    all: usize,
    /// The use-by times of the tokens written.
    use_by: UseBy,
    waits: Arc<Mutex<Waits>>,
    bar: ProgressBar,
    format: MessageFormat,
}

impl Output<'_> {
    async fn write(&mut self, bulk: &mut Bulk) -> Result<(), BulkError> {
        while let Some(chunk) = bulk.next_bytes().await.map_err(BulkError::Call)? {
            self.write_chunk(bulk.identities(), &chunk).map_err(BulkError::Write)?;
        }
        self.sink.flush().map_err(BulkError::Write)
    }

    fn write_chunk(&mut self, identities: &Identities, chunk: &Chunk<Bytes>) -> io::Result<()> {
        lock(&self.waits).end(&self.bar);
        let use_by = utc(chunk.validity.use_by_time().map(Timestamp::from).as_ref());
        for token in &chunk.tokens {
            if self.command.json {
                let token = str::from_utf8(token).map_err(|_| {
                    io::Error::new(
                        io::ErrorKind::InvalidData,
                        "the server sent one that is not UTF-8",
                    )
                })?;
                let line = json!({
                    "index": self.done,
                    "identity": identities.get(self.done),
                    "token": token,
                    "use_by_time": use_by,
                });
                writeln!(self.sink, "{line}")?;
            } else {
                self.sink.write_all(token)?;
                self.sink.write_all(b"\n")?;
            }
            self.done += 1;
        }
        self.use_by.add(chunk.tokens.len(), wall_at(chunk.validity.use_by()));
        self.bar.set_position(self.done as u64);
        Ok(())
    }

    /// Prints a summary. Returns how many tokens are past their use-by time.
    fn summarize(&self, took: Duration) -> usize {
        let now = Clock::system().now().wall;
        let (done, all, took) = (self.done, self.all, took.as_secs_f64());
        let (past_use, waits) = (self.use_by.past_use(now), lock(&self.waits));
        if self.format == MessageFormat::Json {
            output::summary(&json!({
                "tokens": done,
                "of": all,
                "seconds": took,
                "past_use": past_use,
                "earliest_use_by_time": self.use_by.earliest().map(|at| utc(Some(&timestamp(at)))),
                "waits": waits.to_json(),
            }));
            return past_use;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = done as f64 / took.max(1e-9);
        output::message(&format!("{done} of {all} tokens in {took:.2} s, {rate:.0} a second"));
        if let Some(waits) = waits.summary() {
            output::message(&waits);
        }
        self.use_by.lines(now).iter().for_each(|line| output::message(line));
        past_use
    }
}

fn lock(waits: &Mutex<Waits>) -> MutexGuard<'_, Waits> {
    waits.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The wall time at this instant, as the clock is now set.
fn wall_at(instant: Instant) -> WallTime {
    let (now, wall) = (Instant::now(), Clock::system().now().wall);
    wall + instant.saturating_duration_since(now) - now.saturating_duration_since(instant)
}

/// Hidden if standard error is not a terminal.
fn progress_bar(length: usize, json: bool) -> ProgressBar {
    if json {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(length as u64);
    let style = "{bar:40} {pos}/{len} {per_sec} {eta} {msg}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar
}
