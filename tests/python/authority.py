"""Calls over a Unix socket, through a relay: grpcio sets :authority to the socket's path.

Usage: authority.py PROTO_DIR SERVER
"""

import pathlib
import socket
import sys
import tempfile
import threading

import grpc
import grpc_tools
from grpc_tools import protoc

PATIENCE = 30  # seconds, for any call

protos, server = sys.argv[1:]
generated = tempfile.mkdtemp()
google = pathlib.Path(grpc_tools.__file__).parent / "_proto"
arguments = ["protoc", f"-I{protos}", f"-I{google}"]
arguments += [f"--python_out={generated}", f"--grpc_python_out={generated}"]
assert protoc.main(arguments + ["grantmint/v1/token_service.proto"]) == 0
sys.path.insert(0, generated)

from grantmint.v1 import token_service_pb2, token_service_pb2_grpc  # noqa: E402


def pump(source: socket.socket, sink: socket.socket) -> None:
    while data := source.recv(65_536):
        sink.sendall(data)
    sink.shutdown(socket.SHUT_WR)


def relay(listener: socket.socket) -> None:
    host, port = server.rsplit(":", 1)
    while True:
        here, _ = listener.accept()
        there = socket.create_connection((host, int(port)))
        for pair in [(here, there), (there, here)]:
            threading.Thread(target=pump, args=pair, daemon=True).start()


path = f"{tempfile.mkdtemp()}/relay.sock"
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
threading.Thread(target=relay, args=(listener,), daemon=True).start()

ODD = [("grpc.default_authority", "%2Frun%2Ftokens.sock")]
for name, options in [
    ("as it is", []),
    ("percent-encoded", ODD),
    ("with the option", [("grpc.default_authority", "localhost")]),
]:
    with grpc.insecure_channel(f"unix:{path}", options=options) as channel:
        tokens = token_service_pb2_grpc.TokenServiceStub(channel)
        request = token_service_pb2.MintTokenRequest(identity="alice")
        try:
            tokens.MintToken(request, timeout=PATIENCE)
            print(name, "OK")
        except grpc.RpcError as error:
            print(name, error.code().name)
