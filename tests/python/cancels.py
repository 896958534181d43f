"""Callers share one channel; one of them repeatedly cancels as many calls as may be open at once.
Prints the results of the others.

Usage: cancels.py PROTO_DIR SERVER
"""

import pathlib
import sys
import tempfile
import threading

import grpc
import grpc_tools
from grpc_tools import protoc

PATIENCE = 30  # seconds, for any call

protos, server = sys.argv[1:]
generated = tempfile.mkdtemp()
files = [str(path) for path in pathlib.Path(protos).rglob("*.proto")]
google = pathlib.Path(grpc_tools.__file__).parent / "_proto"
arguments = ["protoc", f"-I{protos}", f"-I{google}"]
arguments += [f"--python_out={generated}", f"--grpc_python_out={generated}"]
assert protoc.main(arguments + files) == 0
sys.path.insert(0, generated)

from grantmint.v1 import (  # noqa: E402
    grant_service_pb2,
    grant_service_pb2_grpc,
    token_service_pb2,
    token_service_pb2_grpc,
)

channel = grpc.insecure_channel(server.removeprefix("http://"))
tokens = token_service_pb2_grpc.TokenServiceStub(channel)
grants = grant_service_pb2_grpc.GrantServiceStub(channel)
alice = token_service_pb2.MintTokenRequest(identity="alice")

watch = grants.WatchGrants(grant_service_pb2.WatchGrantsRequest())
next(watch)

minted, failures, over = 0, [], threading.Event()


def mint_continuously() -> None:
    """Mints every 5 ms."""
    global minted
    while not over.wait(0.005):
        try:
            tokens.MintToken(alice, timeout=PATIENCE)
            minted += 1
        except grpc.RpcError as error:
            failures.append(error)


caller = threading.Thread(target=mint_continuously)
caller.start()
pause = threading.Event()
for _ in range(20):
    calls = [tokens.MintToken.future(alice) for _ in range(128)]
    for call in calls:
        call.cancel()
    pause.wait(0.08)
over.set()
caller.join()
tokens.MintToken(alice, timeout=PATIENCE)
if not watch.is_active():
    failures.append(watch.code())
watch.cancel()
print(f"failed {len(failures)}, enough {str(minted > 0).lower()}")
for failure in failures[:3]:
    print(failure)
