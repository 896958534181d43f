//! Records a call's tokens in the audit log.

use super::Access;
use crate::{
    audit::{self, Minted, Reservation},
    mint::quota::{Ids, Issued, Origin, Record},
    token::id::Fingerprint,
};

/// Records the tokens of a call in space reserved for them.
#[derive(Debug)]
pub(super) struct CallRecord {
    pub(super) reserved: Reservation,
    pub(super) access: Access,
}

impl Record for CallRecord {
    fn record(self: Box<Self>, issued: &Issued<'_>) {
        let Self { reserved, access } = *self;
        let Issued { recipients, ids, terms, origin } = *issued;
        let fingerprint = |index: usize| match ids {
            Ids::Each(of) => of.get(index).map(Fingerprint::as_str),
            Ids::One(_) | Ids::Range(..) => None,
        };
        let ids = match ids {
            Ids::One(id) => audit::Ids::One(id),
            Ids::Range(first, last) => audit::Ids::Range(first, last),
            Ids::Each(_) => audit::Ids::Each(&fingerprint),
        };
        let (grant, of_key) = match origin {
            Origin::Grant(name) => (Some(name), None),
            Origin::Key { profile, resource } => (None, Some((profile, resource))),
        };
        let minted = Minted {
            recipients,
            ids,
            grant,
            of_key,
            generation: terms.generation.get(),
            use_by: terms.use_by,
        };
        reserved.record(&access.who(), &minted);
    }
}

#[cfg(test)]
mod tests;
