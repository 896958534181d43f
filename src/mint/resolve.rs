//! Finds what a call names: its profile, and what the tokens of its resource are made with.
//! Whether the caller may have it is asked before it is said whether it exists.

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
    by_name: HashMap<ProfileName, Seats>,
    default: Option<ProfileName>,
}

/// A profile's resources.
#[derive(Debug)]
pub(super) struct Seats {
    profile: Arc<Profile>,
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

    /// What a call names, with the defaults in the place of what it does not.
    pub(super) fn target<'a>(&'a self, options: &Options<'a>) -> Target<'a> {
        let named = options.resource;
        let default = || self.default.as_ref().map(ProfileName::as_str);
        let profile = Some(options.profile).filter(|name| !name.is_empty()).or_else(default);
        let seat = match profile.map(|name| self.by_name.get(name)) {
            Some(Some(seats)) => seats.seat(named),
            Some(None) => Err(Missing::Profile),
            None => Err(Missing::NoProfile),
        };
        Target { profile, named, seat }
    }
}

/// What a call is for, by name: its resource in the one form that its kind knows it by, or as
/// the call has it where it is of no such form. It may not exist.
#[derive(Debug)]
pub struct Target<'a> {
    profile: Option<&'a str>,
    /// The resource as the call has it.
    named: &'a str,
    seat: Result<Found<'a>, Missing<'a>>,
}

/// What a call names.
#[derive(Debug)]
struct Found<'a> {
    profile: &'a Profile,
    /// Its own where the resource is one of a pattern.
    seat: Cow<'a, Seat>,
}

/// Why there is nothing of that name.
#[derive(Debug)]
enum Missing<'a> {
    /// The call names no profile, and there is no default.
    NoProfile,
    /// There is no such profile.
    Profile,
    /// The profile has no such resource.
    Resource(Resource),
    /// The call's resource is bad, which is said beside the other fields.
    BadResource(&'a Profile, BadResource),
}

#[derive(Clone, Copy, Debug)]
enum BadResource {
    /// The call names none, and the profile has no default.
    Absent,
    /// It is not of the kind's form.
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
        match &self.seat {
            Ok(found) => found.seat.resource(),
            Err(Missing::Resource(resource)) => resource.as_str(),
            Err(Missing::NoProfile | Missing::Profile | Missing::BadResource(..)) => self.named,
        }
    }

    /// The profile, and the resource unless that is a bad field.
    ///
    /// # Errors
    ///
    /// There is no such profile, or no such resource in it.
    pub(super) fn found(&self) -> Result<(&'a Profile, Result<Seat, Violation>), Refusal> {
        match &self.seat {
            Ok(found) => Ok((found.profile, Ok(Seat::clone(&found.seat)))),
            Err(Missing::NoProfile) => {
                let required = "name a profile, since there is no default";
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
                let required = "name a resource, since the profile has no default";
                Violation::new(Field::Resource, Invalid::ResourceRequired, required)
            }
            Self::Malformed(error) => {
                Violation::new(Field::Resource, Invalid::Resource, error.as_str())
            }
        }
    }
}

impl Seat {
    pub(super) fn profile(&self) -> &Arc<Profile> {
        match self {
            Self::Granted(granted) => &granted.profile,
            Self::Keyed(profile, _) => profile,
        }
    }

    /// What its tokens are made with, by name.
    pub(super) fn origin(&self) -> Origin<'_> {
        match self {
            Self::Granted(granted) => Origin::Grant(&granted.name),
            Self::Keyed(profile, _) => {
                Origin::Key { profile: profile.name.as_str(), resource: self.resource() }
            }
        }
    }

    /// Its resource; empty where its tokens are good for all.
    pub(super) fn resource(&self) -> &str {
        match self {
            Self::Granted(granted) => granted.resource.as_str(),
            Self::Keyed(_, resource) => resource.as_ref().map_or("", Resource::as_str),
        }
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

    /// The resource of this name, or the default.
    fn seat(&self, name: &str) -> Result<Found<'_>, Missing<'_>> {
        let found = |seat| Found { profile: &self.profile, seat };
        let known = |seat| found(Cow::Borrowed(seat));
        if name.is_empty() {
            let absent = || Missing::BadResource(&self.profile, BadResource::Absent);
            return self.default.as_ref().map(known).ok_or_else(absent);
        }
        if let Some(seat) = self.by_resource.get(name) {
            return Ok(known(seat));
        }
        let resource = match (self.profile.parse_resource)(name) {
            Ok(resource) => resource,
            Err(error) => {
                return Err(Missing::BadResource(&self.profile, BadResource::Malformed(error)));
            }
        };
        // It may be written in another way than it is known by.
        if let Some(seat) = self.by_resource.get(&resource) {
            return Ok(known(seat));
        }
        match &self.profile.supply {
            Supply::Key(key) if key.resources.matches(&resource) => {
                let seat = Seat::Keyed(Arc::clone(&self.profile), Some(resource));
                Ok(found(Cow::Owned(seat)))
            }
            _ => Err(Missing::Resource(resource)),
        }
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
