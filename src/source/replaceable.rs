//! A source that is replaced when its profile's key is.

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::{FutureExt, future::BoxFuture};

use super::{FetchError, FetchRequest, Fetched, GrantSource};
use crate::grant::{Fault, FaultClass};

/// A source that may be replaced while it is asked.
#[derive(Clone)]
pub struct Replaceable(Arc<ArcSwap<Arc<dyn GrantSource>>>);

impl Replaceable {
    /// `source`, until it is replaced.
    pub fn new(source: Arc<dyn GrantSource>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(source)))
    }

    /// Asks `source` from now on.
    pub fn replace(&self, source: Arc<dyn GrantSource>) {
        self.0.store(Arc::new(source));
    }

    async fn ask(&self, request: FetchRequest) -> Result<Fetched, FetchError> {
        let source = self.0.load_full();
        let fetched = source.fetch(request).await;
        match fetched {
            // That the former key is refused must not hold the account.
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
        self.ask(request).boxed()
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

    /// Refuses the credential, once it is let.
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
    async fn that_the_former_key_is_refused_says_nothing_of_the_new_one() {
        let let_go = Arc::new(Semaphore::new(0));
        let refuses = || Arc::new(Refuses(Arc::clone(&let_go)));
        let source = Replaceable::new(refuses());
        let resource = Resource::parse("a").unwrap();
        let give_up_at = Clock::system().now().boot;
        let request = FetchRequest { resource, urgency: Urgency::Lapsed, give_up_at };
        let class = |result: Result<Fetched, FetchError>| match result {
            Err(FetchError::Failed { fault, .. }) => fault.class,
            other => panic!("{other:?}"),
        };
        let mut former = source.fetch(request.clone());
        assert!((&mut former).now_or_never().is_none());
        source.replace(refuses());
        let_go.add_permits(2);
        assert_eq!(class(former.await), FaultClass::Transient);
        assert_eq!(class(source.fetch(request).await), FaultClass::Credential);
    }
}
