"""A hub on this machine: real HTTP, after the Hugging Face Hub's published API.

    with hub_server.hub() as hub:
        hub.add("owner/name", {"config.json": b"{}", "model.safetensors": path})
        hub.fault("owner/name/model.safetensors", "drop", at=1000, times=1)
        pull(..., sources=hub.sources())
        assert hub.bytes_served < ...

Serves model info, trees, paths, refs, search, tokens, gated and private repositories, and files
with ranges; large files from a second origin (``cdn=True``), as the hub does. Faults are chosen
per path: ``owner/name/FILE`` of a file, the path of the address (``/api/...``) otherwise. Run as
a program it serves folders: ``python -m tests.support.hub_server OWNER/NAME=FOLDER ...``.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import struct
import sys
import threading
import time
import urllib.parse
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from llmspell_jupyter.types import Sources
from tests.support import hub_repositories
from tests.support.hub_faults import Fault, Kind
from tests.support.hub_repositories import Commit, File, Repository

# What is on its way and may never be read is small, so that ``bytes_served`` tells the truth.
_SEND_BUFFER = 64 * 1024
_PIECE = 64 * 1024
_VERBS = ("revision", "tree", "paths-info", "refs", "auth-check")
_GATED = "Access to model {name} is restricted"


@dataclass
class Request:
    """A request as it came; ``status`` and ``sent`` are filled in while it is answered.

    Attributes:
        server: ``hub`` or ``cdn``.
        key: What faults are chosen by.
        headers: Names in lower case.
        sent: Bytes of the body that were handed to the network.
    """

    server: str
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    key: str = ""
    status: int = 0
    sent: int = 0


class Hub:
    """The server's state, which tests set up and look at.

    Attributes:
        url: Its address.
        cdn_url: Address of the second origin.
        cdn: Whether large files are sent there.
        tokens: Tokens and the user of each.
        requests: All that came so far.
        most_connections: How many were open at a time.
        page: Entries on a page of a tree or a search.
    """

    def __init__(self, *, cdn: bool, page: int):
        self.cdn = cdn
        self.page = page
        self.tokens: dict[str, str] = {}
        self.repositories: dict[str, Repository] = {}
        self.requests: list[Request] = []
        self.most_connections = 0
        self._faults: dict[str, list[Fault]] = {}
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._servers = [_Server(self, "hub"), _Server(self, "cdn")]
        self.url, self.cdn_url = (each.url for each in self._servers)

    def add(
        self,
        name: str,
        files: Mapping[str, bytes | Path],
        *,
        branch: str = "main",
        tags: tuple[str, ...] = (),
        gated: str | bool = False,
        private: bool = False,
        license: str | None = None,
        downloads: int = 0,
        lfs: Mapping[str, bool] | None = None,
        **info: Any,
    ) -> str:
        """Make a repository, or put a further commit onto a branch of it; returns the commit.

        ``files`` are all files of the commit: bytes, or a file that holds them. ``tags`` are names
        of the commit. ``lfs`` says which files are kept in LFS where name and size do not.
        ``info`` is what else the hub says about the model, such as ``gguf={"total": 1}``.
        """
        made = {
            path: hub_repositories.file(path, content, lfs=(lfs or {}).get(path))
            for path, content in files.items()
        }
        with self._lock:
            repository = self.repositories.setdefault(name, Repository(name))
            repository.gated = "auto" if gated is True else gated
            repository.private = private
            repository.license = license
            repository.downloads = downloads
            repository.info |= info
            sha = repository.commit(made, branch)
            repository.tags |= dict.fromkeys(tags, sha)
        return sha

    def allow(self, token: str, *names: str) -> None:
        """Make a token valid, and give its user these gated or private repositories."""
        user = self.tokens.setdefault(token, f"user-{len(self.tokens) + 1}")
        for name in names:
            self.repositories[name].readers.add(user)

    def fault(self, path: str, kind: Kind, **how: Any) -> Fault:
        """Do something wrong with requests of this path; ``how`` are fields of ``Fault``."""
        fault = Fault(kind, **how)
        with self._lock:
            self._faults.setdefault(path, []).append(fault)
        return fault

    def mend(self, path: str | None = None) -> None:
        """Take the faults of a path away, or all."""
        with self._lock:
            if path is None:
                self._faults.clear()
            else:
                self._faults.pop(path, None)

    def sources(self, token: str | None = None, **changes: Any) -> Sources:
        """Sources that fetch from here."""
        made = Sources(endpoint=self.url, token=token, hosts=(self.cdn_url.split("//")[1],))
        return replace(made, **changes)

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which other processes find it."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "LLMSPELL_MODELS_DOWNLOAD_HOSTS": self.cdn_url.split("//")[1],
        }

    @property
    def bytes_served(self) -> int:
        """Bytes of files that were handed to the network."""
        return sum(each.sent for each in [*self.requests] if not each.key.startswith("/"))

    def served(self, key: str) -> int:
        """Those of one file, ``owner/name/FILE``."""
        return sum(each.sent for each in [*self.requests] if each.key == key)

    def of(self, key: str) -> list[Request]:
        """Requests of one path."""
        return [each for each in [*self.requests] if each.key == key]

    def start(self) -> None:
        for server in self._servers:
            server.thread.start()

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for server in self._servers:
            server.thread.join()
            server.server_close()

    # The rest is for the handlers, each of which runs on a thread of its own.

    def entered(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)
            self.most_connections = max(self.most_connections, len(self._open))

    def left(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)

    def taken(self, request: Request, *kinds: Kind, start: int = 0, end: int = 0) -> Fault | None:
        """The first fault of these kinds that happens to a request, or to a range of its file."""
        with self._lock:
            faults = [*self._faults.get(request.key, ())]
        for fault in faults:
            if (
                fault.kind in kinds
                and request.method in fault.methods
                and fault.server in (None, request.server)
                and fault.place(start, end) is not None
                and fault.take()
            ):
                return fault
        return None


class _Server(ThreadingHTTPServer):
    """One origin."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, hub: Hub, role: str):
        self.hub = hub
        self.role = role
        super().__init__(("127.0.0.1", 0), _Handler)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no matter; anything else is a mistake of this server."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Answer(Exception):
    """Ends a request early with an error of the hub."""

    def __init__(self, status: int, message: str, code: str = "", commit: str = ""):
        self.status = status
        self.message = message
        self.headers = {"X-Error-Message": message}
        if code:
            self.headers["X-Error-Code"] = code
        if commit:
            self.headers["X-Repo-Commit"] = commit


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server
    connection: socket.socket
    record: Request

    def setup(self) -> None:
        super().setup()
        self.hub = self.server.hub
        self.hub.entered(self.connection)

    def finish(self) -> None:
        self.hub.left(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.record = Request(self.server.role, self.command, path, query, headers, key=path)
        self.hub.requests.append(self.record)
        length = int(headers.get("content-length") or 0)
        self.body = self.rfile.read(length) if length else b""
        try:
            if self.server.role == "cdn":
                self._cdn(path, query)
            else:
                self._hub(path, urllib.parse.parse_qs(query, keep_blank_values=True))
        except _Answer as answer:
            self._json({"error": answer.message}, answer.status, answer.headers)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    # Answers

    def _json(self, value: Any, status: int = 200, headers: Mapping[str, str] = {}) -> None:
        body = json.dumps(value).encode()
        self._start(status, {"Content-Type": "application/json; charset=utf-8", **headers}, body)

    def _start(self, status: int, headers: Mapping[str, str], body: bytes | None = None) -> None:
        self.record.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if body is not None:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if body is not None and self.command != "HEAD":
            self._send(body)

    def _broken(self) -> bool:
        """Whether a fault has answered in place of the server."""
        kinds: tuple[Kind, ...] = ("silent", "garbage", "status", "redirect")
        fault = self.hub.taken(self.record, *kinds)
        if fault is None:
            return False
        if fault.kind == "silent":
            self._wait(fault.seconds)
            self.close_connection = True
        elif fault.kind == "garbage":
            self.connection.sendall(b"\0\1\2 this is not HTTP\r\n\r\n")
            self.close_connection = True
        elif fault.kind == "redirect":
            self._start(302, {"Location": fault.to}, b"")
        else:
            after = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            if fault.message:
                after["X-Error-Message"] = fault.message
            self._json({"error": fault.message or f"fault {fault.status}"}, fault.status, after)
        return True

    # The hub

    def _hub(self, path: str, query: Mapping[str, list[str]]) -> None:
        if path.startswith("/api/resolve-cache/models/"):
            return self._cached(path.removeprefix("/api/resolve-cache/models/"))
        if "/resolve/" in path:
            return self._resolve(path)
        if self._broken():
            return None
        user = self._user()
        if path == "/api/whoami-v2":
            if user is None:
                raise _Answer(401, "Invalid username or password.")
            return self._json({"type": "user", "id": user, "name": user, "fullname": user})
        if path == "/api/models":
            return self._search(query)
        if path.startswith("/api/models/"):
            return self._model(path.removeprefix("/api/models/"), query, user)
        raise _Answer(404, "Sorry, we can't find the page you are looking for.")

    def _user(self) -> str | None:
        given = self.record.headers.get("authorization")
        if given is None:
            return None
        user = self.hub.tokens.get(given.removeprefix("Bearer "))
        if user is None:
            raise _Answer(401, "Invalid credentials in Authorization header")
        return user

    def _repository(self, name: str, user: str | None) -> Repository:
        found = self.hub.repositories.get(name)
        if found is None or (found.private and user not in found.readers):
            raise _Answer(401 if user is None else 404, "Repository not found", "RepoNotFound")
        return found

    def _open_to(self, repository: Repository, user: str | None) -> None:
        if not repository.gated or user in repository.readers:
            return
        about = _GATED.format(name=repository.name)
        if user is None:
            raise _Answer(
                401,
                f"{about}. You must have access to it and be authenticated to access it. "
                "Please log in.",
                "GatedRepo",
            )
        raise _Answer(
            403,
            f"{about} and you are not in the authorized list. "
            f"Visit {self.hub.url}/{repository.name} to ask for access.",
            "GatedRepo",
        )

    def _commit(self, repository: Repository, revision: str) -> Commit:
        found = repository.resolve(revision)
        if found is None:
            raise _Answer(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return found

    def _model(self, rest: str, query: Mapping[str, list[str]], user: str | None) -> None:
        parts = rest.split("/")
        place = next((i for i, part in enumerate(parts) if i and part in _VERBS), len(parts))
        name, verb = "/".join(parts[:place]), (parts[place : place + 1] or [""])[0]
        arguments = [urllib.parse.unquote(each) for each in parts[place + 1 :]]
        repository = self._repository(name, user)
        if verb == "refs":
            return self._json(
                {
                    "branches": _refs(repository.branches, "heads"),
                    "converts": [],
                    "tags": _refs(repository.tags, "tags"),
                }
            )
        if verb == "auth-check":
            self._open_to(repository, user)
            return self._json({})
        commit = self._commit(repository, arguments[0] if arguments else "main")
        if verb == "tree":
            below = "/".join(arguments[1:])
            entries = commit.tree(below, recursive=_flag(query, "recursive"))
            if below and not entries:
                raise _Answer(404, f"{below} does not exist", "EntryNotFound", commit.sha)
            return self._page(entries)
        if verb == "paths-info":
            wanted = urllib.parse.parse_qs(self.body.decode()).get("paths", [])
            tree = {each["path"]: each for each in commit.tree(recursive=True)}
            return self._json([tree[each] for each in wanted if each in tree])
        blobs = _flag(query, "blobs")
        return self._json(repository.describe(commit, blobs=blobs) | _expanded(query))

    def _search(self, query: Mapping[str, list[str]]) -> None:
        words = " ".join(query.get("search", ())).lower().split()
        wanted = {*query.get("filter", ()), *query.get("pipeline_tag", ())}
        author = (query.get("author") or [""])[0]
        found = []
        for name, repository in [*self.hub.repositories.items()]:
            commit = repository.resolve("main")
            if repository.private or commit is None:
                continue
            full = bool({"full", "siblings"} & {*query, *query.get("expand", ())})
            shown = repository.describe(commit, blobs=False, siblings=full)
            tags = {*shown["tags"], shown.get("pipeline_tag")}
            if (
                all(word in name.lower() for word in words)
                and wanted <= tags
                and author in ("", shown.get("author"))
            ):
                found.append(shown)
        found.sort(key=lambda each: each["downloads"], reverse=True)
        self._page(found, int((query.get("limit") or [str(self.hub.page)])[0]))

    def _page(self, entries: list[dict[str, Any]], size: int | None = None) -> None:
        query = dict(urllib.parse.parse_qsl(self.record.query, keep_blank_values=True))
        first, size = int(query.get("cursor", 0)), min(size or self.hub.page, self.hub.page)
        headers = {}
        if first + size < len(entries):
            rest = urllib.parse.urlencode(query | {"cursor": first + size})
            headers["Link"] = f'<{self.hub.url}{self.record.path}?{rest}>; rel="next"'
        self._json(entries[first : first + size], headers=headers)

    # Files

    def _resolve(self, path: str) -> None:
        name, _, rest = path.lstrip("/").partition("/resolve/")
        revision, _, file_path = rest.partition("/")
        revision, file_path = urllib.parse.unquote(revision), urllib.parse.unquote(file_path)
        self.record.key = f"{name}/{file_path}"
        if self._broken():
            return
        user = self._user()
        repository = self._repository(name, user)
        self._open_to(repository, user)
        commit = self._commit(repository, revision)
        file = commit.files.get(file_path)
        if file is None:
            raise _Answer(404, "Entry not found", "EntryNotFound", commit.sha)
        etag = self._etag(file)
        headers = {
            "X-Repo-Commit": commit.sha,
            "X-Linked-Etag": f'"{etag}"',
            "X-Linked-Size": str(file.size),
            "Access-Control-Expose-Headers": "X-Repo-Commit,X-Linked-Etag,X-Linked-Size",
        }
        if not file.lfs:
            # The hub, too, has small files on another path of its own.
            place = f"/api/resolve-cache/models/{name}/{commit.sha}/{urllib.parse.quote(file_path)}"
            self._start(307, headers | {"Location": place, "ETag": f'"{etag}"'}, b"")
        elif self.hub.cdn:
            signed = f"{self.hub.cdn_url}/{name}/{commit.sha}/{file.sha256}"
            query = urllib.parse.urlencode({"Expires": int(time.time()) + 3600, "Signature": "ok"})
            self._start(302, headers | {"Location": f"{signed}?{query}"}, b"")
        else:
            self._file(file, etag, headers)

    def _cached(self, rest: str) -> None:
        """A small file, where ``resolve`` sends to."""
        parts = rest.split("/")
        place = next(i for i, part in enumerate(parts) if len(part) == 40)
        name, file_path = (
            "/".join(parts[:place]),
            urllib.parse.unquote("/".join(parts[place + 1 :])),
        )
        self.record.key = f"{name}/{file_path}"
        user = self._user()
        repository = self._repository(name, user)
        self._open_to(repository, user)
        file = self._commit(repository, parts[place]).files[file_path]
        self._file(file, self._etag(file), {"X-Repo-Commit": parts[place]})

    def _cdn(self, path: str, query: str) -> None:
        """A large file; whoever knows the signed address may fetch it."""
        name, sha, sha256 = path.lstrip("/").rsplit("/", 2)
        commit = self.hub.repositories[name].commits[sha]
        file = next(each for each in commit.files.values() if each.sha256 == sha256)
        self.record.key = f"{name}/{file.path}"
        if self._broken():
            return
        if "Signature=ok" not in query or self.hub.taken(self.record, "expired"):
            self._start(403, {"Content-Type": "application/xml"}, b"<Error>AccessDenied</Error>")
            return
        self._file(file, self._etag(file), {})

    def _etag(self, file: File) -> str:
        fault = self.hub.taken(self.record, "etag")
        return fault.to if fault else file.etag

    def _file(self, file: File, etag: str, headers: Mapping[str, str]) -> None:
        headers = {"ETag": f'"{etag}"', "Accept-Ranges": "bytes", **headers}
        if (bomb := self.hub.taken(self.record, "gzip")) is not None:
            body = _bomb(bomb.size)
            self._start(200, headers | {"Content-Encoding": "gzip"}, body)
            return
        wanted = self._range(file, etag)
        start, end = wanted if wanted is not None else (0, file.size)
        if start >= end and wanted is not None:
            self._start(416, headers | {"Content-Range": f"bytes */{file.size}"}, b"")
            return
        if (shifted := self.hub.taken(self.record, "range")) is not None:
            start, end = start + shifted.by, min(end + shifted.by, file.size)
        if wanted is not None:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
        false = self.hub.taken(self.record, "length")
        self.close_connection |= false is not None
        headers["Content-Length"] = str(end - start + (false.by if false else 0))
        headers["Content-Type"] = "application/octet-stream"
        self._start(200 if wanted is None else 206, headers)
        if self.command != "HEAD":
            self._content(file, start, end)

    def _range(self, file: File, etag: str) -> tuple[int, int] | None:
        """The range that is asked for, from byte to byte; None is the whole file."""
        text = self.record.headers.get("range", "")
        if not text.startswith("bytes=") or "," in text or self.command == "HEAD":
            return None
        if self.hub.taken(self.record, "no_range"):
            return None
        if self.record.headers.get("if-range", f'"{etag}"') != f'"{etag}"':
            return None
        first, _, last = text.removeprefix("bytes=").partition("-")
        if not first:
            return max(0, file.size - int(last)), file.size
        return int(first), min(int(last) + 1, file.size) if last else file.size

    def _content(self, file: File, start: int, end: int) -> None:
        """Send a part of a file, with what goes wrong in it."""
        slow = self.hub.taken(self.record, "drip")
        stop = self.hub.taken(self.record, "stall", "drop", start=start, end=end)
        until = end if stop is None else min(end, stop.place(start, end) or 0)
        wrong = self.hub.taken(self.record, "wrong", start=start, end=until)
        place = wrong.place(start, end) if wrong else None
        if slow is not None:
            for at in range(start, until, max(1, slow.bytes_per_second // 20)):
                self._send(file.read(at, min(until, at + max(1, slow.bytes_per_second // 20))))
                if self._wait(0.05):
                    return
        elif place is not None:
            self._copy(file, start, place)
            self._send(bytes([file.read(place, place + 1)[0] ^ 1]))
            self._copy(file, place + 1, until)
        else:
            self._copy(file, start, until)
        if stop is not None and stop.kind == "stall":
            self._wait(stop.seconds)
            if stop.seconds is not None:
                self._copy(file, until, end)
        elif stop is not None:
            if stop.reset:
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True

    def _copy(self, file: File, start: int, end: int) -> None:
        if isinstance(file.content, bytes):
            self._send(memoryview(file.content)[start:end])
            return
        with file.content.open("rb") as opened:
            while start < end:
                sent = _sendfile(self.connection, opened, start, min(_PIECE, end - start))
                self.record.sent += sent
                start += sent

    def _send(self, body: bytes | memoryview) -> None:
        view = memoryview(body)
        while view:
            sent = self.connection.send(view[:_PIECE])
            self.record.sent += sent
            view = view[sent:]

    def _wait(self, seconds: float | None) -> bool:
        """Do nothing for so long, or until the client goes; True when it went."""
        until = None if seconds is None else time.monotonic() + seconds
        while True:
            left = None if until is None else max(0.0, until - time.monotonic())
            ready, _, _ = select.select([self.connection], [], [], left)
            if not ready:
                return False
            try:
                if not self.connection.recv(1, socket.MSG_PEEK):
                    return True
            except OSError:
                return True
            # It has sent a further request already; how long it stays does not show.
            time.sleep(0.01)
            if until is not None and time.monotonic() > until:
                return False


def _sendfile(connection: socket.socket, opened: Any, start: int, size: int) -> int:
    if hasattr(os, "sendfile"):
        return os.sendfile(connection.fileno(), opened.fileno(), start, size)
    opened.seek(start)
    return connection.send(opened.read(size))


def _refs(names: Mapping[str, str], kind: str) -> list[dict[str, str]]:
    return [
        {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": sha}
        for name, sha in sorted(names.items())
    ]


def _flag(query: Mapping[str, list[str]], name: str) -> bool:
    return (query.get(name) or ["false"])[0].lower() in ("true", "1", "")


def _expanded(query: Mapping[str, list[str]]) -> dict[str, Any]:
    """Properties that were asked for and that no repository here has."""
    known = {"inference": "warm"}
    return {key: value for key, value in known.items() if key in query.get("expand", ())}


def _bomb(size: int) -> bytes:
    """A gzip stream that unpacks to so many zeros."""
    packer = zlib.compressobj(9, wbits=31)
    head = packer.compress(b"\0") + packer.flush(zlib.Z_FULL_FLUSH)
    piece = packer.compress(bytes(1024**2)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + piece * max(1, size // 1024**2) + packer.flush()


@contextmanager
def hub(*, cdn: bool = False, page: int = 1000) -> Iterator[Hub]:
    """A hub that runs until the block ends.

    Args:
        cdn: Send large files from a second origin, by redirect.
        page: Entries on a page of a tree or a search.
    """
    made = Hub(cdn=cdn, page=page)
    made.start()
    try:
        yield made
    finally:
        made.close()


def _main(arguments: list[str]) -> None:
    with hub(cdn="--cdn" in arguments) as made:
        for name, folder in (each.split("=", 1) for each in arguments if "=" in each):
            root = Path(folder)
            files = {
                each.relative_to(root).as_posix(): each
                for each in sorted(root.rglob("*"))
                if each.is_file()
            }
            made.add(name, files)
        print(json.dumps({"url": made.url, "cdn": made.cdn_url}), flush=True)
        # Ends with its input, so that it never outlives whoever started it.
        sys.stdin.read()


if __name__ == "__main__":
    _main(sys.argv[1:])
