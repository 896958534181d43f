//! Signatures made once and returned to many callers, for as long as a profile reuses them.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use tokio::sync::OnceCell;

use super::{Call, SignError, Times};

/// The number of signatures kept: the most recent ones of the current period.
const KEPT: usize = 1_024;

/// The shared tokens of one key. A look-up takes no lock.
#[derive(Default)]
pub struct SharedTokens {
    kept: ArcSwap<HashMap<Subject, Kept>>,
    /// Locked while a token is added.
    adding: Mutex<u64>,
}

/// What identifies a token's content.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Subject {
    issue: i64,
    expire: i64,
    /// The resource and the parameters, each preceded by its length.
    call: Box<str>,
}

#[derive(Clone)]
struct Kept {
    token: Arc<OnceCell<Arc<str>>>,
    /// The order of insertion.
    number: u64,
}

impl SharedTokens {
    /// Returns the token of these times and this call, made with `make` if there is none yet.
    /// Callers that request it meanwhile wait for it. Signing finishes even if no caller waits any
    /// longer, so that callers with short deadlines succeed on a retry. After a failure, the next
    /// caller tries again.
    ///
    /// # Errors
    ///
    /// The token was not made.
    pub async fn get<E, F>(
        &self,
        times: Times,
        call: &Call<'_>,
        make: impl FnOnce() -> Result<F, E>,
    ) -> Result<Arc<str>, E>
    where
        E: From<SignError> + Send + 'static,
        F: Future<Output = Result<String, E>> + Send + 'static,
    {
        let subject = Subject::new(times, call);
        let kept = self.kept.load().get(&subject).map(|kept| Arc::clone(&kept.token));
        let token = kept.unwrap_or_else(|| self.add(subject));
        if let Some(token) = token.get() {
            return Ok(Arc::clone(token));
        }
        let make = make()?;
        let signing = tokio::spawn(async move {
            let signed = token.get_or_try_init(async || make.await.map(Arc::from)).await;
            signed.map(Arc::clone)
        });
        signing.await.unwrap_or_else(|_| Err(SignError.into()))
    }

    /// Adds an entry for a token that is not made yet, and drops those of earlier periods.
    fn add(&self, subject: Subject) -> Arc<OnceCell<Arc<str>>> {
        let mut added = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = self.kept.load();
        if let Some(kept) = kept.get(&subject) {
            return Arc::clone(&kept.token);
        }
        let current = kept.iter().filter(|(other, _)| other.issue >= subject.issue);
        let mut current: HashMap<_, _> =
            current.map(|(subject, kept)| (subject.clone(), kept.clone())).collect();
        if current.len() >= KEPT {
            let oldest = current.iter().min_by_key(|(other, kept)| (other.issue, kept.number));
            if let Some(oldest) = oldest.map(|(subject, _)| subject.clone()) {
                current.remove(&oldest);
            }
        }
        *added += 1;
        let token = Arc::default();
        current.insert(subject, Kept { token: Arc::clone(&token), number: *added });
        self.kept.store(Arc::new(current));
        token
    }
}

impl Subject {
    fn new(Times { issue, expire }: Times, call: &Call<'_>) -> Self {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(64);
        let params = call.params.iter().map(|param| param.as_deref());
        for part in [Some(call.resource)].into_iter().chain(params) {
            // Writing to a string does not fail.
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::{FutureExt, future::join_all};
    use tokio::task::yield_now;

    use super::*;

    const TIMES: Times = Times { issue: 60, expire: 120 };

    fn of(resource: &str) -> Call<'_> {
        Call { resource, params: &[] }
    }

    /// Returns a token that is the number of earlier signatures.
    async fn get(
        shared: &SharedTokens,
        times: Times,
        call: &Call<'_>,
        count: &Arc<AtomicUsize>,
    ) -> Arc<str> {
        let count = Arc::clone(count);
        let make = async move {
            yield_now().await;
            Ok::<_, SignError>(count.fetch_add(1, Ordering::Relaxed).to_string())
        };
        shared.get(times, call, || Ok(make)).await.unwrap()
    }

    #[tokio::test]
    async fn concurrent_callers_get_one_token() {
        let (shared, made) = (SharedTokens::default(), Arc::default());
        let call = of("a");
        let all = join_all((0..100).map(|_| get(&shared, TIMES, &call, &made))).await;
        assert!(all.iter().all(|token| **token == *"0"));
        assert_eq!(&*get(&shared, TIMES, &of("b"), &made).await, "1");
        assert_eq!(&*get(&shared, TIMES, &of("a"), &made).await, "0");
    }

    #[tokio::test]
    async fn different_content_gives_different_tokens() {
        let (shared, made) = (SharedTokens::default(), Arc::default());
        let text = |text: &str| Some(text.to_owned());
        let params: [&[Option<String>]; 5] =
            [&[], &[None], &[text("1")], &[text("1:1")], &[None, text("1")]];
        for (number, params) in params.into_iter().enumerate() {
            for (further, resource) in ["", "a", "1:a"].into_iter().enumerate() {
                let call = Call { resource, params };
                let token = get(&shared, TIMES, &call, &made).await;
                assert_eq!(*token, *(3 * number + further).to_string(), "{call:?}");
            }
        }
        let longer = Times { expire: 121, ..TIMES };
        assert_eq!(&*get(&shared, longer, &of("a"), &made).await, "15");
    }

    #[tokio::test]
    async fn new_period_gives_a_new_token() {
        let (shared, made) = (SharedTokens::default(), Arc::default());
        for (period, token) in [(0, "0"), (1, "1"), (1, "1"), (2, "2")] {
            let times = Times { issue: 60 * period, expire: 60 * period + 60 };
            assert_eq!(&*get(&shared, times, &of("a"), &made).await, token);
            assert_eq!(shared.kept.load().len(), 1, "the previous period's token is dropped");
        }
    }

    #[tokio::test]
    async fn abandoned_signature_finishes_and_failure_is_retried() {
        let (shared, made) = (SharedTokens::default(), Arc::default());
        let failed = shared.get(TIMES, &of("a"), || Ok(async { Err(SignError) })).await;
        assert_eq!(failed, Err(SignError));
        let call = of("a");
        let mut abandoned = Box::pin(get(&shared, TIMES, &call, &made));
        assert!(abandoned.as_mut().now_or_never().is_none());
        drop(abandoned);
        while shared.kept.load().values().all(|kept| kept.token.get().is_none()) {
            yield_now().await;
        }
        assert_eq!(&*get(&shared, TIMES, &call, &made).await, "0");
    }

    #[tokio::test]
    async fn oldest_tokens_are_dropped_over_the_limit() {
        let (shared, made) = (SharedTokens::default(), Arc::default());
        for number in 0..=KEPT {
            get(&shared, TIMES, &of(&number.to_string()), &made).await;
        }
        assert_eq!(shared.kept.load().len(), KEPT);
        let kept = get(&shared, TIMES, &of(&KEPT.to_string()), &made).await;
        assert_eq!(*kept, *KEPT.to_string());
        let again = get(&shared, TIMES, &of("0"), &made).await;
        assert_eq!(*again, *(KEPT + 1).to_string());
    }
}
