"""Calls during a rolling update, with the documented service config.

Usage: rollout.py PROTO_DIR SERVICE_CONFIG HOST:PORT,HOST:PORT

Mints and lists grants until standard input ends, then prints the number of tokens. Exits with a
traceback if a call fails.
"""

import pathlib
import sys
import tempfile
import threading

import grpc
from client import generate

CALLERS = 4
PATIENCE = 30  # seconds, for any call


def main(protos, config, targets):
    with tempfile.TemporaryDirectory() as out:
        generate(protos, out)
        from grantmint.v1 import grant_service_pb2 as grant_messages
        from grantmint.v1 import grant_service_pb2_grpc as grant_services
        from grantmint.v1 import token_service_pb2 as messages
        from grantmint.v1 import token_service_pb2_grpc as services

        options = [
            ("grpc.service_config", pathlib.Path(config).read_text()),
            # Several addresses are not a host name.
            ("grpc.default_authority", "localhost"),
        ]
        channel = grpc.insecure_channel(f"ipv4:{targets}", options=options)
        tokens = services.TokenServiceStub(channel)
        grants = grant_services.GrantServiceStub(channel)
        done, failures, counts = threading.Event(), [], [0] * CALLERS

        def call(caller):
            while not done.is_set():
                request = messages.MintTokenRequest(identity=f"viewer-{caller}")
                try:
                    assert tokens.MintToken(request, timeout=PATIENCE).token
                    grants.ListGrants(grant_messages.ListGrantsRequest(), timeout=PATIENCE)
                    counts[caller] += 1
                except grpc.RpcError as error:
                    failures.append(f"{error.code()}: {error.details()}")

        threads = [threading.Thread(target=call, args=[caller]) for caller in range(CALLERS)]
        for thread in threads:
            thread.start()
        sys.stdin.read()
        done.set()
        for thread in threads:
            thread.join()
        assert not failures, failures[:5]
        print(sum(counts))


main(*sys.argv[1:])
