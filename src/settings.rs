//! Reading the configuration key by key (stub).
pub struct Section<'a>(std::marker::PhantomData<&'a ()>);
