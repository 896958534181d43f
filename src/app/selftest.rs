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
use crate::provider::vectors::{Case, Vector, Way};

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
        Case::Minted { ways, token } => {
            let different = |way: &Way| match minted(way) {
                Ok(minted) => compare(token, &minted, &way.secret),
                Err(why) => {
                    vec![Difference::new("token", "one is made", format!("refused: {why}"))]
                }
            };
            let differences: Vec<_> = ways.iter().flat_map(different).collect();
            if differences.is_empty() {
                Verdict::Same { signatures: ways.len(), but: token.but }
            } else {
                Verdict::Different(differences)
            }
        }
        Case::Refused { way, told, alone } => match (minted(way), alone) {
            (Err(why), None) if why.contains(told) => Verdict::Refused,
            (Err(why), Some(alone)) if why.contains(told) => {
                Verdict::LeftOut { why: alone, refused: true }
            }
            (Err(why), _) => {
                let meant = format!("refused: {told}");
                Verdict::Different(vec![Difference::new("token", meant, format!("refused: {why}"))])
            }
            (Ok(_), _) => {
                let meant = format!("refused: {told}");
                Verdict::Different(vec![Difference::new("token", meant, "one is made")])
            }
        },
        Case::LeftOut(why) => Verdict::LeftOut { why, refused: false },
    }
}

fn minted(way: &Way) -> Result<Minted, String> {
    mint(&profile(&way.profile, &way.secret)?, &way.ask)
}
