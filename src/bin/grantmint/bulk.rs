//! `grantmint bulk`: many tokens, one a line.

mod expiry;
mod waits;

use std::{
    fs::{File, Permissions},
    io::{self, BufWriter, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{ArgGroup, Args};
use grantmint::{
    clock::Clock,
    name::{Identity, NameError},
    rpc::proto::{IdentityList, IdentitySeries, MintTokensRequest, mint_tokens_request::Selection},
    settings::text,
};
use grantmint_client::Connection;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::time::{Instant, sleep};
use tonic::{Request, Status};

use self::{
    expiry::UseBy,
    waits::{Cause, Waits},
};
use crate::{
    chunks::{Chunk, mint_tokens},
    client::{OptionArgs, ServerArgs, timestamp, utc},
    exit::Exit,
    failure::{Failure, is_transient, reason, retry_delay},
    output::{self, MessageFormat, StdoutError},
};

/// Indices requested per call; halved if the server allows fewer.
const SERIES_PER_CALL: usize = 1_000_000;

/// Identities sent per call.
const IDENTITIES_PER_CALL: usize = 10_000;

/// The pause before a retry, if the server does not set one.
const MAX_PAUSE: Duration = Duration::from_secs(2);

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
        let sink = self.sink().map_err(|error| self.cannot_write(error))?;
        let started = Instant::now();
        let mut bulk = Bulk {
            command: &self,
            identities: &identities,
            sink,
            done: 0,
            per_call: identities.per_call(),
            use_by: UseBy::default(),
            waits: Waits::default(),
            bar: progress_bar(identities.len(), self.json),
            format: MessageFormat::of(self.json),
        };
        let ended = bulk.run().await;
        bulk.bar.finish_and_clear();
        let ended = ended.and_then(|()| bulk.sink.flush().map_err(BulkError::Write));
        let failure = match ended {
            Ok(()) => None,
            Err(BulkError::Call(status)) => Some(status.into()),
            Err(BulkError::Write(error)) => Some(self.cannot_write(error)),
        };
        // If the reader of standard output is gone, print no summary either.
        if failure.as_ref().is_some_and(|failure| failure.exit() == Exit::Done) {
            return Ok(Exit::Done);
        }
        let _ = bulk.sink.flush();
        match (failure, bulk.summarise(started.elapsed())) {
            (Some(failure), _) => Err(failure),
            (None, 0) => Ok(Exit::Done),
            (None, _) => Ok(Exit::PastUse),
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

/// The identities to mint for.
enum Identities {
    Series { prefix: String, count: usize },
    List(Vec<String>),
}

impl Identities {
    fn len(&self) -> usize {
        match self {
            Self::Series { count, .. } => *count,
            Self::List(identities) => identities.len(),
        }
    }

    fn per_call(&self) -> usize {
        match self {
            Self::Series { .. } => SERIES_PER_CALL,
            Self::List(_) => IDENTITIES_PER_CALL,
        }
    }

    fn identity(&self, index: usize) -> String {
        match self {
            Self::Series { prefix, .. } => format!("{prefix}{index}"),
            Self::List(identities) => identities.get(index).cloned().unwrap_or_default(),
        }
    }

    /// The selection and start index of a call for the indices from `start` up to `end`. A list is
    /// cut to these, and its indices start at 0.
    fn call(&self, start: usize, end: usize) -> (Selection, i64) {
        let index = |index: usize| i64::try_from(index).unwrap_or(i64::MAX);
        match self {
            Self::Series { prefix, .. } => {
                let series = IdentitySeries { prefix: prefix.clone(), count: index(end) };
                (Selection::IdentitySeries(series), index(start))
            }
            Self::List(identities) => {
                let identities = identities.get(start..end).unwrap_or_default().to_vec();
                (Selection::IdentityList(IdentityList { identities }), 0)
            }
        }
    }
}

/// Why a call failed.
enum BulkError {
    Call(Status),
    Write(io::Error),
}

impl From<Status> for BulkError {
    fn from(status: Status) -> Self {
        Self::Call(status)
    }
}

/// A running bulk.
struct Bulk<'a> {
    command: &'a BulkCommand,
    identities: &'a Identities,
    sink: BufWriter<Box<dyn Write + Send>>,
    /// Tokens written.
    done: usize,
    /// Indices requested per call.
    per_call: usize,
    /// The use-by times of the tokens written.
    use_by: UseBy,
    waits: Waits,
    bar: ProgressBar,
    format: MessageFormat,
}

impl Bulk<'_> {
    async fn run(&mut self) -> Result<(), BulkError> {
        let mut channel = None;
        let mut progressed = Instant::now();
        while self.done < self.identities.len() {
            let before = self.done;
            let ended = self.call(&mut channel).await;
            if self.done > before {
                progressed = Instant::now();
            }
            let Err(failure) = ended else { continue };
            let BulkError::Call(status) = failure else { return Err(failure) };
            let too_large = reason(&status).as_deref() == Some("BULK_TOO_LARGE");
            if too_large && self.per_call > 1 {
                self.per_call /= 2;
            } else if !is_transient(&status) || progressed.elapsed() > self.command.patience {
                return Err(status.into());
            } else {
                let needs_reconnect =
                    |reason: String| matches!(&*reason, "DRAINING" | "STREAM_LIFETIME_REACHED");
                if reason(&status).is_none_or(needs_reconnect) {
                    channel = None;
                }
                let pause = retry_delay(&status).unwrap_or(MAX_PAUSE);
                let cause = Cause::new(reason(&status), status.message());
                self.waits.start(&self.bar, self.format, pause, &cause);
                sleep(pause).await;
                self.bar.set_message("");
            }
        }
        Ok(())
    }

    async fn call(&mut self, channel: &mut Option<Connection>) -> Result<(), BulkError> {
        let connected = match channel {
            Some(connected) => connected.clone(),
            None => channel.insert(self.command.server.connect().await?).clone(),
        };
        let end = self.identities.len().min(self.done + self.per_call);
        let (selection, start_index) = self.identities.call(self.done, end);
        let request = MintTokensRequest {
            options: Some(self.command.options.to_proto()),
            selection: Some(selection),
            start_index,
            chunk_size: 0,
        };
        let mut chunks = mint_tokens(connected, Request::new(request)).await?;
        while let Some(chunk) = chunks.message().await? {
            self.write(&chunk).map_err(BulkError::Write)?;
        }
        Ok(())
    }

    fn write(&mut self, chunk: &Chunk) -> io::Result<()> {
        let use_by = chunk.validity.as_ref().and_then(|validity| validity.use_by_time);
        for token in &chunk.tokens {
            if self.command.json {
                let line = json!({
                    "index": self.done,
                    "identity": self.identities.identity(self.done),
                    "token": String::from_utf8_lossy(token),
                    "use_by_time": utc(use_by.as_ref()),
                });
                writeln!(self.sink, "{line}")?;
            } else {
                self.sink.write_all(token)?;
                self.sink.write_all(b"\n")?;
            }
            self.done += 1;
        }
        // By the local clock, since the server's may differ.
        let within = chunk.validity.as_ref().and_then(|validity| validity.use_within);
        if let Some(within) = within.and_then(|within| Duration::try_from(within).ok()) {
            self.use_by.add(chunk.tokens.len(), Clock::system().now().wall + within);
        }
        self.bar.set_position(self.done as u64);
        Ok(())
    }

    /// Prints a summary. Returns how many tokens are past their use-by time.
    fn summarise(&self, took: Duration) -> usize {
        let now = Clock::system().now().wall;
        let (done, all, took) = (self.done, self.identities.len(), took.as_secs_f64());
        let past_use = self.use_by.past_use(now);
        if self.format == MessageFormat::Json {
            output::summary(&json!({
                "tokens": done,
                "of": all,
                "seconds": took,
                "past_use": past_use,
                "earliest_use_by_time": self.use_by.earliest().map(|at| utc(Some(&timestamp(at)))),
                "waits": self.waits.to_json(),
            }));
            return past_use;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = done as f64 / took.max(1e-9);
        output::message(&format!("{done} of {all} tokens in {took:.2} s, {rate:.0} a second"));
        if let Some(waits) = self.waits.summary() {
            output::message(&waits);
        }
        self.use_by.lines(now).iter().for_each(|line| output::message(line));
        past_use
    }
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
