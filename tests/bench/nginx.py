"""nginx in two roles: the fixed LangSmith that answers all contenders, and a static file server as the lower limit."""

import http.client
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from app.emulator import Emulator, RecordedRequest

from .process import Command, Running
from .workload import ALL_PARAMS, FEW_PARAMS

_NOON: Final = datetime(2026, 11, 20, 12, tzinfo=UTC)
_CONFIGURATION: Final = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_timeout 600;
    keepalive_requests 1000000000;
    open_file_cache max=100;
    open_file_cache_valid 600s;
    client_body_buffer_size 64k;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    default_type application/json;
    etag off;
    add_header Last-Modified "";
    root {folder}/files;
    {maps}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location = /graphql {{ error_page 405 =200 $uri; }}
        {locations}
    }}
}}
"""
_MAPS: Final = """
    map $arg_limit $rows { 10 10; default 100; }
    map $args $stats { ~stats_select=error_rate all; ~stats_select= few; default all; }
"""
_LOCATIONS: Final = """
    location = /api/v1/sessions { rewrite ^ /$rows-$stats.json break; }
    location = /requests { stub_status; }
    location = /cacheable/api/v1/sessions {
        add_header Last-Modified "";
        add_header Cache-Control max-age=15;
        rewrite ^ /$rows-$stats.json break;
    }
"""


def langsmith(folder: Path, port: int) -> Command:
    """nginx as LangSmith: it answers with 100 or 10 rows, with all statistics or with two, uncompressed."""
    emulator = Emulator(clock=lambda: _NOON)
    files = {"graphql": b"{}"}
    for rows in (100, 10):
        for name, params in (("all", ALL_PARAMS), ("few", FEW_PARAMS)):
            pairs = [tuple(each.split("=")) for each in (f"limit={rows}&{params}").split("&")]
            request = RecordedRequest(
                path="/api/v1/sessions", params=[(key, value) for key, value in pairs], headers={"x-api-key": "demo"}
            )
            files[f"{rows}-{name}.json"] = emulator.respond(request).body
    return _nginx(folder, port, files, _MAPS, _LOCATIONS)


def requests(langsmith: Running) -> int:
    """Number of requests that the fixed LangSmith has received, without the one that reads the number."""
    connection = http.client.HTTPConnection("127.0.0.1", langsmith.port, timeout=10)
    try:
        connection.request("GET", "/requests")
        # The third line of stub_status has three numbers: accepted connections, handled connections, requests.
        return int(connection.getresponse().read().splitlines()[2].split()[2]) - 1
    finally:
        connection.close()


def static(folder: Path, port: int, answer: bytes) -> Command:
    """nginx as a static file server: it answers every request with the same bytes."""
    return _nginx(folder, port, {"graphql": answer}, "", "")


def _nginx(folder: Path, port: int, files: Mapping[str, bytes], maps: str, locations: str) -> Command:
    (folder / "files").mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / "files" / name).write_bytes(content)
    configuration = folder / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(folder=folder, port=port, maps=maps, locations=locations))
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    return Command([program, "-e", "stderr", "-p", str(folder), "-c", str(configuration)])
