//! Why a command failed, and what to do next.

use std::{borrow::Cow, error::Error, fmt, io, time::Duration};

use grantmint::settings::{Problem, ProblemKind, Problems};
use serde_json::{Map, Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{
    dial,
    exit::Exit,
    output::{self, MessageFormat, StdoutError, seconds},
    terminal::{Color, Paint},
};

/// How the path of an identity in a list starts; its index follows.
const LISTED: &str = "identity_list.identities[";

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
    /// The code of a failed call; none if no call was made.
    code: Option<Code>,
    /// The reason of an error from the server; none if the transport failed.
    reason: Option<String>,
    /// The individual problems.
    details: Vec<Detail>,
    retry_after: Option<Duration>,
    next: Option<String>,
}

/// One problem.
#[derive(Debug)]
struct Detail {
    /// A field's path, or a file.
    place: String,
    /// The line in the file.
    line: Option<usize>,
    message: String,
}

impl Failure {
    fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            code: None,
            reason: None,
            details: Vec::new(),
            retry_after: None,
            next: None,
        }
    }

    /// A failure that a retry does not fix.
    pub(crate) fn permanent(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// A failure that a retry may fix.
    pub(crate) fn transient(message: impl Into<String>) -> Self {
        Self::new(Exit::TryLater, message)
    }

    /// Wrong usage.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Misused, message)
    }

    /// Wrong usage that clap found.
    pub(crate) fn from_usage(error: &clap::Error) -> Self {
        let text = error.to_string();
        let (message, usage) = text.split_once("\n\n").unwrap_or((&text, ""));
        let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        Self::usage(one_line(message.trim_start_matches("error: "))).next(one_line(usage))
    }

    /// Adds what to do next.
    #[must_use]
    pub(crate) fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Names identities of a list by their lines in this file.
    #[must_use]
    pub(crate) fn by_line(mut self, file: &str) -> Self {
        for detail in &mut self.details {
            let index = detail.place.strip_prefix(LISTED).and_then(|it| it.strip_suffix(']'));
            if let Some(index) = index.and_then(|it| it.parse::<usize>().ok()) {
                detail.line = index.checked_add(1);
                file.clone_into(&mut detail.place);
            }
        }
        self
    }

    /// The exit code of the command.
    pub(crate) const fn exit(&self) -> Exit {
        self.exit
    }

    /// Writes the failure and what to do next to standard error.
    pub(crate) fn report(&self, format: MessageFormat) {
        match format {
            MessageFormat::Text => {
                let label = Paint::stderr().with(Color::Red, "error:");
                output::message(&format!("{label} {self}"));
            }
            MessageFormat::Json => output::object("error", &self.to_json()),
        }
    }

    /// As one JSON object, without the unknown members.
    pub(crate) fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("message".to_owned(), json!(self.message));
        object.insert("exit_code".to_owned(), json!(self.exit.code()));
        let details = |details: &[Detail]| {
            let one = |it: &Detail| match it.line {
                Some(line) => json!({"place": it.place, "line": line, "message": it.message}),
                None => json!({"place": it.place, "message": it.message}),
            };
            Value::Array(details.iter().map(one).collect())
        };
        let known = [
            ("code", self.code.map(|code| json!(format!("{code:?}")))),
            ("reason", self.reason.as_ref().map(|reason| json!(reason))),
            ("retry_after_seconds", self.retry_after.map(|after| json!(after.as_secs_f64()))),
            ("details", Some(details(&self.details)).filter(|it| *it != json!([]))),
            ("next", self.next.as_ref().map(|next| json!(next))),
        ];
        let known = known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        object.extend(known);
        Value::Object(object)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match (&self.reason, self.code) {
            (Some(reason), _) => write!(f, " ({reason})")?,
            (None, Some(code)) => write!(f, " ({code:?})")?,
            (None, None) => {}
        }
        for Detail { place, line, message } in &self.details {
            write!(f, "\n  {place}:")?;
            line.iter().try_for_each(|line| write!(f, "{line}:"))?;
            write!(f, " {message}")?;
        }
        if let Some(after) = self.retry_after {
            write!(f, "\n  retry in {}", seconds(after))?;
        }
        self.next.iter().try_for_each(|next| write!(f, "\n  {next}"))
    }
}

