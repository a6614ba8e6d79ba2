"""P6, P7: where files are fetched from, and who is shown the token."""

from __future__ import annotations

import logging
import shutil
import socket
import ssl
import subprocess
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from llmspell_jupyter.errors import LLMSpellError, PullError, Refused, Unreachable
from llmspell_jupyter.models.transfer import addresses
from llmspell_jupyter.models.transfer.client import Client, Wanted, tls
from llmspell_jupyter.models.transfer.failures import Again
from llmspell_jupyter.models.transfer.line import Line
from llmspell_jupyter.models.transfer.ranged import ranged
from llmspell_jupyter.models.transfer.sockets import Sockets
from llmspell_jupyter.types import Sources
from tests.support import hub_server, pulls
from tests.support.hub_server import Hub
from tests.support.pulls import KEY, QUICK, WEIGHTS, Pulls

TOKEN = "hf_secretsecretsecret"
WAITS = {"connect_seconds": QUICK.connect_seconds, "stall_seconds": QUICK.stall_seconds}


@contextmanager
def trap(answer: bytes = b"") -> Iterator[tuple[int, list[bytes]]]:
    """A server that notes every byte that reaches it, and connections without any."""
    got: list[bytes] = []
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                got.append(b"")
                connection.settimeout(5)
                try:
                    got.append(connection.recv(65536))
                    connection.sendall(answer)
                except OSError:
                    pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1], got
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)


_TRAPS = [
    "http://127.0.0.1:{port}/x",
    "https://127.0.0.1:{port}/x",
    "http://localhost:{port}/x",
    "http://2130706433:{port}/x",
    "http://0x7f000001:{port}/x",
    "http://0177.0.0.1:{port}/x",
    "http://[::ffff:127.0.0.1]:{port}/x",
    "http://[::ffff:7f00:1]:{port}/x",
    "http://[::1]:{port}/x",
    "http://0.0.0.0:{port}/x",
    "http://127.1:{port}/x",
    "//127.0.0.1:{port}/x",
    "http://169.254.169.254/latest/meta-data/",
    "https://169.254.169.254/latest/meta-data/",
    "http://user@127.0.0.1:{port}/x",
    "http://cdn.hf.co@127.0.0.1:{port}/x",
    "http://cdn.hf.co\\@127.0.0.1:{port}/x",
    "http://cdn.hf.co#@127.0.0.1:{port}/x",
    "https://cdn.hf.co:{port}/x",
    "http://cdn.hf.co/x",
    "http://cdn.hf.co:443/x",
    "https://user:word@cdn.hf.co/x",
    "https://evilhf.co/x",
    "https://hf.co.evil.example/x",
    "file:///etc/passwd",
    "ftp://127.0.0.1:{port}/x",
    "gopher://127.0.0.1:{port}/x",
    "http://:80/x",
    "http://127.0.0.1:99999/x",
]


@pytest.mark.parametrize("address", _TRAPS)
def test_p6_nothing_is_sent_to_where_files_are_not_fetched_from(
    hub: Hub, model: Pulls, address: str
) -> None:
    with trap() as (port, got):
        to = address.format(port=port)
        hub.fault(KEY, "redirect", to=to)
        sources = hub.sources(hosts=("*.hf.co", "*.huggingface.co"))
        with pytest.raises(Refused) as caught:
            model.pull(model.request(sources=sources))
    assert got == []
    shown = caught.value.data["address"]
    assert shown and shown in str(caught.value)
    assert "download_hosts" in caught.value.hint


def _resolving(monkeypatch: pytest.MonkeyPatch, answers: list[list[str]]) -> list[str]:
    """Have names resolve to these numbers, one list for each question; which were asked."""
    asked: list[str] = []

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        numbers = answers[min(len(asked), len(answers)) - 1]
        return [
            (
                socket.AF_INET6 if ":" in number else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (number, port),
            )
            for number in numbers
        ]

    monkeypatch.setattr(addresses.socket, "getaddrinfo", resolve)
    return asked


