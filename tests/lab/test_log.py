"""What pages send neither floods nor forges a log."""

from __future__ import annotations

import contextlib
import json
import socket
from pathlib import Path

import pytest

from llmspell_jupyter.lab.logs import bounded
from tests.lab.conftest import Place
from tests.lab.routes import DONE, READ
from tests.lab.test_guard import every_field
from tests.support.engines import PATIENCE

FORGED = "[I 2026-01-01 00:00:00.000 ServerApp] all is well"
#: A million characters, and as many as an address may have.
ENDLESS = f"name\r\n{FORGED}\n\x1b[2J\x1b]0;title\x07\u202e\u2028{FORGED}\x85" * 9_000
LONG = ENDLESS[:9_000]
SHORT = ENDLESS[:290]


def lines(*logs: Path) -> list[bytes]:
    return [line for log in logs if log.exists() for line in log.read_bytes().split(b"\n")]


def test_names_of_a_million_characters(place: Place) -> None:
    http = place.server.http
    assert place.client.status(start_engine=True)
    for text in (ENDLESS, SHORT):
        for path in DONE:
            assert http.post(path, json=every_field(path, text)).status_code < 500, path
    # Not JSON, too large, and without an end.
    for content in (
        ENDLESS.encode(),
        json.dumps({"model": ENDLESS * 2}).encode(),
        b'{"a":' * 99_999,
    ):
        assert http.post("pull", content=content).status_code == 400
    for path in [each for each in READ if each != "events"]:
        http.get(path, params={"key": LONG, "profile": LONG, "path": LONG})
        http.get(path, headers={"Origin": "http://" + "e" * 30_000, "Referer": "r" * 30_000})
        http.get(path, headers={"Host": "e" * 30_000})
        http.get(f"{path}/{'x' * 30_000}")
        http.post(path, headers={"Sec-Fetch-Mode": "no-cors", "User-Agent": "u" * 30_000})
    with place.server.client(Authorization="token wrong") as stranger:
        stranger.get("status", params={"key": LONG}, headers={"Referer": "r" * 30_000})
    raw(place, b"GET /user/x/llmspell/api/status?a=" + b"\x1b[31m" * 2_000)
    raw(place, b"POST /user/x/llmspell/api/" + "\u202e".encode() * 5_000)
    runtime = Path(place.environment["JUPYTER_RUNTIME_DIR"])
    logs = (place.server.log, runtime / "llmspell-engine.log")
    found = lines(*logs)
    assert len(found) > 50
    longest = max(found, key=len)
    print(f"\nlongest line of {len(found)}: {len(longest)} bytes")
    assert len(longest) <= 1024, longest[:200]
    assert not [line for line in found if line.startswith(FORGED.encode())]
    for line in found:
        assert line.decode("ascii").isprintable() or not line, line


def raw(place: Place, start: bytes) -> None:
    """Send what clients of HTTP would not."""
    host, port = place.server.origin.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), PATIENCE) as connection:
        token = place.server.token.encode()
        connection.sendall(
            start + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n"
            b"Authorization: token " + token + b"\r\n\r\n"
        )
        with contextlib.suppress(ConnectionError):
            while connection.recv(65536):
                pass


@pytest.mark.parametrize(
    "text", [ENDLESS, LONG, SHORT, "", "\ud800", "é" * 5_000], ids=lambda text: ascii(text[:20])
)
def test_a_line_is_a_line(text: str) -> None:
    line = bounded(text)
    assert len(line) <= 900 and line.isascii() and (line.isprintable() or not line)
