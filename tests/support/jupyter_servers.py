"""Real Jupyter Servers, as processes, with this package's extension and no other."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.engines import PATIENCE, wait_for

#: Others that are enabled where this package's tests run.
_OTHERS = ("jupyterlab", "jupyter_lsp", "jupyter_server_terminals", "notebook", "notebook_shim")

ROOT = "llmspell/api"


class Server:
    """A running server.

    Attributes:
        url: Its address with the base path.
        token: What opens it.
        log: File of its log.
        process: Its process.
        http: Carries the token; paths are below the extension's root.
    """

    def __init__(
        self, port: int, base: str, token: str, log: Path, process: subprocess.Popen[bytes]
    ):
        self.origin = f"http://127.0.0.1:{port}"
        self.url = f"{self.origin}{base}"
        self.token = token
        self.log = log
        self.process = process
        self.http = self.client(Authorization=f"token {token}")

    def client(self, **headers: str) -> httpx.Client:
        """A client that sends these headers."""
        return httpx.Client(
            base_url=f"{self.url}{ROOT}/", headers=headers, timeout=PATIENCE, trust_env=False
        )

    @contextmanager
    def browser(self) -> Iterator[httpx.Client]:
        """A client that has logged in as a browser does: cookies, and the token against forgery."""
        with self.client() as client:
            client.get(f"{self.url}login", params={"token": self.token})
            # Any page brings it.
            client.get(f"{self.url}no-such-page")
            client.headers["X-XSRFToken"] = client.cookies["_xsrf"]
            yield client

    def get(self, path: str, **query: str) -> Any:
        """The value of a route that is read."""
        answer = self.http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, /, **body: Any) -> Any:
        """The value of a route that does something."""
        answer = self.http.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    @contextmanager
    def events(self) -> Iterator[Iterator[dict[str, Any]]]:
        """The events of a stream; leaving the block closes it."""
        with self.http.stream("GET", "events") as response:
            assert response.status_code == 200
            assert response.headers["Content-Type"] == "text/event-stream"
            yield _values(response)


def _values(response: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line[6:])
        else:
            assert not line or line.startswith(":"), line


@contextmanager
def server(
    room: Path, environment: Mapping[str, str], *options: str, base: str = "/"
) -> Iterator[Server]:
    """A server whose notebooks are below ``room``.

    Args:
        room: An empty folder.
        environment: Variables of it and, through it, of engines.
        options: Further arguments.
        base: Path below which it answers.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    token = secrets.token_hex(16)
    root = room / "root"
    root.mkdir()
    log = room / "log"
    extensions = {"llmspell_jupyter": True} | dict.fromkeys(_OTHERS, False)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root"),
                *(f"--port={port}", "--ServerApp.port_retries=0", f"--ServerApp.base_url={base}"),
                *(f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={root}"),
                *(f"--ServerApp.jpserver_extensions={extensions}", *options),
            ],
            env=dict(environment),
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    made = Server(port, base, token, log, process)
    try:
        wait_for(lambda: _answers(made))
        yield made
    finally:
        made.http.close()
        process.terminate()
        process.wait(PATIENCE)


def _answers(server: Server) -> bool:
    assert server.process.poll() is None, server.log.read_text()
    try:
        headers = {"Authorization": f"token {server.token}"}
        answer = httpx.get(f"{server.url}api", headers=headers, trust_env=False)
        return answer.status_code == 200
    except httpx.TransportError:
        return False
