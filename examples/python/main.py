"""Mints a token, then many, prints the details of an invalid request, and sets token parameters.

    pip install -r requirements.txt
    python -m grpc_tools.protoc -I ../../proto --python_out=. --grpc_python_out=. \
        grantmint/v1/token_service.proto
    python main.py 127.0.0.1:50051 1000 room-1

The server may be a Unix socket, such as unix:/run/grantmint/api.sock. If GRANTMINT_CA,
GRANTMINT_CERT and GRANTMINT_KEY name PEM files, it uses TLS with a client certificate. If
GRANTMINT_TOKEN_FILE is set, it sends the bearer token in that file.
"""

import os
import pathlib
import sys
import time

import grpc
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from grantmint.v1 import token_service_pb2 as api
from grantmint.v1.token_service_pb2_grpc import TokenServiceStub

SERVICE_CONFIG = pathlib.Path(__file__).parent.parent / "service_config.json"

OPTIONS = [
    # The library retries transient failures after the delay that the server sets.
    ("grpc.service_config", SERVICE_CONFIG.read_text()),
    # Without pings, only failing calls notice a silently lost connection.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
]

ENDS_EARLY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
PATIENCE = 60  # seconds without a token


class Bearer(grpc.AuthMetadataPlugin):
    """Sends the token in a file, which each call reads: it is replaced before it expires."""

    def __init__(self, file):
        self.file = pathlib.Path(file)

    def __call__(self, context, callback):
        callback([("authorization", f"Bearer {self.file.read_text().strip()}")], None)


def connect(server):
    """The only channel of the process; over TLS if the environment names files for it."""
    options, token_file = OPTIONS, os.environ.get("GRANTMINT_TOKEN_FILE")
    if server.startswith("unix:"):
        # grpcio would send the socket's path as the authority, which HTTP/2 does not allow.
        options = [*OPTIONS, ("grpc.default_authority", "localhost")]
        security = grpc.local_channel_credentials(grpc.LocalConnectionType.UDS)
    elif os.environ.get("GRANTMINT_CA"):
        files = (os.environ.get(f"GRANTMINT_{name}") for name in ("CA", "KEY", "CERT"))
        security = grpc.ssl_channel_credentials(
            *(file and pathlib.Path(file).read_bytes() for file in files)
        )
    elif token_file:
        # In plain text, the token is sent only to this machine.
        security = grpc.local_channel_credentials(grpc.LocalConnectionType.LOCAL_TCP)
    else:
        return grpc.insecure_channel(server, OPTIONS)
    if token_file:
        bearer = grpc.metadata_call_credentials(Bearer(token_file))
        security = grpc.composite_channel_credentials(security, bearer)
    return grpc.secure_channel(server, security, options)


def mint_many(tokens, prefix, count):
    """Tokens for prefix0, prefix1 and so on, minted with as many calls as needed."""
    series = api.IdentitySeries(prefix=prefix, count=count)
    start_index, progress = 0, time.monotonic()
    while True:
        request = api.MintTokensRequest(identity_series=series, start_index=start_index)
        try:
            for chunk in tokens.MintTokens(request, timeout=60):
                yield from chunk.tokens
                # Not the error's resume_index, which counts the tokens sent: at the deadline grpcio
                # drops those that it has not delivered yet.
                start_index = chunk.first_index + len(chunk.tokens)
                progress = time.monotonic()
            return
        except grpc.RpcError as error:
            if error.code() not in ENDS_EARLY or time.monotonic() - progress > PATIENCE:
                raise
            print(f"resuming at {start_index} after {explain(error)}", file=sys.stderr)
            time.sleep(retry_delay(error) or 1)


def detail(error, kind):
    """The error's detail of this kind, or an empty one."""
    # Parsed here: grpc_status raises if the deadline passes as the server responds.
    trailers = dict(error.trailing_metadata() or ())
    status = Status.FromString(trailers.get("grpc-status-details-bin", b""))
    found = kind()
    for packed in status.details:
        if packed.Unpack(found):
            break
    return found


def retry_delay(error):
    """The retry delay in seconds that the server sets, or else 0."""
    return detail(error, RetryInfo).retry_delay.ToTimedelta().total_seconds()


def explain(error):
    """The error's reason, message, invalid fields and retry delay."""
    lines = [f"{detail(error, ErrorInfo).reason or error.code().name}: {error.details()}"]
    for bad in detail(error, BadRequest).field_violations:
        lines.append(f"{bad.field}: {bad.description}")
    if delay := retry_delay(error):
        lines.append(f"retry in {delay:.1f} s")
    return "; ".join(lines)


def mint_for(tokens, identity, room):
    """A token for a room, with parameters that the profile opens to calls."""
    options = api.MintOptions(profile="room", resource=room)
    options.params.update({"name": "Alice", "can_publish": False})
    request = api.MintTokenRequest(options=options, identity=identity)
    return tokens.MintToken(request, timeout=10).token


def main(server, count, room=None):
    # One channel for the lifetime of the process, not one per call.
    with connect(server) as channel:
        tokens = TokenServiceStub(channel)
        response = tokens.MintToken(api.MintTokenRequest(identity="alice"), timeout=10)
        print("alice", response.token)
        for index, token in enumerate(mint_many(tokens, "viewer-", int(count))):
            print(f"viewer-{index}", token)
        try:
            tokens.MintToken(api.MintTokenRequest(identity=""), timeout=10)
        except grpc.RpcError as error:
            print(explain(error))
        if room:
            print("alice", mint_for(tokens, "alice", room))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except grpc.RpcError as error:
        sys.exit(explain(error))
