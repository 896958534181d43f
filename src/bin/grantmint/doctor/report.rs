//! The report: a table by group, or JSON.

use serde_json::{Value, json};

use super::row::{Row, Status};
use crate::{
    exit::Exit,
    terminal::{Color, Paint},
};

/// The results of all checks.
pub(super) struct Report {
    rows: Vec<Row>,
    /// The number of grants requested.
    requests: usize,
}

/// The width of the statuses.
const STATUS: usize = 7;

impl Report {
    /// Keeps the rows of a group together, in the order in which groups first appear.
    pub(super) fn new(mut rows: Vec<Row>, requests: usize) -> Self {
        let mut groups: Vec<String> = Vec::new();
        for row in &rows {
            if !groups.contains(&row.group) {
                groups.push(row.group.clone());
            }
        }
        rows.sort_by_key(|row| groups.iter().position(|group| *group == row.group));
        Self { rows, requests }
    }

    fn count(&self, statuses: &[Status]) -> usize {
        self.rows.iter().filter(|row| statuses.contains(&row.status)).count()
    }

    /// Success if nothing failed; temporary if a retry may fix every failure.
    pub(super) fn exit(&self) -> Exit {
        if self.count(&[Status::Failed]) > 0 {
            Exit::Failed
        } else if self.count(&[Status::FailedForNow]) > 0 {
            Exit::TryLater
        } else {
            Exit::Done
        }
    }

    /// One object per check.
    pub(super) fn json(&self) -> Vec<Value> {
        self.rows.iter().map(Row::to_json).collect()
    }

    pub(super) fn summary(&self) -> Value {
        json!({
            "ok": self.count(&[Status::Ok]),
            "warnings": self.count(&[Status::Warning]),
            "failures": self.count(&[Status::Failed, Status::FailedForNow]),
            "skipped": self.count(&[Status::Skipped]),
            "grants_requested": self.requests,
        })
    }

    /// The table, and a summary.
    pub(super) fn lines(&self) -> Vec<String> {
        let paint = Paint::stdout();
        let width = self.rows.iter().map(|row| row.check.chars().count()).max().unwrap_or_default();
        let (mut lines, mut group) = (Vec::new(), None);
        for row in &self.rows {
            if group != Some(&row.group) {
                if group.is_some() {
                    lines.push(String::new());
                }
                lines.push(row.group.clone());
                group = Some(&row.group);
            }
            let status = format!("{:STATUS$}", row.status.as_str());
            let status = match row.status {
                Status::Ok => paint.with(Color::Green, &status),
                Status::Warning => paint.with(Color::Yellow, &status),
                Status::Failed | Status::FailedForNow => paint.with(Color::Red, &status),
                Status::Skipped => status,
            };
            lines.push(format!("  {status}  {:width$}  {}", row.check, row.detail));
            if let Some(fix) = &row.fix {
                lines.push(format!("  {:STATUS$}  {:width$}  fix: {fix}", "", ""));
            }
        }
        lines.push(String::new());
        lines.push(self.verdict());
        lines
    }

    fn verdict(&self) -> String {
        let counted = |count: usize, one: &str, more: &str| {
            format!("{count} {}", if count == 1 { one } else { more })
        };
        let ok = self.count(&[Status::Ok]);
        let warnings = self.count(&[Status::Warning]);
        let failures = self.count(&[Status::Failed, Status::FailedForNow]);
        let skipped = self.count(&[Status::Skipped]);
        format!(
            "{ok} ok, {}, {}, {skipped} skipped; {} requested",
            counted(warnings, "warning", "warnings"),
            counted(failures, "failure", "failures"),
            counted(self.requests, "grant", "grants"),
        )
    }
}
