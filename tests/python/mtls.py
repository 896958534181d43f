"""A caller in Python with a client certificate.

Usage: mtls.py PROTO_DIR HOST:PORT CA CERT KEY

Prints one line for each check that passes; exits with a traceback at the first failure.
"""

import importlib
import pathlib
import sys
import tempfile

import grpc
from client import PATIENCE, generate


def main(protos, server, ca, cert, key):
    ca, cert, key = (pathlib.Path(file).read_bytes() for file in (ca, cert, key))
    with tempfile.TemporaryDirectory() as out:
        generate(protos, out)
        sys.path.insert(0, out)
        messages = importlib.import_module("grantmint.v1.token_service_pb2")
        services = importlib.import_module("grantmint.v1.token_service_pb2_grpc")

    credentials = grpc.ssl_channel_credentials(ca, key, cert)
    with grpc.secure_channel(server, credentials) as channel:
        tokens = services.TokenServiceStub(channel)
        request = messages.MintTokenRequest(identity="alice")
        minted = tokens.MintToken(request, timeout=PATIENCE, wait_for_ready=True)
        assert minted.token.count(".") == 2, minted.token_id
        print("a certificate lets it mint")

    with grpc.secure_channel(server, grpc.ssl_channel_credentials(ca)) as channel:
        tokens = services.TokenServiceStub(channel)
        try:
            tokens.MintToken(request, timeout=PATIENCE)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE, error
        else:
            raise AssertionError("it minted without a certificate")
        print("without one it does not")


main(*sys.argv[1:])
