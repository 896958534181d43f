//! The results of a kind's vectors.

use std::collections::BTreeMap;

use grantmint::{
    app::selftest::{self, Difference, Verdict},
    provider::{Kind, vectors::VectorError},
};
use serde_json::{Value, json};

/// The results of the vectors of one kind.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) kind: &'static str,
    pub(super) vectors: usize,
    pub(super) same: usize,
    /// Those with intended differences only, by difference.
    pub(super) alike: BTreeMap<&'static str, usize>,
    pub(super) refused: usize,
    /// Those that the library accepts and grantmint refuses, by reason.
    pub(super) refused_here: BTreeMap<&'static str, usize>,
    /// Those that no profile can express, by reason.
    pub(super) left_out: BTreeMap<&'static str, usize>,
    /// The number of our signatures that were verified.
    pub(super) signatures: usize,
    /// The differences, by vector.
    pub(super) differences: Vec<(String, Vec<Difference>)>,
}

impl Tally {
    pub(super) fn of(kind: &dyn Kind) -> Result<Self, VectorError> {
        let mut tally = Self { kind: kind.name(), ..Self::default() };
        for vector in kind.vectors()? {
            tally.add(vector.id.clone(), selftest::check(&vector));
        }
        Ok(tally)
    }

    fn add(&mut self, vector: String, verdict: Verdict) {
        self.vectors += 1;
        match verdict {
            Verdict::Same { signatures, but } => {
                self.signatures += signatures;
                *but.map_or(&mut self.same, |but| self.alike.entry(but).or_default()) += 1;
            }
            Verdict::Refused => self.refused += 1,
            Verdict::LeftOut { why, refused: true } => {
                *self.refused_here.entry(why).or_default() += 1;
            }
            Verdict::LeftOut { why, refused: false } => {
                *self.left_out.entry(why).or_default() += 1;
            }
            Verdict::Different(differences) => self.differences.push((vector, differences)),
        }
    }

    pub(super) const fn has_vectors(&self) -> bool {
        self.vectors > 0
    }

    /// The number of vectors that differ.
    pub(super) fn different(&self) -> usize {
        self.differences.len()
    }

    pub(super) fn to_json(&self) -> Value {
        let by_reason = |counts: &BTreeMap<&str, usize>| {
            let counts = counts.iter().map(|(why, count)| json!({"why": why, "count": count}));
            Value::Array(counts.collect())
        };
        let differences = self.differences.iter().flat_map(|(vector, differences)| {
            differences.iter().map(move |Difference { what, theirs, ours }| {
                json!({"vector": vector, "what": what, "theirs": theirs, "ours": ours})
            })
        });
        json!({
            "kind": self.kind,
            "vectors": self.vectors,
            "same": self.same,
            "alike": by_reason(&self.alike),
            "refused": self.refused,
            "refused_here": by_reason(&self.refused_here),
            "left_out": by_reason(&self.left_out),
            "signatures": self.signatures,
            "different": self.different(),
            "differences": differences.collect::<Vec<_>>(),
        })
    }
}
