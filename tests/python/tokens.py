"""Reads our tokens with common libraries.

    python tokens.py < INPUT

The input is a JSON list of {"kind", "token", "secret", "key", ...}; each line of the output is
what a library read from one of them, as JSON.
"""

import json
import sys

import jwt
from livekit.api import TokenVerifier
from twilio.jwt.access_token import AccessToken


def livekit(case):
    """livekit-api demands its issuer, its times and that all claims are of its types."""
    claims = TokenVerifier(case["key"], case["secret"]).verify(case["token"])
    video = claims.video
    return {
        "identity": claims.identity,
        "name": claims.name,
        "room": video.room,
        "can_publish": video.can_publish,
        "room_join": video.room_join,
    }


def twilio(case):
    """twilio-python demands the header's type and the signature."""
    read = AccessToken.from_jwt(case["token"], case["secret"])
    return {"identity": read.payload["grants"]["identity"], "grants": read.payload["grants"]}


def plain(case):
    """PyJWT demands the times, and the audience where there is one."""
    algorithm = case.get("algorithm", "HS256")
    return jwt.decode(
        case["token"],
        case["secret"],
        algorithms=[algorithm],
        audience=case.get("audience"),
        options={"require": ["exp"]},
    )


READERS = {"livekit": livekit, "twilio-access": twilio}

for case in json.load(sys.stdin):
    read = READERS.get(case["kind"], plain)
    # The check is effective only if the library refuses another secret.
    try:
        read({**case, "secret": case["secret"][::-1]})
    except Exception:
        print(json.dumps(read(case), sort_keys=True))
    else:
        sys.exit(f"{case['kind']}: a wrong secret was accepted")
