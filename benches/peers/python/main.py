"""The peer in Python: signs a token for each call with Twilio's library and a given grant.

Its input is JSON on standard input; it prints its address as a line of JSON.
"""

import asyncio
import base64
import json
import sys

import grpc
from twilio.jwt.access_token import AccessToken
from twilio.jwt.access_token.grants import PlaybackGrant

from grantmint.v1 import token_service_pb2 as api
from grantmint.v1 import token_service_pb2_grpc as service

TTL = 60  # seconds


def claims(token):
    """The claims that the library wrote: it reads the clock itself for id and times."""
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


class Minting(service.TokenServiceServicer):
    """Implements MintToken for this account with this grant."""

    def __init__(self, account_sid, api_key_sid, api_key_secret, grant):
        self.account = account_sid, api_key_sid, api_key_secret
        self.grants = [PlaybackGrant(grant)]

    async def MintToken(self, request, context):
        access = AccessToken(*self.account, self.grants, identity=request.identity, ttl=TTL)
        token = access.to_jwt()
        wrote = claims(token)
        validity = api.Validity(
            issue_time={"seconds": wrote["nbf"]}, expire_time={"seconds": wrote["exp"]}
        )
        return api.MintTokenResponse(token=token, token_id=wrote["jti"], validity=validity)


async def main(given):
    server = grpc.aio.server()
    service.add_TokenServiceServicer_to_server(Minting(**given), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"server": f"http://127.0.0.1:{port}"}), flush=True)
    await server.wait_for_termination()


asyncio.run(main(json.load(sys.stdin)))
