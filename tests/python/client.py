"""A caller in Python that uses only our protos.

Usage: client.py PROTO_DIR SERVER API_KEY_SID API_KEY_SECRET

Prints one line for each check that passes; exits with a traceback at the first failure.
"""

import importlib
import pathlib
import sys
import tempfile

import grpc
import jwt
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpc_status import rpc_status
from grpc_tools import protoc
from twilio.jwt.access_token import AccessToken

PATIENCE = 30  # seconds, for any call

HEALTH = """
syntax = "proto3";
package grpc.health.v1;
message HealthCheckRequest { string service = 1; }
message HealthCheckResponse {
  enum ServingStatus { UNKNOWN = 0; SERVING = 1; NOT_SERVING = 2; SERVICE_UNKNOWN = 3; }
  ServingStatus status = 1;
}
service Health {
  rpc Check(HealthCheckRequest) returns (HealthCheckResponse);
  rpc Watch(HealthCheckRequest) returns (stream HealthCheckResponse);
}
"""


def generate(protos, out):
    """Generates the stubs of our protos and of gRPC health in `out`."""
    health = pathlib.Path(out, "health.proto")
    health.write_text(HEALTH)
    names = [str(path) for path in sorted(pathlib.Path(protos).rglob("*.proto"))]
    assert names, f"no protos in {protos}"
    wellknown = pathlib.Path(protoc.__file__).parent / "_proto"
    code = protoc.main(
        ["protoc", f"-I{protos}", f"-I{out}", f"-I{wellknown}"]
        + [f"--python_out={out}", f"--grpc_python_out={out}", str(health)]
        + names
    )
    assert code == 0, f"protoc failed with {code}"
    sys.path.insert(0, out)


def refused(call):
    """The error of `call`."""
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call was not refused")


def details(error):
    """The details of an error, by type."""
    status = rpc_status.from_call(error)
    found = {}
    for packed in status.details:
        for kind in ("ErrorInfo", "BadRequest", "RetryInfo"):
            detail = getattr(error_details_pb2, kind)()
            if packed.Unpack(detail):
                found[kind] = detail
    return found


def verify(token, sid, secret, identity):
    """Decodes with PyJWT and with Twilio's own library, which must agree."""
    assert jwt.get_unverified_header(token)["cty"] == "twilio-fpa;v=1"
    claims = jwt.decode(
        token, secret, algorithms=["HS256"], issuer=sid,
        options={"require": ["jti", "iss", "sub", "exp", "grants"]},
    )
    assert claims["grants"]["identity"] == identity, claims["grants"]["identity"]
    assert claims["grants"]["player"]["playbackUrl"].startswith("https://")
    assert claims["jti"].startswith(sid + "-")

    # The library checks header, signature and times; it returns the grants unchanged.
    twilio = AccessToken.from_jwt(token, secret)
    assert twilio.payload["grants"] == claims["grants"]
    assert twilio.valid_until == claims["exp"]
    assert twilio.payload["sub"] == claims["sub"] and twilio.payload["jti"] == claims["jti"]
    return claims["jti"]


