"""What stands behind every peer: nginx with the answers of the scenarios, a certificate, and a token endpoint.

Where nginx cannot be it, echo.py is: tunnels, event streams.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

from bench.peers import find

TOKEN = "bench-token"
_SMALL = json.dumps({"id": 4711, "name": "a small answer", "items": [{"sku": f"A-{n}", "count": n} for n in range(8)]})
#: What the origin answers, by path.
CONTENT = {
    "/small": _SMALL.encode(),
    "/browser": _SMALL.encode(),
    "/post": b'{"ok":true}',
    "/big": bytes(range(256)) * 4096,
}
_RESPONSE_FIELDS = {
    "Cache-Control": "private, max-age=0, must-revalidate",
    "Vary": "Accept-Encoding, Origin",
    "ETag": '"5f8a-2b1c9d"',
    "Set-Cookie": "sid=0123456789abcdef0123456789abcdef; Path=/; HttpOnly; SameSite=Lax",
    "Strict-Transport-Security": "max-age=63072000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Trace": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
}

_NGINX = """
worker_processes 1;
daemon off;
pid {root}/nginx.pid;
error_log {root}/nginx-error.log;
events {{ worker_connections 8192; }}
http {{
  access_log off; sendfile on; tcp_nodelay on; keepalive_requests 1000000000; keepalive_timeout 600s;
  default_type application/json; client_max_body_size 0; client_body_buffer_size 64k;
  client_body_temp_path {root}/body; proxy_temp_path {root}/p; fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u;
  scgi_temp_path {root}/s;
  map $http_authorization $authorized {{ default 0; "Bearer {token}" 1; }}
  upstream sink {{ server unix:{root}/sink; keepalive 256; keepalive_requests 1000000000; }}
  server {{ listen unix:{root}/sink; location / {{ return 200 '{post}'; }} }}
  server {{
    listen 127.0.0.1:{port} backlog=4096; listen 127.0.0.1:{tls_port} ssl backlog=4096;
    ssl_certificate {root}/cert.pem; ssl_certificate_key {root}/key.pem;
    root {root}/www;
    if ($authorized = 0) {{ return 403; }}
    # The whole content is read before the answer; `return` alone would answer early.
    location /post {{
      proxy_pass http://sink; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_pass_request_body off; proxy_set_header Content-Length "";
    }}
    location /browser {{ etag off; {fields} }}
  }}
}}
"""


def certificate(root: Path) -> None:
    """Write a self-signed certificate for 127.0.0.1."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (root / "cert.pem").write_bytes(built.public_bytes(serialization.Encoding.PEM))
    (root / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def files(root: Path, port: int, tls_port: int) -> list[str]:
    """Write what nginx needs to answer the scenarios, to those who bring the token; return how it is started."""
    nginx = find("nginx")
    assert nginx is not None, "asked before"
    (root / "www").mkdir()
    for path, content in CONTENT.items():
        (root / "www" / path.removeprefix("/")).write_bytes(content)
    (root / "nginx.conf").write_text(
        _NGINX.format(
            root=root,
            port=port,
            tls_port=tls_port,
            token=TOKEN,
            post=CONTENT["/post"].decode(),
            fields=" ".join(f'add_header {name} "{_quoted(value)}";' for name, value in _RESPONSE_FIELDS.items()),
        )
    )
    return [nginx, "-c", str(root / "nginx.conf"), "-p", str(root)]


def echo(_root: Path, port: int, _tls_port: int) -> list[str]:
    """Return how the origin of tunnels and streams is started; it speaks no TLS."""
    return [sys.executable, "-m", "bench.echo", str(port)]


def _quoted(value: str) -> str:
    return value.replace('"', r"\"")


class _Token(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"access_token": TOKEN, "token_type": "Bearer", "expires_in": 86400}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def start_token_endpoint() -> HTTPServer:
    """Start a token endpoint whose tokens outlive the benchmark; `server_port` says where."""
    server = HTTPServer(("127.0.0.1", 0), _Token)
    Thread(target=server.serve_forever, daemon=True).start()
    return server
