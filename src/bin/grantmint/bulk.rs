//! `grantmint bulk`: many tokens, one a line.

mod lives;
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
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::time::{Instant, sleep};
use tonic::{Request, Status};

use self::{
    lives::Lives,
    waits::{Waits, Why},
};
use crate::{
    bearer::Connection,
    chunks::{Chunk, mint_tokens},
    client::{OptionArgs, ServerArgs, timestamp, utc},
    exit::Exit,
    failure::{Failure, is_transient, reason, retry_delay},
    output::{self, MessageFormat, StdoutError},
};

/// Indices asked for in one call; the server may allow fewer, then it is halved.
const SERIES_A_CALL: usize = 1_000_000;

/// Identities sent in one call.
const IDENTITIES_A_CALL: usize = 10_000;

/// The longest pause where the server does not say when to try again.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// About a chunk, so that it stays in the processor's cache.
const OUTPUT_BUFFER: usize = 128 * 1024;

/// Mints many tokens, one a line; goes on by itself after a failure that heals.
///
/// Ends with 4 where some of the tokens are past their use by then.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("whose").required(true).args(["count", "identities"])))]
pub(crate) struct BulkCommand {
    /// Mint for this many numbered identities
    #[arg(long, value_name = "N")]
    count: Option<u32>,
    /// What stands before the number
    #[arg(long, default_value = "user-", requires = "count")]
    prefix: String,
    /// Mint for the identities in this file, one a line; - for standard input
    #[arg(long, value_name = "FILE")]
    identities: Option<PathBuf>,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write a JSON object a line: index, identity, token, `use_by_time`
    #[arg(long)]
    json: bool,
    /// Give up when no token came for this long
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    patience: Duration,
    #[command(flatten)]
    options: OptionArgs,
    #[command(flatten)]
    server: ServerArgs,
}

impl BulkCommand {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let whose = self.whose().map_err(|error| {
            Failure::permanent(format!("cannot read the identities in {}: {error}", self.source()))
        })?;
        let sink = self.sink().map_err(|error| self.cannot_write(error))?;
        let started = Instant::now();
        let mut bulk = Running {
            command: &self,
            whose: &whose,
            sink,
            done: 0,
            a_call: whose.a_call(),
            lives: Lives::default(),
            waits: Waits::default(),
            bar: progress_bar(whose.len(), self.json),
            format: MessageFormat::of(self.json),
        };
        let ended = bulk.run().await;
        bulk.bar.finish_and_clear();
        let ended = ended.and_then(|()| bulk.sink.flush().map_err(Broken::Write));
        let failure = match ended {
            Ok(()) => None,
            Err(Broken::Call(status)) => Some(status.into()),
            Err(Broken::Write(error)) => Some(self.cannot_write(error)),
        };
        // A reader of standard output that went away wants no summary either.
        if failure.as_ref().is_some_and(|failure| failure.exit() == Exit::Done) {
            return Ok(Exit::Done);
        }
        let _ = bulk.sink.flush();
        match (failure, bulk.sum_up(started.elapsed())) {
            (Some(failure), _) => Err(failure),
            (None, 0) => Ok(Exit::Done),
            (None, _) => Ok(Exit::PastUse),
        }
    }

    /// A reader of standard output that went away has what it wanted.
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

    fn whose(&self) -> io::Result<Whose> {
        let Some(path) = &self.identities else {
            let count = self.count.unwrap_or_default() as usize;
            return Ok(Whose::Series { prefix: self.prefix.clone(), count });
        };
        let mut bytes = Vec::new();
        if path.as_os_str() == "-" {
            io::stdin().read_to_end(&mut bytes)?;
        } else {
            File::open(path)?.read_to_end(&mut bytes)?;
        }
        let text = text::decode(&bytes).map_err(|why| io::Error::other(format!("it {why}")))?;
        // Before the first call: later, some tokens would be there, and the line not known.
        for (line, identity) in (1..).zip(text.lines()) {
            check_line(identity).map_err(|why| io::Error::other(format!("line {line} {why}")))?;
        }
        Ok(Whose::List(text.lines().map(str::to_owned).collect()))
    }

    fn sink(&self) -> io::Result<BufWriter<Box<dyn Write + Send>>> {
        let sink: Box<dyn Write + Send> = match &self.output {
            Some(path) => Box::new(TokenFile::open(path)?),
            None => Box::new(io::stdout()),
        };
        Ok(BufWriter::with_capacity(OUTPUT_BUFFER, sink))
    }
}

/// An identity as a line of a file, where what nobody sees is a mistake of a tool.
fn check_line(identity: &str) -> Result<(), &'static str> {
    Identity::parse(identity).map_err(NameError::as_str)?;
    let unseen = |it: char| it.is_whitespace() || text::is_invisible(it);
    if identity.starts_with(unseen) || identity.ends_with(unseen) {
        return Err("begins or ends with white space or a character that cannot be seen");
    }
    // Scripts and emoji join letters with these.
    let joins = |it: char| matches!(it, '\u{200c}' | '\u{200d}');
    if identity.contains(|it| text::is_invisible(it) && !joins(it)) {
        return Err("holds a character that cannot be seen");
    }
    if text::is_quoted(identity) || identity.starts_with('"') || identity.ends_with('"') {
        return Err("begins or ends with quotes, which would be part of the identity");
    }
    if identity.ends_with(',') {
        return Err("ends with a comma, which would be part of the identity");
    }
    Ok(())
}

