//! A source that is replaced together with its profile's key.

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::{FutureExt, future::BoxFuture};

use super::{FetchError, FetchRequest, Fetched, GrantSource};
use crate::grant::{Fault, FaultClass};

/// A source that may be replaced during a fetch.
#[derive(Clone)]
pub struct Replaceable(Arc<ArcSwap<Arc<dyn GrantSource>>>);

impl Replaceable {
    /// Starts with `source`.
    pub fn new(source: Arc<dyn GrantSource>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(source)))
    }

    /// Fetches from `source` from now on.
    pub fn replace(&self, source: Arc<dyn GrantSource>) {
        self.0.store(Arc::new(source));
    }

    async fn fetch_current(&self, request: FetchRequest) -> Result<Fetched, FetchError> {
        let source = self.0.load_full();
        let fetched = source.fetch(request).await;
        match fetched {
            // A refusal of the previous key must not hold the account.
            Err(FetchError::Failed { fault, .. })
                if fault.class == FaultClass::Credential
                    && !Arc::ptr_eq(&source, &self.0.load()) =>
            {
                Err(Fault::new(FaultClass::Transient, "KEY_REPLACED").into())
            }
            fetched => fetched,
        }
    }
}

impl GrantSource for Replaceable {
    fn fetch(&self, request: FetchRequest) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        self.fetch_current(request).boxed()
    }

    fn clock_skew(&self) -> Option<f64> {
        self.0.load().clock_skew()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;
    use crate::{clock::Clock, name::Resource, source::Urgency};

    /// Refuses the credential, once per permit.
    struct Refuses(Arc<Semaphore>);

    impl GrantSource for Refuses {
        fn fetch(&self, _: FetchRequest) -> BoxFuture<'_, Result<Fetched, FetchError>> {
            async {
                self.0.acquire().await.unwrap().forget();
                Err(Fault::new(FaultClass::Credential, "CREDENTIAL_REFUSED").into())
            }
            .boxed()
        }
    }

    #[tokio::test]
    async fn refusal_of_the_previous_key_spares_the_new_one() {
        let permits = Arc::new(Semaphore::new(0));
        let refuses = || Arc::new(Refuses(Arc::clone(&permits)));
        let source = Replaceable::new(refuses());
        let resource = Resource::parse("a").unwrap();
        let give_up_at = Clock::system().now().boot;
        let request = FetchRequest { resource, urgency: Urgency::Lapsed, give_up_at };
        let class = |result: Result<Fetched, FetchError>| match result {
            Err(FetchError::Failed { fault, .. }) => fault.class,
            other => panic!("{other:?}"),
        };
        let mut previous = source.fetch(request.clone());
        assert!((&mut previous).now_or_never().is_none());
        source.replace(refuses());
        permits.add_permits(2);
        assert_eq!(class(previous.await), FaultClass::Transient);
        assert_eq!(class(source.fetch(request).await), FaultClass::Credential);
    }
}
