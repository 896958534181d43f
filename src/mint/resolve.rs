//! Resolves the profile and the resource that a call names. Access is checked before a call learns
//! whether they exist.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use super::{
    Grants,
    options::{Field, Invalid, Options, Refusal, Violation},
    profile::{self, Forwarded, Key, Profile, Supply},
    quota::Origin,
};
use crate::{
    grant::cell::Reader,
    name::{GrantName, NameError, ProfileName, Resource},
    token::Signer,
};

/// The profiles by name.
#[derive(Debug)]
pub(super) struct Profiles {
    by_name: HashMap<ProfileName, Arc<ProfileEntry>>,
    /// Found once: most calls name no profile.
    default: Option<(ProfileName, Arc<ProfileEntry>)>,
}

/// A profile and its resources.
#[derive(Debug)]
pub(super) struct ProfileEntry {
    profile: Arc<Profile>,
    by_resource: HashMap<Resource, ResourceEntry>,
    default: Option<ResourceEntry>,
}

/// A resource of a profile, with what its tokens are made with.
#[derive(Clone, Debug)]
pub(super) enum ResourceEntry {
    /// A grant.
    Granted(Arc<Granted>),
    /// The profile's key; the resource is none where the tokens are valid for all.
    Keyed(Arc<Profile>, Option<Resource>),
}

/// A resource of a profile, with its grant.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) profile: Arc<Profile>,
    pub(super) resource: Resource,
    pub(super) reader: Reader<Box<dyn Signer>>,
    /// `profiles/{profile}/grants/{resource}`
    pub(super) name: String,
}

impl Profiles {
    /// Builds the look-up table of these profiles and their grants. The default is one of them.
    pub(super) fn new(
        profiles: Vec<Profile>,
        default: Option<ProfileName>,
        grants: &Grants,
    ) -> Self {
        let entries =
            |profile: Profile| (profile.name.clone(), Arc::new(ProfileEntry::new(profile, grants)));
        let by_name: HashMap<_, _> = profiles.into_iter().map(entries).collect();
        let default = default.and_then(|name| {
            let entries = Arc::clone(by_name.get(&name)?);
            Some((name, entries))
        });
        Self { by_name, default }
    }

    /// Resolves what a call names, using the defaults for what it omits.
    pub(super) fn target<'a>(&'a self, options: &Options<'a>) -> Target<'a> {
        let named = options.resource;
        let (profile, entry) = match (options.profile, &self.default) {
            ("", None) => (None, Err(Missing::NoProfile)),
            ("", Some((name, entries))) => (Some(name.as_str()), entries.entry(named)),
            (name, _) => {
                let entries = self.by_name.get(name).ok_or(Missing::Profile);
                (Some(name), entries.and_then(|entries| entries.entry(named)))
            }
        };
        Target { profile, named, entry }
    }
}

/// What a call names. The resource is in its kind's canonical form, or as received where it is
/// malformed. It may not exist.
#[derive(Debug)]
pub struct Target<'a> {
    profile: Option<&'a str>,
    /// The resource as received.
    named: &'a str,
    entry: Result<Found<'a>, Missing<'a>>,
}

/// A resolved profile and resource.
#[derive(Debug)]
struct Found<'a> {
    profile: &'a Profile,
    /// Owned where a pattern matched the resource.
    entry: Cow<'a, ResourceEntry>,
}

/// Why the names resolve to nothing.
#[derive(Debug)]
enum Missing<'a> {
    /// The call names no profile, and there is no default.
    NoProfile,
    /// The profile does not exist.
    Profile,
    /// The profile has no such resource.
    Resource(Resource),
    /// The call's resource is malformed, which is reported with the other fields.
    BadResource(&'a Profile, BadResource),
}

#[derive(Clone, Copy, Debug)]
enum BadResource {
    /// The call names none, and the profile has no default.
    Absent,
    /// It does not have the form of the kind.
    Malformed(NameError),
}

impl<'a> Target<'a> {
    /// The profile; none where the call names none and there is no default.
    #[must_use]
    pub fn profile(&self) -> Option<&'a str> {
        self.profile
    }

    /// The resource; empty where the call names none and there is no default.
    #[must_use]
    pub fn resource(&self) -> &str {
        match &self.entry {
            Ok(found) => found.entry.resource(),
            Err(Missing::Resource(resource)) => resource.as_str(),
            Err(Missing::NoProfile | Missing::Profile | Missing::BadResource(..)) => self.named,
        }
    }

    /// The profile, and the resource unless it is malformed.
    ///
    /// # Errors
    ///
    /// The profile or its resource does not exist.
    pub(super) fn found(&self) -> Result<(&'a Profile, Result<ResourceEntry, Violation>), Refusal> {
        match &self.entry {
            Ok(found) => Ok((found.profile, Ok(ResourceEntry::clone(&found.entry)))),
            Err(Missing::NoProfile) => {
                let required = "is missing, and there is no default profile";
                let required = Violation::new(Field::Profile, Invalid::ProfileRequired, required);
                Err(Refusal::Invalid(vec![required]))
            }
            Err(Missing::Profile) => Err(Refusal::ProfileNotFound),
            Err(Missing::Resource(_)) => Err(Refusal::ResourceNotFound),
            Err(Missing::BadResource(profile, bad)) => Ok((profile, Err(bad.violation()))),
        }
    }
}