def main(protos, server, sid, secret, out):
    generate(protos, out)
    tokens = importlib.import_module("grantmint.v1.token_service_pb2")
    tokens_grpc = importlib.import_module("grantmint.v1.token_service_pb2_grpc")
    grants = importlib.import_module("grantmint.v1.grant_service_pb2")
    grants_grpc = importlib.import_module("grantmint.v1.grant_service_pb2_grpc")
    health = importlib.import_module("health_pb2")
    health_grpc = importlib.import_module("health_pb2_grpc")

    channel = grpc.insecure_channel(server.removeprefix("http://"))
    stub = tokens_grpc.TokenServiceStub(channel)

    one = stub.MintToken(tokens.MintTokenRequest(identity="alice"), timeout=PATIENCE)
    assert verify(one.token, sid, secret, "alice") == one.token_id
    assert one.validity.use_within.ToTimedelta().total_seconds() > 0
    print("unary: a token that PyJWT and twilio take")

    tampered = one.token[:-6] + ("AAAAAA" if one.token[-6:] != "AAAAAA" else "BBBBBB")
    for library in (
        lambda: jwt.decode(tampered, secret, algorithms=["HS256"]),
        lambda: AccessToken.from_jwt(tampered, secret),
    ):
        try:
            library()
        except Exception:
            continue
        raise AssertionError("a token with another signature was taken")
    print("unary: neither takes it with another signature")

    series = tokens.IdentitySeries(prefix="viewer-", count=1000)
    seen, index = set(), 0
    for chunk in stub.MintTokens(
        tokens.MintTokensRequest(identity_series=series), timeout=PATIENCE
    ):
        assert chunk.first_index == index, (chunk.first_index, index)
        for token in chunk.tokens:
            seen.add(verify(token, sid, secret, f"viewer-{index}"))
            index += 1
    assert len(seen) == 1000, len(seen)
    print("bulk: 1000 tokens, all another")

    endless = tokens.IdentitySeries(prefix="viewer-", count=1_000_000)
    index = 0
    call = stub.MintTokens(tokens.MintTokensRequest(identity_series=endless), timeout=1)
    try:
        for chunk in call:
            index += len(chunk.tokens)
        raise AssertionError("a million in a second")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    print("bulk: a deadline ends it")

    error = refused(lambda: stub.MintToken(tokens.MintTokenRequest(), timeout=PATIENCE))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
    found = details(error)
    assert found["ErrorInfo"].reason == "IDENTITY_INVALID", found
    assert found["ErrorInfo"].domain == "grantmint", found
    assert [bad.field for bad in found["BadRequest"].field_violations] == ["identity"], found
    options = tokens.MintOptions(after_generation=one.validity.generation + 50_000_000)
    options.max_wait.FromSeconds(0)
    request = tokens.MintTokenRequest(options=options, identity="alice")
    error = refused(lambda: stub.MintToken(request, timeout=PATIENCE))
    assert error.code() == grpc.StatusCode.UNAVAILABLE, error
    found = details(error)
    assert found["ErrorInfo"].reason == "GRANT_NOT_NEWER", found
    assert found["RetryInfo"].HasField("retry_delay"), found
    trailers = dict(error.trailing_metadata())
    assert int(trailers["grpc-retry-pushback-ms"]) >= -1, trailers
    print("errors: reasons, bad fields and retries by grpc_status")

    state = grants_grpc.GrantServiceStub(channel)
    listed = state.ListGrants(grants.ListGrantsRequest(), timeout=PATIENCE).grants
    assert [grant.name for grant in listed] == [one.validity.grant], listed
    watch = state.WatchGrants(grants.WatchGrantsRequest(), timeout=PATIENCE)
    assert next(watch).snapshot
    watch.cancel()
    print("grants: a list and a snapshot")

    doctor = health_grpc.HealthStub(channel)
    for service in ("", "grantmint.v1.TokenService", "profiles/demo"):
        request = health.HealthCheckRequest(service=service)
        assert doctor.Check(request, timeout=PATIENCE).status == 1, service
    unknown = health.HealthCheckRequest(service="nobody")
    error = refused(lambda: doctor.Check(unknown, timeout=PATIENCE))
    assert error.code() == grpc.StatusCode.NOT_FOUND, error
    print("health: serving")

    reflection = ProtoReflectionDescriptorDatabase(channel)
    services = set(reflection.get_services())
    assert {"grantmint.v1.TokenService", "grantmint.v1.GrantService"} <= services, services
    assert "grpc.health.v1.Health" in services, services
    file = reflection.FindFileContainingSymbol("grantmint.v1.TokenService")
    assert file.name == "grantmint/v1/token_service.proto", file.name
    assert reflection.FindFileContainingSymbol("google.rpc.ErrorInfo") is not None
    print("reflection: services and types")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        main(*sys.argv[1:5], directory)