impl From<StdoutError> for Failure {
    /// A closed pipe is not a failure: its reader needs no more.
    fn from(error: StdoutError) -> Self {
        let exit =
            if error.0.kind() == io::ErrorKind::BrokenPipe { Exit::Done } else { Exit::Failed };
        Self::new(exit, error.to_string())
    }
}

impl From<Status> for Failure {
    /// A failed call.
    fn from(status: Status) -> Self {
        let later = matches!(
            status.code(),
            Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted
        );
        let permanent = dial::problem(&status).is_some_and(|problem| !problem.is_transient());
        let later = (later || disconnected(&status)) && !permanent;
        let exit = if later { Exit::TryLater } else { Exit::Failed };
        let bad = status.get_details_bad_request().map(|bad| bad.field_violations);
        let details = bad.unwrap_or_default().into_iter();
        let details =
            details.map(|it| Detail { place: it.field, line: None, message: it.description });
        let details = details.chain(denied(&status)).collect();
        let next = what_next(&status).map(Cow::into_owned);
        Self {
            exit,
            message: status.message().to_owned(),
            code: Some(status.code()).filter(|_| !disconnected(&status)),
            reason: reason(&status),
            details,
            retry_after: retry_delay(&status),
            next,
        }
    }
}

impl From<Problems> for Failure {
    /// An invalid configuration.
    fn from(problems: Problems) -> Self {
        let check = format!("run: grantmint check {}", problems.file());
        let missing = |problem: &Problem| problem.kind == ProblemKind::MissingSecret;
        if !problems.list().iter().all(missing) {
            let next =
                format!("see the sample grantmint.toml for every key; after fixing, {check}");
            return Self::in_file("configuration", next, &problems);
        }
        let message = match problems.list().len() {
            1 => "a secret is missing".to_owned(),
            more => format!("{more} secrets are missing"),
        };
        let failure = Self::permanent(message).next(format!("then {check}"));
        Self { details: details(&problems), ..failure }
    }
}

impl Failure {
    /// An invalid file of this kind, and what to do next if it could be read.
    pub(crate) fn in_file(kind: &str, next: impl Into<String>, problems: &Problems) -> Self {
        let list = problems.list();
        let count = match list.len() {
            1 => "one problem".to_owned(),
            more => format!("{more} problems"),
        };
        let failure = Self::permanent(format!("{count} in the {kind}"));
        // A problem without a line is a file that could not be read.
        let was_read = list.iter().any(|problem| problem.line.is_some());
        let failure = if was_read { failure.next(next) } else { failure };
        Self { details: details(problems), ..failure }
    }
}

fn details(problems: &Problems) -> Vec<Detail> {
    let detail = |problem: &Problem| Detail {
        place: problems.file().to_owned(),
        line: problem.line,
        message: problem.message.clone(),
    };
    problems.list().iter().map(detail).collect()
}

/// The identity of a list that the caller may not have tokens for.
fn denied(status: &Status) -> Option<Detail> {
    let mut info = status.get_details_error_info()?;
    let index = info.metadata.remove("index").filter(|_| info.reason == "IDENTITY_NOT_ALLOWED")?;
    let place = format!("{LISTED}{index}]");
    Some(Detail { place, line: None, message: "is not allowed".to_owned() })
}

fn what_next(status: &Status) -> Option<Cow<'static, str>> {
    if let Some(problem) = dial::problem(status) {
        return problem.next();
    }
    let next = match reason(status).as_deref() {
        None if disconnected(status) => {
            Some("is the server running at this address? to start one: grantmint serve --sandbox")
        }
        Some("UPSTREAM_REJECTED" | "UPSTREAM_THROTTLED" | "GRANT_EXPIRED" | "GRANT_PENDING") => {
            Some("to see the grant status: grantmint grants")
        }
        Some("PROFILE_REQUIRED") => Some("name one with --profile"),
        Some("RESOURCE_REQUIRED") => Some("name one with --resource"),
        Some("PARAM_REQUIRED") => Some("set it with --param NAME=VALUE"),
        Some("PROFILE_NOT_FOUND" | "RESOURCE_NOT_FOUND") => Some(
            "grantmint grants lists the profiles that have grants; grantmint check FILE, on the \
             server's host, lists all",
        ),
        _ => None,
    };
    next.map(Cow::Borrowed)
}