impl BadResource {
    fn violation(self) -> Violation {
        match self {
            Self::Absent => {
                let required = "is missing, and the profile has no default resource";
                Violation::new(Field::Resource, Invalid::ResourceRequired, required)
            }
            Self::Malformed(error) => {
                Violation::new(Field::Resource, Invalid::Resource, error.as_str())
            }
        }
    }
}

impl ResourceEntry {
    pub(super) fn profile(&self) -> &Arc<Profile> {
        match self {
            Self::Granted(granted) => &granted.profile,
            Self::Keyed(profile, _) => profile,
        }
    }

    /// The name of what the tokens are made with.
    pub(super) fn origin(&self) -> Origin<'_> {
        match self {
            Self::Granted(granted) => Origin::Grant(&granted.name),
            Self::Keyed(profile, _) => {
                Origin::Key { profile: profile.name.as_str(), resource: self.resource() }
            }
        }
    }

    /// The resource; empty where the tokens are valid for all.
    pub(super) fn resource(&self) -> &str {
        match self {
            Self::Granted(granted) => granted.resource.as_str(),
            Self::Keyed(_, resource) => resource.as_ref().map_or("", Resource::as_str),
        }
    }
}

impl ProfileEntry {
    fn new(profile: Profile, grants: &Grants) -> Self {
        let profile = Arc::new(profile);
        let by_resource = match &profile.supply {
            Supply::Grants(profile::Grants { resources, .. })
            | Supply::Forwarded(Forwarded { resources, .. }) => {
                granted(&profile, resources, grants)
            }
            Supply::Key(key) => {
                let entry = |resource: &Resource| {
                    (
                        resource.clone(),
                        ResourceEntry::Keyed(Arc::clone(&profile), Some(resource.clone())),
                    )
                };
                key.resources.listed.iter().map(entry).collect()
            }
        };
        let named = profile.default_resource.as_ref();
        let default = match &profile.supply {
            Supply::Grants(_) | Supply::Forwarded(_) => {
                named.and_then(|named| by_resource.get(named)).cloned()
            }
            Supply::Key(Key { resources, .. }) if named.is_some() || resources.unscoped => {
                Some(ResourceEntry::Keyed(Arc::clone(&profile), named.cloned()))
            }
            Supply::Key(_) => None,
        };
        Self { profile, by_resource, default }
    }

    /// Finds the resource of this name, or the default.
    fn entry(&self, name: &str) -> Result<Found<'_>, Missing<'_>> {
        let found = |entry| Found { profile: &self.profile, entry };
        let known = |entry| found(Cow::Borrowed(entry));
        if name.is_empty() {
            let absent = || Missing::BadResource(&self.profile, BadResource::Absent);
            return self.default.as_ref().map(known).ok_or_else(absent);
        }
        if let Some(entry) = self.by_resource.get(name) {
            return Ok(known(entry));
        }
        let resource = match (self.profile.parse_resource)(name) {
            Ok(resource) => resource,
            Err(error) => {
                return Err(Missing::BadResource(&self.profile, BadResource::Malformed(error)));
            }
        };
        // The call may use a different spelling than the canonical one.
        if let Some(entry) = self.by_resource.get(&resource) {
            return Ok(known(entry));
        }
        match &self.profile.supply {
            Supply::Key(key) if key.resources.matches(&resource) => {
                let entry = ResourceEntry::Keyed(Arc::clone(&self.profile), Some(resource));
                Ok(found(Cow::Owned(entry)))
            }
            _ => Err(Missing::Resource(resource)),
        }
    }
}

/// The entries of resources that have a grant.
fn granted(
    profile: &Arc<Profile>,
    resources: &[Resource],
    grants: &Grants,
) -> HashMap<Resource, ResourceEntry> {
    let entries = resources.iter().filter_map(|resource| {
        let reader = grants.reader(profile.name.as_str(), resource.as_str())?.clone();
        let name = GrantName { profile: profile.name.clone(), resource: resource.clone() };
        let granted = Granted {
            profile: Arc::clone(profile),
            resource: resource.clone(),
            reader,
            name: name.to_string(),
        };
        Some((resource.clone(), ResourceEntry::Granted(Arc::new(granted))))
    });
    entries.collect()
}
