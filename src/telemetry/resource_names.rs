//! How resources are written where readers other than the operator may see them.

use std::{fmt, fmt::Write as _, sync::Arc};

use crate::name::Resource;

/// Hex digits that replace a resource.
const DIGITS: usize = 12;

/// How resources are written in metrics and on the admin pages: verbatim by default.
#[derive(Clone, Default)]
pub struct ResourceNames(Option<Hash>);

type Hash = Arc<dyn Fn(&str) -> [u8; 32] + Send + Sync>;

impl ResourceNames {
    /// Each as 12 hex digits of its hash.
    pub fn hashed(hash: impl Fn(&str) -> [u8; 32] + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hash)))
    }

    /// The written form of `resource`.
    #[must_use]
    pub fn write(&self, resource: &Resource) -> String {
        self.write_text(resource.as_str())
    }

    /// Whether names are written verbatim.
    #[must_use]
    pub const fn are_plain(&self) -> bool {
        self.0.is_none()
    }

    /// The written form of another name, such as a caller entry's.
    #[must_use]
    pub fn write_text(&self, name: &str) -> String {
        let Some(hash) = &self.0 else { return name.to_owned() };
        let mut digits = String::with_capacity(DIGITS);
        for byte in &hash(name)[..DIGITS / 2] {
            // Writing to a string does not fail.
            let _ = write!(digits, "{byte:02x}");
        }
        digits
    }
}

impl fmt::Debug for ResourceNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Hashed" } else { "Plain" })
    }
}
