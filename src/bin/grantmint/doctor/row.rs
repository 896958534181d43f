//! One row of the report.

use serde_json::{Map, Value, json};

/// What a row is about.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    group: String,
    check: String,
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    Warning,
    Skipped,
    Failed,
    /// Failed for a reason that may be temporary.
    FailedForNow,
}

impl Status {
    /// The status in one word.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warn",
            Self::Skipped => "skipped",
            Self::Failed | Self::FailedForNow => "fail",
        }
    }
}

/// The result of one check. Contains no secret, token or grant.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) group: String,
    pub(super) check: String,
    pub(super) status: Status,
    pub(super) detail: String,
    /// What to do about a warning or a failure.
    pub(super) fix: Option<String>,
}

impl Subject {
    pub(super) fn new(group: impl Into<String>, check: impl Into<String>) -> Self {
        Self { group: group.into(), check: check.into() }
    }

    fn row(self, status: Status, detail: impl Into<String>, fix: Option<String>) -> Row {
        let Self { group, check } = self;
        Row { group, check, status, detail: detail.into(), fix }
    }

    pub(super) fn ok(self, detail: impl Into<String>) -> Row {
        self.row(Status::Ok, detail, None)
    }

    pub(super) fn skipped(self, detail: impl Into<String>) -> Row {
        self.row(Status::Skipped, detail, None)
    }

    pub(super) fn warning(self, detail: impl Into<String>, fix: impl Into<String>) -> Row {
        self.row(Status::Warning, detail, Some(fix.into()))
    }

    pub(super) fn failed(self, detail: impl Into<String>, fix: impl Into<String>) -> Row {
        self.row(Status::Failed, detail, Some(fix.into()))
    }

    /// A failure that may be temporary.
    pub(super) fn failed_for_now(self, detail: impl Into<String>, fix: impl Into<String>) -> Row {
        self.row(Status::FailedForNow, detail, Some(fix.into()))
    }
}

impl Row {
    pub(super) fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("group".to_owned(), json!(self.group));
        object.insert("check".to_owned(), json!(self.check));
        object.insert("status".to_owned(), json!(self.status.as_str()));
        object.insert("detail".to_owned(), json!(self.detail));
        if let Some(fix) = &self.fix {
            object.insert("fix".to_owned(), json!(fix));
        }
        if matches!(self.status, Status::Failed | Status::FailedForNow) {
            let temporary = self.status == Status::FailedForNow;
            object.insert("temporary".to_owned(), json!(temporary));
        }
        Value::Object(object)
    }
}
