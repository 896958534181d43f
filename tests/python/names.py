"""Runs a command in a network namespace of its own, beside a DNS server and an HTTPS upstream.

Usage: names.py NAME PEM COMMAND…
The DNS server knows NAME alone, as 127.0.0.1. The upstream has the certificate and key of PEM and
returns a token to each request. Both end with the command.
"""

import fcntl
import http.server
import socket
import ssl
import struct
import subprocess
import sys
import threading

SIOCSIFFLAGS, IFF_UP = 0x8914, 1
TYPE_A = 1


def bring_up_loopback():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


def answer(query, name):
    """The response to a query: an A record for the name, an empty list for its other types."""
    end = query.index(b"\0", 12) + 5
    asked = b".".join(labels(query[12:end]))
    (kind,) = struct.unpack("!H", query[end - 4 : end - 2])
    known = asked.decode().lower() == name
    found = known and kind == TYPE_A
    header = query[:2] + struct.pack("!5H", 0x8180 if known else 0x8183, 1, int(found), 0, 0)
    record = struct.pack("!HHHIH4s", 0xC00C, TYPE_A, 1, 60, 4, socket.inet_aton("127.0.0.1"))
    return header + query[12:end] + (record if found else b"")


def labels(name):
    while name[0]:
        yield name[1 : 1 + name[0]]
        name = name[1 + name[0] :]


def resolve(server, name):
    while True:
        query, client = server.recvfrom(512)
        server.sendto(answer(query, name), client)


class Upstream(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'{"token": "known-by-name"}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    name, pem, *command = sys.argv[1:]
    bring_up_loopback()
    dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    dns.bind(("127.0.0.1", 53))
    threading.Thread(target=resolve, args=(dns, name), daemon=True).start()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    upstream = http.server.ThreadingHTTPServer(("127.0.0.1", 443), Upstream)
    upstream.socket = context.wrap_socket(upstream.socket, server_side=True)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    sys.exit(subprocess.run(command).returncode)


main()
