//! In-process tokens made with a key alone: LiveKit's, for a room that each call names, with a name
//! that each call sets.

pub(crate) mod comparison;

use anyhow::{Result, bail};
use grantmint::{
    app,
    clock::Clock,
    config::{self, Config},
    drain::Drain,
    mint::{
        Grants, Limits,
        minter::{self, Minter},
        options::Options,
    },
    name::Identity,
    token::id::Serials,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{load::IDENTITY, mints::mint_one};

const API_KEY: &str = "APIabcdefghijk";

/// Public and worthless.
const SECRET: &str = "public-secret-of-the-bench-that-opens-nothing";

/// The number of rooms in a profile that lists them, and of different calls.
const ROOMS: u32 = 10_000;

/// The rooms that calls name.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Rooms {
    /// Whether the profile lists its rooms instead of using a pattern.
    listed: bool,
    /// Whether each call names another room.
    in_turn: bool,
}

impl Rooms {
    /// Another room for each call, matched by a pattern.
    pub(crate) const OF_A_PATTERN: Self = Self { listed: false, in_turn: true };
    /// Another room for each call, of 10,000 listed rooms.
    pub(crate) const LISTED: Self = Self { listed: true, in_turn: true };
    /// Always the same of 10,000 listed rooms.
    pub(crate) const ONE_OF_THEM: Self = Self { listed: true, in_turn: false };

    fn configuration(self) -> Result<String> {
        let rooms = if self.listed {
            let rooms: Vec<_> = (0..ROOMS).map(room).collect();
            format!("resources = {}", serde_json::to_string(&rooms)?)
        } else {
            "allow_resources = [\"room-*\"]".to_owned()
        };
        let keys = format!("kind = \"livekit\"\napi_key = \"{API_KEY}\"\napi_secret_env = \"S\"");
        Ok(format!("[profiles.room]\n{keys}\ncaller_params = [\"name\"]\n{rooms}\n"))
    }
}

fn room(number: u32) -> String {
    format!("room-{number:05}")
}

/// A call's options.
struct CallOptions {
    room: String,
    params: [(String, Value); 1],
}

/// A profile of the kind, and calls.
pub(crate) struct LiveKit {
    profile: config::Profile,
    requested: Vec<CallOptions>,
    clock: Clock,
}

impl LiveKit {
    /// With calls for these rooms.
    pub(crate) fn new(rooms: Rooms, clock: Clock) -> Result<Self> {
        let (text, secret) = (rooms.configuration()?, |_: &str| Some(SECRET.to_owned()));
        let config = Config::parse_with("the profile", &text, &secret)?;
        let Ok([profile]) = <[_; 1]>::try_from(config.profiles) else { bail!("no one profile") };
        let requested = |number| CallOptions {
            room: room(if rooms.in_turn { number } else { 0 }),
            params: [("name".to_owned(), format!("Viewer {number:05}").into())],
        };
        Ok(Self { profile, requested: (0..ROOMS).map(requested).collect(), clock })
    }

    /// A minter with this profile.
    pub(crate) fn minter(&self, drain: Drain) -> Result<Minter> {
        let profile = &self.profile;
        Ok(Minter::new(
            vec![app::of_mint(profile, &self.clock)?],
            Some(profile.name.clone()),
            &Grants::default(),
            minter::Parts {
                limits: Limits::default(),
                serials: Serials::draw()?,
                pool: None,
                clock: self.clock.clone(),
                drain,
            },
        ))
    }

    /// The options of the call with this number.
    pub(crate) fn options(&self, number: usize) -> Options<'_> {
        let CallOptions { room, params } = &self.requested[number % self.requested.len()];
        Options { resource: room, params, ..Options::default() }
    }

    /// Mints this many tokens, one for each call.
    pub(crate) fn mint_by(&self, minter: &Minter, count: u32) -> Result<()> {
        let identity = Identity::parse(IDENTITY)?;
        (0..count as usize)
            .try_for_each(|number| mint_one(minter, &self.options(number), &identity))
    }
}