/// The reason of an error from the server; none if the transport failed.
pub(crate) fn reason(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}

/// Whether there was no connection, or it broke. Then the client makes the status, with a code
/// that depends on how it broke.
pub(crate) fn disconnected(status: &Status) -> bool {
    reason(status).is_none() && (status.code() == Code::Unavailable || status.source().is_some())
}

/// The retry delay that the server asks for.
fn retry_delay(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use grantmint::config::Config;
    use tonic_types::ErrorDetails;

    use super::*;

    fn pending() -> Failure {
        let mut details = ErrorDetails::new();
        details.set_error_info("GRANT_PENDING", "grantmint", HashMap::new());
        details.set_retry_info(Some(Duration::from_millis(1_500)));
        Status::with_error_details(Code::Unavailable, "no grant has been received yet", details)
            .into()
    }

    #[test]
    fn transient_failure_reports_when_to_retry() {
        let failure = pending();
        assert_eq!(failure.exit(), Exit::TryLater);
        assert_eq!(
            failure.to_string(),
            "no grant has been received yet (GRANT_PENDING)\n  retry in 1.5 s\n  \
             to see the grant status: grantmint grants"
        );
        assert_eq!(
            failure.to_json(),
            json!({
                "message": "no grant has been received yet",
                "code": "Unavailable",
                "reason": "GRANT_PENDING",
                "retry_after_seconds": 1.5,
                "exit_code": 3,
                "next": "to see the grant status: grantmint grants",
            })
        );
    }

    #[test]
    fn missing_secret_is_the_heading_unless_the_file_is_wrong_too() {
        let example = include_str!("../../../examples/providers/livekit.toml");
        let failure = |text: &str| {
            let problems = Config::parse_with("f.toml", text, &|_| None).unwrap_err();
            Failure::from(problems).to_string()
        };
        let missing = failure(example);
        assert!(missing.starts_with("a secret is missing\n  f.toml:"), "{missing}");
        let next = "does not exist: write the secret to it\n  then run: grantmint check f.toml";
        assert!(missing.ends_with(next), "{missing}");
        let wrong = failure(&format!("sever = 1\n{example}"));
        assert!(wrong.starts_with("2 problems in the configuration\n"), "{wrong}");
    }

    #[test]
    fn missing_name_is_followed_by_its_flag() {
        for (reason, flag) in [
            ("PROFILE_REQUIRED", "--profile"),
            ("RESOURCE_REQUIRED", "--resource"),
            ("PARAM_REQUIRED", "--param"),
        ] {
            let mut details = ErrorDetails::new();
            details.set_error_info(reason, "grantmint", HashMap::new());
            let status = Status::with_error_details(Code::InvalidArgument, "is missing", details);
            let failure = Failure::from(status).to_string();
            assert!(failure.contains(&format!(" with {flag}")), "{failure}");
        }
    }

    #[test]
    fn identities_of_a_file_are_named_by_line() {
        let mut details = ErrorDetails::new();
        let index = HashMap::from([("index".to_owned(), "20000".to_owned())]);
        details.set_error_info("IDENTITY_NOT_ALLOWED", "grantmint", index);
        let status = Status::with_error_details(Code::PermissionDenied, "not this", details);
        let shown = Failure::from(status).by_line("viewers.txt").to_string();
        assert!(shown.ends_with("\n  viewers.txt:20001: is not allowed"), "{shown}");
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation("identity_list.identities[2]", "is empty");
        details.add_bad_request_violation("options.ttl", "is negative");
        let status = Status::with_error_details(Code::InvalidArgument, "invalid", details);
        let shown = Failure::from(status).by_line("viewers.txt").to_string();
        let lines = "\n  viewers.txt:3: is empty\n  options.ttl: is negative";
        assert!(shown.ends_with(lines), "{shown}");
    }

    #[test]
    fn closed_pipe_is_success_and_full_disk_is_failure() {
        for (kind, exit) in
            [(io::ErrorKind::BrokenPipe, Exit::Done), (io::ErrorKind::StorageFull, Exit::Failed)]
        {
            let error = StdoutError(kind.into());
            assert_eq!(Failure::from(error).exit(), exit);
        }
    }
}
