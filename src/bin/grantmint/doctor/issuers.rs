//! The keys of the issuers of bearer tokens.

use futures_util::future::join_all;
use grantmint::issuers::{self, Config, FetchError, Source};

use super::{
    Context, fix,
    row::{Row, Subject},
};

/// Fetches every issuer's keys.
pub(super) async fn check(context: &Context) -> Vec<Row> {
    join_all(context.config.issuers.iter().map(|issuer| fetched(issuer, context))).await
}

async fn fetched(issuer: &Config, context: &Context) -> Row {
    let subject = Subject::new(format!("issuer {}", issuer.name), "keys");
    let from = match &issuer.source {
        Source::File { path, .. } => format!("in {}", path.display()),
        Source::Url { url, .. } => format!("from {}", shown(url)),
        Source::Kubernetes(endpoint) => format!("from {}", endpoint.server),
    };
    match issuers::fetch(issuer, &context.clock).await {
        Ok(info) if info.keys.is_empty() => subject.warning(
            format!("no usable key {from}: every token is refused"),
            "check that the URL is that of the issuer's JWK set, and its algorithms",
        ),
        Ok(info) => subject.ok(format!("{} {from}", info.keys.len())),
        Err(error) => {
            let (detail, fix) = (format!("{from}: {error}"), fix_of(&error));
            if may_pass(&error) {
                subject.failed_for_now(detail, fix)
            } else {
                subject.failed(detail, fix)
            }
        }
    }
}

/// A URL without its query.
fn shown(url: &http::Uri) -> String {
    let text = url.to_string();
    text.split('?').next().unwrap_or_default().to_owned()
}

fn may_pass(error: &FetchError) -> bool {
    match error {
        FetchError::Failed(fault) => fault.class.recovers(),
        FetchError::Status { status, .. } => *status >= 500 || matches!(*status, 408 | 429),
        _ => false,
    }
}

fn fix_of(error: &FetchError) -> String {
    match error {
        FetchError::Failed(fault) => fix::of_fault(fault),
        FetchError::File { .. } => fix::of_message(&error.to_string()).to_owned(),
        FetchError::Egress(_) => "correct the proxy or the roots in the environment".to_owned(),
        FetchError::Status { status: 401 | 403, .. } => {
            "check token_file, and that its account may read the issuer's keys".to_owned()
        }
        FetchError::Status { .. } | FetchError::Keys(_) | FetchError::NoIssuer => {
            "check that the URL is that of the issuer's JWK set".to_owned()
        }
    }
}
