"""Who may ask: whoever may use the server, from its own pages, and within bounds."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.lab.conftest import Place
from tests.lab.routes import DONE, READ, ROUTES
from tests.support.engines import PATIENCE, SMOLLM2, runtime_folder
from tests.support.jupyter_servers import ROOT, server

#: For each route what it would do if it were let.
_BODIES: dict[str, dict[str, Any]] = {
    "search": {"search": "x"},
    f"jobs/{'0' * 32}/cancel": {},
}


def body(path: str) -> dict[str, Any]:
    return _BODIES.get(path, {"model": SMOLLM2})


def ask(client: httpx.Client, method: str, path: str, **headers: str) -> httpx.Response:
    """Ask a route; of a stream only its head is read."""
    content = json.dumps(body(path)) if method == "POST" else None
    with client.stream(method, path, content=content, headers=headers) as answer:
        if not answer.headers.get("Content-Type", "").startswith("text/event-stream"):
            answer.read()
        return answer


@pytest.fixture
def untouched(place: Place) -> Iterator[None]:
    """Nothing is started, fetched or removed while the test runs."""
    yield
    assert place.client.status() is None
    assert place.hub.requests == []


def test_there_are_the_routes_of_the_contract() -> None:
    assert {"status", "models", "catalog", "events", "profiles", "config/explain"} <= {*READ}
    assert {"search", "fit", "pull", "verify", "load", "unload", "remove"} <= {*DONE}
    assert len(ROUTES) == len(READ) + len(DONE)


@pytest.mark.parametrize("authorization", [None, "token wrong", "Bearer wrong", "Basic eDp5"])
@pytest.mark.usefixtures("untouched")
def test_no_route_answers_whoever_comes(place: Place, authorization: str | None) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    with place.server.client(**headers) as client:
        for method, path in ROUTES:
            answer = ask(client, method, path)
            assert answer.status_code in (401, 403), (method, path, answer.status_code)


def test_the_server_finds_no_unprotected_route(tmp_path: Path) -> None:
    with runtime_folder(
        JUPYTER_SERVER_ALLOW_UNAUTHENTICATED_ACCESS="false", PYTHONWARNINGS="always"
    ) as environment:
        with server(tmp_path, environment) as made:
            assert made.get("status")["engine"] is None
            # Also where the server itself lets nobody in.
            with made.client() as client:
                for method, path in ROUTES:
                    assert ask(client, method, path).status_code in (401, 403), path
        said = made.log.read_text()
    assert "extension was successfully loaded" in said
    assert "Extension endpoints" not in said and "JupyterServerAuthWarning" not in said


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.test"},
        {"Origin": "{origin}.evil.test"},
        {"Origin": "null"},
        {"Origin": "{origin}0"},
        {"Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Mode": "No-Cors"},
    ],
    ids=str,
)
@pytest.mark.usefixtures("untouched")
def test_no_other_page_is_answered(place: Place, headers: dict[str, str]) -> None:
    sent = {name: text.format(origin=place.server.origin) for name, text in headers.items()}
    with place.server.browser() as browser:
        for method, path in ROUTES:
            answer = ask(browser, method, path, **sent)
            assert answer.status_code in (403, 404), (method, path, answer.status_code)
            assert "Access-Control-Allow-Origin" not in answer.headers
            assert "engine" not in answer.text if method == "GET" and path == "status" else True


@pytest.mark.parametrize("host", ["evil.test", "127.0.0.1.evil.test", "localhost.evil.test:8888"])
@pytest.mark.usefixtures("untouched")
def test_no_other_name_of_this_machine_is_answered(place: Place, host: str) -> None:
    """Also for whoever has the token: a server without one has nothing else against this."""
    for method, path in ROUTES:
        answer = ask(place.server.http, method, path, Host=host)
        assert answer.status_code == 403, (method, path, answer.status_code)


@pytest.mark.usefixtures("untouched")
def test_nothing_is_done_without_the_token_against_forgery(place: Place) -> None:
    with place.server.browser() as browser:
        assert browser.get("status").status_code == 200
        good = browser.headers["X-XSRFToken"]
        for token in ("", "wrong", good[::-1]):
            browser.headers["X-XSRFToken"] = token
            for path in DONE:
                assert ask(browser, "POST", path).status_code == 403, path


def test_a_page_of_the_server_is_answered(place: Place) -> None:
    sent = {"Origin": place.server.origin, "Sec-Fetch-Mode": "cors"}
    with place.server.browser() as browser:
        for path in ("status", "models", "events"):
            assert ask(browser, "GET", path, **sent).status_code == 200
        answer = ask(browser, "POST", f"jobs/{'0' * 32}/cancel", **sent)
        assert answer.json() == {"cancelled": False}


# Paths

_WRITTEN = (
    lambda text: text,
    lambda text: text.replace("/", "\\"),
    lambda text: text.replace("../", "..\\/"),
    lambda text: text.replace("../", "....//"),
    lambda text: text.replace("../", "..;/"),
    lambda text: text.replace("..", ".\u200b."),
    lambda text: text.replace("..", "\uff0e\uff0e").replace("/", "\uff0f"),
    lambda text: text.replace("/", "%2f"),
    lambda text: text.replace("..", "%2e%2e").replace("/", "%2f"),
    lambda text: text.replace("..", "%252e%252e").replace("/", "%252f"),
    lambda text: text.replace("../", "..%c0%af"),
    lambda text: f"{text}\0",
    lambda text: f"{text}\0.gguf",
    lambda text: f"{text}\n",
    lambda text: f"file://{text}",
    lambda text: f"hf.co/{text}",
    lambda text: f"owner/{text}",
    lambda text: f"owner/name/{text}",
    lambda text: f"x:{text}",
    lambda text: f"{text}@candle",
    lambda text: f"candle/{text}",
    lambda text: f"{text}#x?y",
)


def traversals(outside: Path) -> list[str]:
    """Ways to name a file outside of everything."""
    secret = f"{outside}/secret"
    up = "../" * 12
    starts = [
        *(secret, f"{secret}.gguf", f"{secret}.toml", str(outside)),
        *(f"{up}{secret[1:]}", f"{up}{secret[1:]}.gguf", f"./{up}{secret[1:]}"),
        *(
            f"x/{up}{secret[1:]}.toml",
            f"C:{secret}",
            f"{secret}/..",
            f"~/{up}{secret[1:]}",
            f"//{secret}",
        ),
    ]
    return list(dict.fromkeys(write(start) for start in starts for write in _WRITTEN))


#: Python tells each process of ours of every file it opens; this notes those that are outside.
_HOOK = """
import os, sys
def hook(event, arguments):
    if event in ("open", "os.listdir", "os.scandir"):
        path = arguments[0]
        path = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else ""
        if "outside-of-everything" in path:
            log = os.open({log!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(log, (event + " " + ascii(path) + chr(10)).encode())
            os.close(log)
sys.addaudithook(hook)
"""


def test_no_text_leads_outside(tmp_path: Path) -> None:
    outside = tmp_path / "outside-of-everything"
    outside.mkdir()
    for name in ("secret", "secret.gguf", "secret.toml"):
        (outside / name).write_text("canary = 'of the secret'\n")
    log = tmp_path / "opened"
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "sitecustomize.py").write_text(_HOOK.format(log=str(log)))
    texts = traversals(outside)
    assert len(texts) >= 200
    variables = {"PYTHONPATH": str(tmp_path / "hooks"), "HF_HUB_OFFLINE": "1"}
    with runtime_folder(**variables) as environment, server(tmp_path, environment) as made:
        host = made.origin.removeprefix("http://")
        raw = http.client.HTTPConnection(host, timeout=PATIENCE)

        def send(method: str, path: str, sent: dict[str, Any] | None = None) -> None:
            # Not httpx, which tidies paths.
            content = None if sent is None else json.dumps(sent)
            raw.request(method, path, content, {"Authorization": f"token {made.token}"})
            answer = raw.getresponse()
            assert b"of the secret" not in answer.read()
            assert answer.status < 500, (method, path, sent)

        for number, text in enumerate(texts):
            there = urllib.parse.quote(text, safe="/%.;~\\@:")
            for method, path in ROUTES:
                if path == "events":
                    continue
                address = f"/{ROOT}/{path}"
                if method == "GET":
                    query = urllib.parse.quote(text)
                    send("GET", f"{address}?key={query}&profile={query}&path={query}")
                else:
                    send("POST", address, every_field(path, text))
            for method, path in ROUTES[number % len(ROUTES)], ("GET", "."), ("GET", "streams"):
                send(method, f"/{ROOT}/{path}/{there}", {} if method == "POST" else None)
            send("POST", f"/{ROOT}/jobs/{there}/cancel", {"discard": True})
        raw.close()
    assert not log.exists(), log.read_text()[:2000]


def test_the_notes_of_opened_files_are_taken(tmp_path: Path) -> None:
    """The test above would find a read: its hook sees one."""
    log = tmp_path / "opened"
    (tmp_path / "outside-of-everything").mkdir()
    (tmp_path / "sitecustomize.py").write_text(_HOOK.format(log=str(log)))
    code = f"open({str(tmp_path / 'outside-of-everything' / 'x')!r}, 'w')"
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(tmp_path)}, check=True)
    assert "outside-of-everything" in log.read_text()


def every_field(path: str, text: str) -> dict[str, Any]:
    """A body in which this text stands wherever text may."""
    if path == "search":
        return {"search": text, "backend": text}
    if path == "pull":
        return {"model": text, "quantization": text, "revision": text}
    if path.startswith("streams/"):
        return {"path": text, "cell": text, "execution": text, "to": text, "executions": [text]}
    return {"model": text}
