//! Finds what a call names: its profile, and what the tokens of its resource are made with.

use std::{collections::HashMap, sync::Arc};

use super::{
    Grants,
    options::{Field, Invalid, Refusal, Violation},
    profile::{self, Forwarded, Key, Profile, Supply},
};
use crate::{
    grant::cell::Reader,
    name::{GrantName, ProfileName, Resource},
    token::Signer,
};

/// The profiles by name.
#[derive(Debug)]
pub(super) struct Profiles {
    by_name: HashMap<ProfileName, Seats>,
    default: Option<ProfileName>,
}

/// A profile's resources.
#[derive(Debug)]
pub(super) struct Seats {
    pub(super) profile: Arc<Profile>,
    by_resource: HashMap<Resource, Seat>,
    default: Option<Seat>,
}

/// A resource of a profile, with what its tokens are made with.
#[derive(Clone, Debug)]
pub(super) enum Seat {
    /// A grant.
    Granted(Arc<Granted>),
    /// The profile's key; the resource is none where the tokens are good for all.
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
    /// These, with their grants.
    pub(super) fn new(
        profiles: Vec<Profile>,
        default: Option<ProfileName>,
        grants: &Grants,
    ) -> Self {
        let seats = |profile: Profile| (profile.name.clone(), Seats::new(profile, grants));
        Self { by_name: profiles.into_iter().map(seats).collect(), default }
    }

    /// The one of this name; the default where the name is empty.
    pub(super) fn find(&self, name: &str) -> Result<&Seats, Refusal> {
        if !name.is_empty() {
            return self.by_name.get(name).ok_or(Refusal::ProfileNotFound);
        }
        let default = self.default.as_ref().and_then(|name| self.by_name.get(name));
        default.ok_or_else(|| {
            let required = "name a profile, since there is no default";
            let required = Violation::new(Field::Profile, Invalid::ProfileRequired, required);
            Refusal::Invalid(vec![required])
        })
    }
}

impl Seats {
    fn new(profile: Profile, grants: &Grants) -> Self {
        let profile = Arc::new(profile);
        let by_resource = match &profile.supply {
            Supply::Grants(profile::Grants { resources, .. })
            | Supply::Forwarded(Forwarded { resources, .. }) => {
                granted(&profile, resources, grants)
            }
            Supply::Key(key) => {
                let seat = |resource: &Resource| {
                    (resource.clone(), Seat::Keyed(Arc::clone(&profile), Some(resource.clone())))
                };
                key.resources.listed.iter().map(seat).collect()
            }
        };
        let named = profile.default_resource.as_ref();
        let default = match &profile.supply {
            Supply::Grants(_) | Supply::Forwarded(_) => {
                named.and_then(|named| by_resource.get(named)).cloned()
            }
            Supply::Key(Key { resources, .. }) if named.is_some() || resources.unscoped => {
                Some(Seat::Keyed(Arc::clone(&profile), named.cloned()))
            }
            Supply::Key(_) => None,
        };
        Self { profile, by_resource, default }
    }

    /// The resource of this name, or the default. One that is a bad field comes back as that.
    pub(super) fn seat(&self, name: &str) -> Result<Result<Seat, Violation>, Refusal> {
        let field = Field::Resource;
        if name.is_empty() {
            let required = "name a resource, since the profile has no default";
            let required = || Violation::new(field, Invalid::ResourceRequired, required);
            return Ok(self.default.clone().ok_or_else(required));
        }
        if let Some(seat) = self.by_resource.get(name) {
            return Ok(Ok(seat.clone()));
        }
        let resource = match (self.profile.parse_resource)(name) {
            Ok(resource) => resource,
            Err(error) => return Ok(Err(Violation::new(field, Invalid::Resource, error.as_str()))),
        };
        // It may be written in another way than it is known by.
        let known = self.by_resource.get(&resource).cloned();
        let seat = known.or_else(|| match &self.profile.supply {
            Supply::Key(key) if key.resources.matches(&resource) => {
                Some(Seat::Keyed(Arc::clone(&self.profile), Some(resource)))
            }
            _ => None,
        });
        seat.map(Ok).ok_or(Refusal::ResourceNotFound)
    }
}

/// The resources of a profile that have a grant.
fn granted(
    profile: &Arc<Profile>,
    resources: &[Resource],
    grants: &Grants,
) -> HashMap<Resource, Seat> {
    let seats = resources.iter().filter_map(|resource| {
        let reader = grants.reader(profile.name.as_str(), resource.as_str())?.clone();
        let name = GrantName { profile: profile.name.clone(), resource: resource.clone() };
        let granted = Granted {
            profile: Arc::clone(profile),
            resource: resource.clone(),
            reader,
            name: name.to_string(),
        };
        Some((resource.clone(), Seat::Granted(Arc::new(granted))))
    });
    seats.collect()
}