/// A file that nobody else may read, since tokens are bearer secrets. What it held before stays
/// until there is a token.
struct TokenFile {
    file: File,
    begun: bool,
}

impl TokenFile {
    fn open(path: &Path) -> io::Result<Self> {
        let mut options = File::options();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path)?;
        // Of a device, such as /dev/null, they are not ours to change.
        if file.metadata()?.is_file() {
            file.set_permissions(Permissions::from_mode(0o600))?;
        }
        Ok(Self { file, begun: false })
    }
}

impl Write for TokenFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.begun && self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        self.begun = true;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Whose tokens.
enum Whose {
    Series { prefix: String, count: usize },
    List(Vec<String>),
}

impl Whose {
    fn len(&self) -> usize {
        match self {
            Self::Series { count, .. } => *count,
            Self::List(identities) => identities.len(),
        }
    }

    fn a_call(&self) -> usize {
        match self {
            Self::Series { .. } => SERIES_A_CALL,
            Self::List(_) => IDENTITIES_A_CALL,
        }
    }

    fn identity(&self, index: usize) -> String {
        match self {
            Self::Series { prefix, .. } => format!("{prefix}{index}"),
            Self::List(identities) => identities.get(index).cloned().unwrap_or_default(),
        }
    }

    /// A call for the indices from `start` up to `end`. A list's own indices start there too.
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

/// What breaks a call off.
enum Broken {
    Call(Status),
    Write(io::Error),
}

impl From<Status> for Broken {
    fn from(status: Status) -> Self {
        Self::Call(status)
    }
}

/// A bulk under way.
struct Running<'a> {
    command: &'a BulkCommand,
    whose: &'a Whose,
    sink: BufWriter<Box<dyn Write + Send>>,
    /// Indices answered.
    done: usize,
    /// Indices asked for in one call.
    a_call: usize,
    /// How long the tokens written can be used.
    lives: Lives,
    waits: Waits,
    bar: ProgressBar,
    format: MessageFormat,
}

impl Running<'_> {
    async fn run(&mut self) -> Result<(), Broken> {
        let mut channel = None;
        let mut progressed = Instant::now();
        while self.done < self.whose.len() {
            let before = self.done;
            let ended = self.call(&mut channel).await;
            if self.done > before {
                progressed = Instant::now();
            }
            let Err(failure) = ended else { continue };
            let Broken::Call(status) = failure else { return Err(failure) };
            let too_large = reason(&status).as_deref() == Some("BULK_TOO_LARGE");
            if too_large && self.a_call > 1 {
                self.a_call /= 2;
            } else if !is_transient(&status) || progressed.elapsed() > self.command.patience {
                return Err(status.into());
            } else {
                let leaves =
                    |reason: String| matches!(&*reason, "DRAINING" | "STREAM_LIFETIME_REACHED");
                if reason(&status).is_none_or(leaves) {
                    channel = None;
                }
                let pause = retry_delay(&status).unwrap_or(MAX_PAUSE);
                let why = Why::new(reason(&status), status.message());
                self.waits.begin(&self.bar, self.format, pause, &why);
                sleep(pause).await;
                self.bar.set_message("");
            }
        }
        Ok(())
    }

    async fn call(&mut self, channel: &mut Option<Connection>) -> Result<(), Broken> {
        let connected = match channel {
            Some(connected) => connected.clone(),
            None => channel.insert(self.command.server.connect().await?).clone(),
        };
        let end = self.whose.len().min(self.done + self.a_call);
        let (selection, start_index) = self.whose.call(self.done, end);
        let request = MintTokensRequest {
            options: Some(self.command.options.to_proto()),
            selection: Some(selection),
            start_index,
            chunk_size: 0,
        };
        let mut chunks = mint_tokens(connected, Request::new(request)).await?;
        while let Some(chunk) = chunks.message().await? {
            self.write(&chunk).map_err(Broken::Write)?;
        }
        Ok(())
    }

    fn write(&mut self, chunk: &Chunk) -> io::Result<()> {
        let use_by = chunk.validity.as_ref().and_then(|validity| validity.use_by_time);
        for token in &chunk.tokens {
            if self.command.json {
                let line = json!({
                    "index": self.done,
                    "identity": self.whose.identity(self.done),
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
        // By our own clock: the server's may be another.
        let within = chunk.validity.as_ref().and_then(|validity| validity.use_within);
        if let Some(within) = within.and_then(|within| Duration::try_from(within).ok()) {
            self.lives.add(chunk.tokens.len(), Clock::system().now().wall + within);
        }
        self.bar.set_position(self.done as u64);
        Ok(())
    }

    /// Says what was done and what of it is dead already; how many those are.
    fn sum_up(&self, took: Duration) -> usize {
        let now = Clock::system().now().wall;
        let (done, all, took) = (self.done, self.whose.len(), took.as_secs_f64());
        let dead = self.lives.past_use(now);
        if self.format == MessageFormat::Json {
            output::summary(&json!({
                "tokens": done,
                "of": all,
                "seconds": took,
                "past_use": dead,
                "earliest_use_by_time": self.lives.earliest().map(|at| utc(Some(&timestamp(at)))),
                "waits": self.waits.to_json(),
            }));
            return dead;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = done as f64 / took.max(1e-9);
        output::message(&format!("{done} of {all} tokens in {took:.2} s, {rate:.0} a second"));
        if let Some(waits) = self.waits.sum() {
            output::message(&waits);
        }
        self.lives.words(now).iter().for_each(|line| output::message(line));
        dead
    }
}

/// Hidden where standard error is no terminal.
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
