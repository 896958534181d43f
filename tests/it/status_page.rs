//! The status page, as a browser shows it and as scripts read it.

mod browser;
mod stream;