@pytest.mark.parametrize(
    "number",
    [
        "127.0.0.1",
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fd00::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
    ],
)
def test_p6_a_listed_name_may_not_mean_a_private_address(
    monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    """One of several is enough to refuse all."""
    _resolving(monkeypatch, [["93.184.216.34", number]])
    target = addresses.target("https://cdn.hf.co/x", Sources())
    with pytest.raises(Refused, match="private"):
        addresses.resolved(target)


def test_p6_a_name_is_resolved_once_and_what_was_checked_is_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A resolver that says something else the second time finds nobody asking it."""
    with trap() as (_, got):
        asked = _resolving(monkeypatch, [["93.184.216.34"], ["127.0.0.1"]])
        connected: list[Any] = []

        class Recording(Sockets):
            def connect(self, addresses: Any, seconds: float, name: str) -> socket.socket:
                connected.extend(addresses)
                raise Unreachable("not now")

        client = Client(Sources(), Recording(), **WAITS)
        line = Line(client)
        with pytest.raises(Again):
            line.get(Wanted("https://cdn.hf.co/x", "x"), 0, 10)
        assert asked == ["cdn.hf.co"]
        assert connected == [(socket.AF_INET, ("93.184.216.34", 443))]
        with pytest.raises(Refused, match=r"cdn\.hf\.co \(127\.0\.0\.1\)"):
            line.get(Wanted("https://cdn.hf.co/x", "x"), 0, 10)
        assert got == []


@pytest.mark.parametrize(
    ("address", "hosts", "good"),
    [
        ("https://cdn.hf.co/x", ("*.hf.co",), True),
        ("https://CDN.HF.CO./x", ("*.hf.co",), True),
        ("https://hf.co/x", ("*.hf.co",), False),
        ("https://hf.co/x", ("hf.co",), True),
        ("https://hf.co:8443/x", ("hf.co",), False),
        ("https://hf.co:8443/x", ("hf.co:8443",), True),
        ("http://hf.co/x", ("hf.co",), False),
        ("http://mirror.lan:8080/x", ("mirror.lan:8080",), True),
        ("http://mirror.lan:8081/x", ("mirror.lan:8080",), False),
        ("http://[fd00::1]:8080/x", ("[fd00::1]:8080",), True),
        ("https://mirror.lan:8080/x", ("*.lan:8080",), True),
        ("http://hub.example:8000/x", (), True),
        ("http://hub.example:8001/x", (), False),
        ("https://hub.example/x", (), True),
        ("https://other.example/x", (), False),
    ],
)
def test_which_hosts_a_list_means(address: str, hosts: tuple[str, ...], good: bool) -> None:
    sources = Sources(endpoint="http://hub.example:8000", hosts=hosts)
    if good:
        addresses.target(address, sources)
    else:
        with pytest.raises(Refused):
            addresses.target(address, sources)


def test_a_signature_in_an_address_is_not_shown(hub: Hub, model: Pulls) -> None:
    hub.fault(KEY, "redirect", to="http://10.0.0.1/x?X-Signature=verysecret")
    with pytest.raises(Refused) as caught:
        model.pull()
    assert "verysecret" not in repr(caught.value) + str(caught.value.data)


def test_p7_the_token_goes_to_the_hub_and_nowhere_else(
    hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not to the host that files come from, not into logs, processes, files or errors."""
    hub.cdn = True
    hub.add("owner/gated", pulls.files(), gated=True)
    hub.allow(TOKEN, "owner/gated")
    model = Pulls(hub, tmp_path / "cache")
    seen: list[str] = []

    def look(progress: Any) -> None:
        seen.append(repr(progress))
        seen.append(" ".join(psutil.Process().cmdline()))

    with caplog.at_level(logging.DEBUG):
        model.pull(model.request("owner/gated", sources=hub.sources(TOKEN)), report=look)
    files = [each for each in hub.requests if "/resolve/" in each.path]
    assert files and all(each.headers["authorization"] == f"Bearer {TOKEN}" for each in files)
    elsewhere = [each for each in hub.requests if each.server == "cdn"]
    assert elsewhere and not any("authorization" in each.headers for each in elsewhere)
    assert TOKEN not in caplog.text + "".join(seen)
    for path in model.cache.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes()


@pytest.mark.parametrize(
    "fault",
    [
        ("status", {"status": 403}),
        ("status", {"status": 500}),
        ("drop", {"after": 0}),
        ("garbage", {}),
        ("redirect", {"to": "http://10.0.0.1/"}),
        ("gzip", {"size": 1000}),
    ],
    ids=str,
)
def test_p7_no_error_holds_the_token(
    hub: Hub, model: Pulls, fault: tuple[str, dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    hub.allow(TOKEN)
    hub.fault(KEY, fault[0], **fault[1])  # type: ignore[arg-type]
    with caplog.at_level(logging.DEBUG), pytest.raises(LLMSpellError) as caught:
        model.pull(model.request(sources=hub.sources(TOKEN)))
    text = "".join(traceback.format_exception(caught.value)) + str(caught.value.to_wire())
    assert TOKEN not in text + caplog.text


@pytest.mark.parametrize("token", [f"{TOKEN}\r\nX: y", f"{TOKEN} x", "ü"])
def test_p7_a_token_that_is_none_is_not_quoted(token: str) -> None:
    with pytest.raises(PullError) as caught:
        Client(Sources(token=token), Sockets())
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


def test_a_part_of_a_file_is_read_by_the_same_rules(hub: Hub, model: Pulls) -> None:
    whole = bytes(pulls.files()[WEIGHTS])  # type: ignore[arg-type]
    url = f"{hub.url}/{pulls.REPOSITORY}/resolve/main/{WEIGHTS}"
    assert ranged(url, hub.sources(), 10, 5000) == whole[10:5000]
    assert ranged(url, hub.sources(), len(whole) - 5, len(whole) + 100) == whole[-5:]
    hub.fault(KEY, "redirect", to="http://169.254.169.254/")
    with pytest.raises(Refused, match=r"169\.254\.169\.254"):
        ranged(url, hub.sources(), 0, 100)


def test_files_come_through_the_proxy_that_is_set(
    hub: Hub, model: Pulls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that passes requests on; it is named, so it may be on this machine."""
    requests: list[bytes] = []
    with _proxy(requests) as port:
        monkeypatch.setenv("http_proxy", f"http://user:pass%20word@127.0.0.1:{port}")
        monkeypatch.setenv("no_proxy", "")
        url = f"{hub.url}/{pulls.REPOSITORY}/resolve/main/{WEIGHTS}"
        assert len(ranged(url, hub.sources(), 0, 1000)) == 1000
    assert requests[0].startswith(f"GET {hub.url}/".encode())
    assert b"Proxy-Authorization: Basic dXNlcjpwYXNzIHdvcmQ=" in requests[0]


def test_a_proxy_is_asked_for_a_tunnel_to_a_server_over_tls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with trap(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n") as (port, got):
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("no_proxy", "")
        with pytest.raises(Unreachable, match=r"proxy.*407"):
            ranged("https://hub.example/x", Sources(endpoint="https://hub.example"), 0, 10)
        # A number of a private network is not asked for, whoever connects to it.
        with pytest.raises(Refused):
            ranged(
                "https://10.0.0.1/x",
                Sources(endpoint="https://hub.example", hosts=("10.0.0.1",)),
                0,
                10,
            )
    assert got[1].startswith(b"CONNECT hub.example:443 HTTP/1.1\r\n")
    assert len(got) == 2


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_a_server_has_to_prove_who_it_is(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with hub_server.hub() as hub:
        hub.add("owner/model", {"a.bin": b"0123456789"})
        server = hub._servers[0]
        server.socket = context.wrap_socket(server.socket, server_side=True)
        endpoint = hub.url.replace("http://127.0.0.1", "https://localhost")
        wanted = Wanted(f"{endpoint}/owner/model/resolve/main/a.bin", "a.bin")
        sources = Sources(endpoint=endpoint)
        with pytest.raises(Unreachable, match="prove who it is"):
            Line(Client(sources, Sockets())).get(wanted, 0, 10)
        trusting = ssl.create_default_context(cafile=str(certificate))
        line = Line(Client(sources, Sockets(), tls=trusting))
        answer = line.get(wanted, 2, 6)
        buffer = memoryview(bytearray(10))
        assert bytes(buffer[: answer.read_into(buffer)]) == b"2345"
        answer.close()
        line.close()
    assert tls().verify_mode is ssl.CERT_REQUIRED
    assert tls().check_hostname


@pytest.mark.parametrize(
    "head",
    [
        "206 OK\r\nContent-Range: bytes 2-9/100\r\nContent-Length: 8",
        "206 OK\r\nContent-Range: bytes 0-10/100\r\nContent-Length: 11",
        "206 OK\r\nContent-Range: bytes 0-9/99\r\nContent-Length: 10",
        "206 OK\r\nContent-Range: bytes 0-9/100\r\nContent-Length: 9",
        "206 OK\r\nContent-Range: chapters 0-9/100\r\nContent-Length: 10",
        "206 OK\r\nContent-Length: 10",
        "200 OK\r\nContent-Length: 99",
        "200 OK\r\nContent-Length: 100\r\nContent-Encoding: br",
    ],
)
def test_p2_an_answer_that_is_not_what_was_asked_is_not_taken(head: str) -> None:
    with trap(f"HTTP/1.1 {head}\r\n\r\n0123456789".encode()) as (port, _):
        line = Line(Client(Sources(endpoint=f"http://127.0.0.1:{port}"), Sockets(), **WAITS))
        with pytest.raises(PullError, match="not served well"):
            line.get(Wanted(f"http://127.0.0.1:{port}/x", "x", size=100), 0, 10)
        line.close()


def test_an_answer_in_chunks_is_read() -> None:
    body = b"4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n"
    head = b"HTTP/1.1 206 OK\r\nContent-Range: bytes 0-9/100\r\nTransfer-Encoding: chunked\r\n\r\n"
    with trap(head + body) as (port, _):
        sources = Sources(endpoint=f"http://127.0.0.1:{port}")
        assert ranged(f"{sources.endpoint}/x", sources, 0, 10) == b"0123456789"


def test_a_kept_connection_that_the_server_closed_is_opened_again(hub: Hub) -> None:
    line = Line(Client(hub.sources(), Sockets(), **WAITS))
    wanted = Wanted(f"{hub.url}/{pulls.REPOSITORY}/resolve/main/{WEIGHTS}", WEIGHTS)
    for _ in range(3):
        answer = line.get(wanted, 0, 10)
        assert answer.read_into(memoryview(bytearray(10))) == 10
        answer.close()
        for connection in [*hub._open]:
            connection.shutdown(socket.SHUT_RDWR)
    line.close()


@contextmanager
def _proxy(requests: list[bytes]) -> Iterator[int]:
    import http.client
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    from urllib.parse import urlsplit

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(f"{self.requestline}\r\n{self.headers}".encode())
            parts = urlsplit(self.path)
            behind = http.client.HTTPConnection(parts.netloc)
            kept = {name: value for name, value in self.headers.items() if name != "Connection"}
            behind.request("GET", parts.path, headers=kept)
            answer = behind.getresponse()
            body = answer.read()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            behind.close()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()
