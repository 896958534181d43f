"""A call over channels with each option that platforms set for all services.

Usage: options.py PROTO_DIR SERVER
"""

import pathlib
import sys
import tempfile

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

SERVICE_CONFIG = """{"methodConfig": [{"name": [{}], "waitForReady": true, "timeout": "20s",
    "retryPolicy": {"maxAttempts": 3, "initialBackoff": "0.1s", "maxBackoff": "1s",
    "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}}]}"""

OPTIONS = [
    [("grpc.default_compression_algorithm", 1)],  # deflate
    [("grpc.default_compression_algorithm", 2)],  # gzip
    [("grpc.default_compression_algorithm", 2), ("grpc.default_compression_level", 3)],
    [("grpc.primary_user_agent", "platform/1 (ünknown)"), ("grpc.secondary_user_agent", "x")],
    [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)],
    [("grpc.max_metadata_size", 1 << 20), ("grpc.absolute_max_metadata_size", 1 << 20)],
    [("grpc.keepalive_time_ms", 1_000), ("grpc.keepalive_timeout_ms", 1_000),
     ("grpc.keepalive_permit_without_calls", 1), ("grpc.http2.max_pings_without_data", 0)],
    [("grpc.http2.lookahead_bytes", 1 << 20), ("grpc.http2.max_frame_size", 1 << 20)],
    [("grpc.http2.bdp_probe", 0), ("grpc.http2.hpack_table_size.decoder", 0),
     ("grpc.http2.hpack_table_size.encoder", 0)],
    [("grpc.http2.write_buffer_size", 1), ("grpc.http2_scheme", "https")],
    [("grpc.default_authority", "tokens.example:443")],
    [("grpc.default_authority", "under_score.example")],
    [("grpc.default_authority", "xn--mnchen-3ya.example.")],
    [("grpc.default_authority", "[::1]:50051")],
    [("grpc.enable_retries", 1), ("grpc.service_config", SERVICE_CONFIG)],
    [("grpc.use_local_subchannel_pool", 1), ("grpc.optimization_target", "latency")],
    [("grpc.enable_http_proxy", 0), ("grpc.dscp", 8), ("grpc.minimal_stack", 1)],
]
METADATA = [("x-trace-bin", bytes(range(256))), ("x-request-id", "a b~"), ("x-request-id", "2")]

for options in OPTIONS:
    with grpc.insecure_channel(server, options=options) as channel:
        tokens = token_service_pb2_grpc.TokenServiceStub(channel)
        request = token_service_pb2.MintTokenRequest(identity="alice" * 20)
        try:
            tokens.MintToken(request, timeout=PATIENCE, metadata=METADATA, wait_for_ready=True)
            tokens.MintToken(request, timeout=PATIENCE, compression=grpc.Compression.Gzip)
        except grpc.RpcError as error:
            print(options, error.code(), error.details())
print("tried", len(OPTIONS))
