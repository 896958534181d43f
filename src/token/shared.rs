//! Signatures that are made once and given to many callers, for as long as a profile reuses them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use tokio::sync::OnceCell;

use super::{Call, Times};

/// Signatures that are kept: the most recent ones of the present period.
const KEPT: usize = 1_024;

/// The shared tokens of one key. Looking one up takes no lock.
#[derive(Default)]
pub struct SharedTokens {
    kept: ArcSwap<HashMap<Subject, Kept>>,
    /// Held while one is added.
    adding: Mutex<u64>,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Subject {
    issue: i64,
    expire: i64,
    /// The resource and the parameters, each with its length before it.
    call: Box<str>,
}

#[derive(Clone)]
struct Kept {
    token: Arc<OnceCell<Arc<str>>>,
    /// Which it was to be added.
    number: u64,
}

impl SharedTokens {
    /// The token of these times and this call, which `make` makes if there is none yet. Who asks
    /// for one that is being made waits for it; where that fails, or is dropped, the next one
    /// makes it.
    ///
    /// # Errors
    ///
    /// It was not made.
    pub async fn get<E>(
        &self,
        times: Times,
        call: &Call<'_>,
        make: impl AsyncFnOnce() -> Result<String, E>,
    ) -> Result<Arc<str>, E> {
        let subject = Subject::new(times, call);
        let kept = self.kept.load().get(&subject).map(|kept| Arc::clone(&kept.token));
        let token = kept.unwrap_or_else(|| self.add(subject));
        let signed = token.get_or_try_init(async || make().await.map(Arc::from)).await?;
        Ok(Arc::clone(signed))
    }

    /// Adds a token that is not made yet, and drops those of former periods.
    fn add(&self, subject: Subject) -> Arc<OnceCell<Arc<str>>> {
        let mut added = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = self.kept.load();
        if let Some(kept) = kept.get(&subject) {
            return Arc::clone(&kept.token);
        }
        let present = kept.iter().filter(|(other, _)| other.issue == subject.issue);
        let mut present: HashMap<_, _> =
            present.map(|(subject, kept)| (subject.clone(), kept.clone())).collect();
        if present.len() >= KEPT {
            let oldest = present.iter().min_by_key(|(_, kept)| kept.number);
            if let Some(oldest) = oldest.map(|(subject, _)| subject.clone()) {
                present.remove(&oldest);
            }
        }
        *added += 1;
        let token = Arc::default();
        present.insert(subject, Kept { token: Arc::clone(&token), number: *added });
        self.kept.store(Arc::new(present));
        token
    }
}

impl Subject {
    fn new(Times { issue, expire }: Times, call: &Call<'_>) -> Self {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(64);
        let params = call.params.iter().map(|param| param.as_deref());
        for part in [Some(call.resource)].into_iter().chain(params) {
            // Writing to a text does not fail.
            let _ = match part {
                Some(part) => write!(text, "{}:{part}", part.len()),
                None => write!(text, "-"),
            };
        }
        Self { issue, expire, call: text.into() }
    }
}

impl std::fmt::Debug for SharedTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedTokens")
    }
}
