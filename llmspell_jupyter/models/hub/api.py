"""Questions to the hub: bounded in time and size, and never sent on to another host."""

from __future__ import annotations

import difflib
import json
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmspell_jupyter.errors import ModelNotFound, PullError
from llmspell_jupyter.models import spec
from llmspell_jupyter.models.hub import problems
from llmspell_jupyter.models.transfer import addresses
from llmspell_jupyter.types import Sources

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

_MOST_BYTES = 32 * 1024**2
_MOST_REDIRECTS = 5
_AGENT = "llmspell-jupyter"


class Api:
    """The hub that the sources name.

    Every method raises ``PullError`` or ``ModelNotFound``, and nothing else, when the hub does
    not answer well.

    Args:
        sources: The hub and the token for it.
        seconds: Longest that all questions together may take.
    """

    def __init__(self, sources: Sources, seconds: float):
        self._sources = sources
        self._until = time.monotonic() + seconds

    def model(self, repository: str, revision: str | None) -> ModelInfo:
        """A repository at one moment, with its files, their sizes and hashes."""
        place = f"/api/models/{urllib.parse.quote(repository)}"
        if revision is not None:
            place += f"/revision/{urllib.parse.quote(revision, safe='')}"
        try:
            found = self._json(place, {"blobs": "true"}, repository)
        except ModelNotFound as error:
            if revision is not None:
                error = self._without_revision(error, repository, revision)
            raise self._with_nearest(error, repository) from None
        return self._info(found, repository)

    def models(self, query: Mapping[str, Any]) -> list[ModelInfo]:
        """One page of a search."""
        found = self._json("/api/models", query, "")
        entries = found if isinstance(found, list) else []
        return [self._info(each, "") for each in entries]

    def check(self, repository: str, url: str) -> None:
        """Ask whether a file of a gated repository would be given to us."""
        self._ask("HEAD", url, {}, repository, follow=False)

    def _with_nearest(self, error: ModelNotFound, repository: str) -> ModelNotFound:
        """The error with names of the same owner that are spelled much like this one."""
        owner, slash, _ = repository.partition("/")
        if not slash or "revisions" in error.data:
            return error
        try:
            ids: list[Any] = [each.id for each in self.models({"author": owner, "limit": 100})]
        except (ModelNotFound, PullError):
            return error
        names = [each for each in ids if isinstance(each, str) and spec.is_repository(each)]
        near = difflib.get_close_matches(repository, names, n=3, cutoff=0.6)
        if not near:
            return error
        hint = f"Did you mean {' or '.join(near)}? {error.hint}"
        return ModelNotFound(error.message, hint=hint, data=error.data | {"nearest": near})

    def _without_revision(
        self, error: ModelNotFound, repository: str, revision: str
    ) -> ModelNotFound:
        """The error for a revision that is not there, with those that are."""
        try:
            refs = self._json(f"/api/models/{urllib.parse.quote(repository)}/refs", {}, repository)
            names = [str(each["name"]) for kind in ("branches", "tags") for each in refs[kind]]
        except (ModelNotFound, PullError, KeyError, TypeError):
            return error
        shown = ", ".join(ascii(each)[1:-1] for each in names[:8])
        return ModelNotFound(
            f"{repository} has no revision {revision!r}.",
            hint=f"It has {shown}, and any commit of 40 digits.",
            data={"repository": repository, "revision": revision, "revisions": names[:100]},
        )

    def _info(self, found: Any, repository: str) -> ModelInfo:
        from huggingface_hub import ModelInfo

        try:
            return ModelInfo(**found)  # type: ignore[no-untyped-call]
        except Exception as error:  # Whatever a server makes of a library's parser.
            raise problems.mapped(_unreadable(error), self._sources, repository) from None

    def _json(self, place: str, query: Mapping[str, Any], repository: str) -> Any:
        url = self._sources.endpoint + place
        body = self._ask("GET", url, query, repository)
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise problems.mapped(_unreadable(error), self._sources, repository) from None

    def _ask(
        self, method: str, url: str, query: Mapping[str, Any], repository: str, follow: bool = True
    ) -> bytes:
        """The body of an answer; redirects are followed within the hub.

        Raises:
            Refused: The hub sends us elsewhere.
            PullError: It does not answer well, or with more than 32 MiB.
            ModelNotFound: It shows no such model or revision.
        """
        asked = f"?{urllib.parse.urlencode(_flat(query))}" if query else ""
        try:
            for _ in range(_MOST_REDIRECTS):
                body, location = self._once(method, url if "?" in url else url + asked)
                if not location or not follow:
                    return body
                url = self._same_hub(urllib.parse.urljoin(url, location))
        except Exception as error:  # Every error of the library and its transport has one of ours.
            raise problems.mapped(error, self._sources, repository) from None
        raise PullError(
            f"{url.partition('?')[0]} sends us from address to address.",
            hint="Check that HF_ENDPOINT is the address of a hub.",
        )

    def _once(self, method: str, url: str) -> tuple[bytes, str]:
        """One answer: its body, and where it sends us."""
        from huggingface_hub import get_session, hf_raise_for_status

        with get_session().stream(
            method, url, headers=self._headers(), timeout=self._left(), follow_redirects=False
        ) as response:
            packed = response.headers.get("content-encoding", "identity")
            if packed != "identity":
                raise ValueError(f"packed as {packed[:20]}")
            body = bytearray()
            if response.status_code < 300:
                for piece in response.iter_raw():
                    body += piece
                    if len(body) > _MOST_BYTES:
                        raise ValueError("more than 32 MiB")
                    self._left()
            hf_raise_for_status(response)
            moved = 300 <= response.status_code < 400
            return bytes(body), response.headers.get("location", "") if moved else ""

    def _headers(self) -> dict[str, str]:
        # The library's own function for this asks its usual hub, too, whatever hub is set.
        headers = {"user-agent": _AGENT, "accept-encoding": "identity"}
        if self._sources.token:
            headers["authorization"] = f"Bearer {self._sources.token}"
        return headers

    def _left(self) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _same_hub(self, url: str) -> str:
        if addresses.target(url, self._sources).ours:
            return url
        raise addresses.refused(url.partition("?")[0], "questions go to the hub alone")


def _flat(query: Mapping[str, Any]) -> list[tuple[str, str]]:
    flat: list[tuple[str, str]] = []
    for key, value in query.items():
        many = isinstance(value, Sequence) and not isinstance(value, str)
        flat.extend((key, str(each)) for each in (value if many else (value,)))
    return flat


def _unreadable(error: Exception) -> ValueError:
    return ValueError(f"{type(error).__name__} while it was read")
