//! Limits of this host.

use grantmint::server::descriptors;

use super::{
    Context,
    row::{Row, Subject},
};

const GROUP: &str = "machine";

/// Whether the limit on open files is high enough for the connections that may be open.
pub(super) fn check(context: &Context) -> Vec<Row> {
    let limits = context.config.server.limits;
    let wanted = limits.connections;
    let subject = Subject::new(GROUP, "open files");
    let Some(limit) = descriptors::maximum() else {
        return vec![subject.ok(format!("unlimited; {wanted} connections fit"))];
    };
    let fitting = descriptors::fitting(limits, limit).connections;
    let row = if fitting < wanted {
        subject.warning(
            format!("the limit of {limit} allows {fitting} of {wanted} connections"),
            "raise the hard limit: LimitNOFILE in the unit, or ulimit -Hn",
        )
    } else {
        subject.ok(format!("the limit of {limit} allows {wanted} connections"))
    };
    vec![row]
}
