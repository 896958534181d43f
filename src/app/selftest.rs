//! The self-test: mints the tokens that vendors' own libraries made with public test keys, and
//! compares. It needs no configuration, network or secret.

mod compare;
mod mint;
mod rate;
#[cfg(test)]
mod tests;

pub use self::{
    compare::{Difference, compare},
    mint::{Minted, mint, profile},
    rate::rate,
};
use crate::provider::vectors::{Case, Setup, Vector};

/// The result of a vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The library's token and ours have the same content and valid signatures.
    Same {
        /// The number of our signatures that were verified.
        signatures: usize,
        /// An intended difference, if any.
        but: Option<&'static str>,
    },
    /// The library and grantmint both refuse it.
    Refused,
    /// Not compared.
    LeftOut {
        /// The reason.
        why: &'static str,
        /// Whether grantmint refuses what the library accepts.
        refused: bool,
    },
    /// The differences; at least one.
    Different(Vec<Difference>),
}

/// Mints the token of a vector, and compares.
#[must_use]
pub fn check(vector: &Vector) -> Verdict {
    match &vector.case {
        Case::Minted { setups, token } => {
            let different = |setup: &Setup| match minted(setup) {
                Ok(minted) => compare(token, &minted, &setup.secret),
                Err(why) => {
                    vec![Difference::new("token", "one is made", format!("refused: {why}"))]
                }
            };
            let differences: Vec<_> = setups.iter().flat_map(different).collect();
            if differences.is_empty() {
                Verdict::Same { signatures: setups.len(), but: token.adjusted }
            } else {
                Verdict::Different(differences)
            }
        }
        Case::Refused { setup, message, ours_only } => match (minted(setup), ours_only) {
            (Err(why), None) if why.contains(message) => Verdict::Refused,
            (Err(why), Some(ours_only)) if why.contains(message) => {
                Verdict::LeftOut { why: ours_only, refused: true }
            }
            (Err(why), _) => {
                let meant = format!("refused: {message}");
                Verdict::Different(vec![Difference::new("token", meant, format!("refused: {why}"))])
            }
            (Ok(_), _) => {
                let meant = format!("refused: {message}");
                Verdict::Different(vec![Difference::new("token", meant, "one is made")])
            }
        },
        Case::Skipped(why) => Verdict::LeftOut { why, refused: false },
    }
}

fn minted(setup: &Setup) -> Result<Minted, String> {
    mint(&profile(&setup.profile, &setup.secret)?, &setup.request)
}
