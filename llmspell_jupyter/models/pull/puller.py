"""A pull from beginning to end: plan, claims, room, bytes, hashes, publishing."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from llmspell_jupyter.config import environment
from llmspell_jupyter.errors import (
    BadModelFile,
    HashMismatch,
    Interrupted,
    NoSpace,
    PullError,
    Unreachable,
)
from llmspell_jupyter.models.pull import limit, partial, publish, space
from llmspell_jupyter.models.pull.claim import Claim
from llmspell_jupyter.models.pull.download import Download
from llmspell_jupyter.models.pull.meter import Meter
from llmspell_jupyter.models.pull.pace import PACE, Pace
from llmspell_jupyter.models.pull.partial import Partial
from llmspell_jupyter.models.pull.presence import Presence
from llmspell_jupyter.models.pull.publish import Place
from llmspell_jupyter.models.transfer.addresses import AGAIN
from llmspell_jupyter.models.transfer.client import Client, Wanted
from llmspell_jupyter.models.transfer.sockets import Sockets
from llmspell_jupyter.types import Lookup, PullPhase, PullProgress, PullRequest

if TYPE_CHECKING:
    from llmspell_jupyter.models.hub import Plan, RemoteFile

_T = TypeVar("_T")
_LOOK_SECONDS = 0.1


def pull(
    request: PullRequest,
    report: Callable[[PullProgress], None],
    stop: threading.Event,
    *,
    pace: Pace = PACE,
) -> PullProgress:
    """Fetch a model into the user's store. Blocks; for a thread of its own.

    What has come stays when it fails or is stopped, and the next pull goes on from there.

    Args:
        request: What to fetch.
        report: Called on this thread, several times a second, with how far it is.
        stop: Ends it within half a second.
        pace: How hard to try.

    Returns:
        The last report, whose phase is ``complete``.

    Raises:
        Interrupted: It was stopped.
        ModelNotFound: There is no such model.
        PullError: It could not be fetched; says what to do.
        HashMismatch: The bytes are not those that were published; they were thrown away.
        BadModelFile: It was published damaged.
    """
    from llmspell_jupyter.models import hub

    meter = Meter(request.model, report)
    meter.show(PullPhase.STARTING, {})
    plan = _aside(lambda: hub.plan(request), stop)
    sources = request.sources
    return fetch(
        plan, request, report, stop, lambda file: hub.file_url(plan, file, sources), pace=pace
    )


def fetch(
    plan: Plan,
    request: PullRequest,
    report: Callable[[PullProgress], None],
    stop: threading.Event,
    url: Callable[[RemoteFile], str],
    *,
    pace: Pace = PACE,
) -> PullProgress:
    """Fetch the files of a plan; otherwise as ``pull``.

    Args:
        plan: What to fetch.
        request: Who asked for it.
        report: As of ``pull``.
        stop: As of ``pull``.
        url: Address of a file on the hub.
        pace: As of ``pull``.
    """
    return _Pull(plan, request, report, stop, url, pace).run()


def stores(lookup: Lookup) -> tuple[Path, ...]:
    """Stores laid out as the Hugging Face cache; what is pulled goes into the first."""
    named = (Path(each).expanduser().absolute() for each in lookup.caches)
    return tuple(dict.fromkeys((*named, *environment.hub_caches())))


class _Pull:
    def __init__(
        self,
        plan: Plan,
        request: PullRequest,
        report: Callable[[PullProgress], None],
        stop: threading.Event,
        url: Callable[[RemoteFile], str],
        pace: Pace,
    ):
        self._plan = plan
        self._request = request
        self._stop = stop
        self._url = url
        self._pace = pace
        self._begun = time.monotonic()
        self._locked = dict(request.locked)
        own, *others = stores(request.lookup)
        self._place = Place(own, plan)
        self._others = [Place(each, plan) for each in others]
        self._meter = Meter(plan.model, report)
        self._meter.files([(file.path, file.size) for file in plan.files])
        self._here = Presence(self._locked, force=request.force, stop=stop, look=self._reading)

    def run(self) -> PullProgress:
        for place in (self._place, *self._others):
            if self._here.complete(place):
                return self._already(place)
        if self._request.sources.offline:
            raise Unreachable(
                f"{self._plan.model} is not on this machine, and no network may be asked.",
                hint="Unset HF_HUB_OFFLINE (or models.offline), then type the same line again.",
                data={"model": self._plan.model},
            )
        self._meter.show(PullPhase.STARTING, {})
        try:
            return self._fetch()
        except OSError as error:
            if isinstance(error, PullError):
                raise
            raise space.of_error(error, self._place.partials) or PullError(
                f"{self._place.root} cannot be written: {error.strerror or error}.",
                hint="Check that you may write there, and that the disk is well.",
                data={"path": str(self._place.root)},
            ) from None
        finally:
            self._place.remove_folders()

    def _fetch(self) -> PullProgress:
        self._place.make_folders()
        self._place.sweep()
        with self._claims() as mine:
            partials = [
                Partial(self._place.partials, file, self._pace, self._locked.get(file.path))
                for file in mine
            ]
            notes, downloaded = self._bring(partials)
            self._place.publish([(each.file, each.path) for each in partials])
        return self._complete(self._place, downloaded, notes)

    def _bring(self, partials: list[Partial]) -> tuple[list[str], int]:
        """Fetch and check files; on a failure that more tries do not mend they are thrown away."""
        if not partials:
            return [], 0
        sockets = Sockets()
        client = Client(
            self._request.sources,
            sockets,
            connect_seconds=self._pace.connect_seconds,
            stall_seconds=self._pace.stall_seconds,
        )
        missing = sum(
            each.file.size - partial.held(self._place.partials, each.file.blob) for each in partials
        )
        largest = max(each.file.size for each in partials)
        limit.EVERYBODY.set(self._request.sources.bytes_per_second)
        try:
            space.check(self._place.cache, missing, largest)
            work = self._opened(partials)
            bucket = limit.Bucket(self._request.bytes_per_second)
            download = Download(client, work, self._pace, bucket)
            download.run(self._stop, lambda: self._look(partials, download))
            self._check_headers(partials)
        except (HashMismatch, BadModelFile) as error:
            paths = [str(each.get("path")) for each in error.data.get("files", ())]
            paths.append(str(error.data.get("file")))
            for each in partials:
                if each.file.path in paths:
                    each.discard()
            raise
        except (NoSpace, OSError) as error:
            if isinstance(error, NoSpace) or space.is_full(error):
                for each in partials:
                    each.discard()
            found = space.of_error(error, self._place.partials)
            if isinstance(error, NoSpace) and not error.data.get("need"):
                need = sum(each.file.size for each in partials)
                error = space.no_space(
                    self._place.cache, need, int(error.data["free"]), error.message.split(":")[0]
                )
            raise found or error from None
        finally:
            for each in partials:
                # Of those that are complete there is something, were it a file without bytes.
                if not each.done and not each.complete:
                    each.discard()
        notes = download.notes
        return notes, sum(each.fetched for each in partials)

    def _opened(self, partials: list[Partial]) -> list[tuple[Partial, Wanted]]:
        try:
            for each in partials:
                each.open()
                each.local = self._elsewhere(each.file)
            return [(each, self._wanted(each.file)) for each in partials]
        except BaseException:
            for each in partials:
                each.close()
            raise

    def _look(self, partials: list[Partial], download: Download) -> None:
        done = self._published() | {each.file.path: each.done for each in partials}
        whole = all(each.complete for each in partials)
        phase = PullPhase.VERIFYING if whole else PullPhase.DOWNLOADING
        self._meter.show(phase, done, download.note)

    def _published(self) -> dict[str, int]:
        return {
            file.path: file.size
            for file in self._plan.files
            if self._here.has_blob(self._place, file)
        }

    def _reading(self, path: str) -> None:
        self._meter.show(PullPhase.STARTING, {}, f"{path} is compared with the lock file.")

    def _check_headers(self, partials: list[Partial]) -> None:
        for each in partials:
            # A vocabulary of some 100,000 words takes a moment.
            _aside(functools.partial(publish.check_header, each.file, each.path), self._stop)

    def _wanted(self, file: RemoteFile) -> Wanted:
        name = f"{file.path} of {self._plan.repository}"
        return Wanted(self._url(file), name, file.size, file.blob)

    def _elsewhere(self, file: RemoteFile) -> Path | None:
        """The file's bytes in another store."""
        found = (each for each in self._others if self._here.has_blob(each, file))
        return next((each.blob(file) for each in found), None)

    @contextmanager
    def _claims(self) -> Iterator[list[RemoteFile]]:
        """Claims on all files that are not in the store, for as long as the block runs.

        They are taken in one order by everybody, so that no two wait for each other.
        """
        over = threading.Event()
        taken: list[Claim] = []
        files: list[RemoteFile] = []
        lost: list[PullError] = []

        def beat() -> None:
            while not over.wait(self._pace.heartbeat_seconds):
                for each in [*taken]:
                    try:
                        each.beat()
                    except PullError as error:
                        lost.append(error)

        beating = threading.Thread(target=beat, daemon=True)
        beating.start()
        try:
            unique = {file.blob: file for file in self._plan.files}
            for file in sorted(unique.values(), key=lambda file: file.blob):
                claim = self._claimed(file)
                if claim is not None:
                    taken.append(claim)
                    files.append(file)
            order = [file.blob for file in self._plan.files]
            yield sorted(files, key=lambda file: order.index(file.blob))
            if lost:
                raise lost[0]
        finally:
            over.set()
            beating.join()
            for each in taken:
                each.release()

    def _claimed(self, file: RemoteFile) -> Claim | None:
        """A claim on a file, waited for; None when the file is in the store."""
        at = self._place.partials / f"{file.blob}{partial.SUFFIX}"
        claim = Claim(at, silent_seconds=self._pace.silent_seconds)
        while True:
            if self._here.has_blob(self._place, file):
                return None
            if claim.take():
                if not self._here.has_blob(self._place, file):
                    return claim
                claim.release()
                return None
            self._watch()
            if self._stop.wait(_LOOK_SECONDS):
                raise Interrupted("The pull was stopped.", hint=AGAIN)

    def _watch(self) -> None:
        """Report how far the one is who fetches the files."""
        done = self._published()
        for file in self._plan.files:
            if file.path not in done:
                done[file.path] = partial.held(self._place.partials, file.blob)
        note = "Another process fetches it; this one waits for it."
        self._meter.show(PullPhase.DOWNLOADING, done, note)

    def _already(self, place: Place) -> PullProgress:
        if place is not self._place:
            note = f"It is in the shared store {place.cache}; nothing was fetched."
            return self._complete(place, 0, [note])
        # A branch may have been moved to a commit that was fetched before.
        with contextlib.suppress(OSError):
            place.name()
        # Who published it may have been killed before it put its tools away.
        place.sweep()
        place.remove_folders()
        return self._complete(place, 0, [])

    def _complete(self, place: Place, downloaded: int, notes: Sequence[str]) -> PullProgress:
        files = [file.path for file in self._plan.files]
        ggufs = [path for path in files if path.lower().endswith(".gguf")]
        path = place.snapshot / ggufs[0] if ggufs else place.snapshot
        metadata = {
            "repository": self._plan.repository,
            "revision": place.snapshot.name,
            "path": str(path),
            "files": files,
            "bytes": sum(file.size for file in self._plan.files),
            "downloaded": downloaded,
            "seconds": round(time.monotonic() - self._begun, 3),
        }
        return self._meter.complete(metadata, " ".join(notes))


def _aside(work: Callable[[], _T], stop: threading.Event) -> _T:
    """Do something that cannot be stopped on a thread that is left alone when we are."""
    done = threading.Event()
    result: list[_T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            result.append(work())
        except BaseException as error:
            failure.append(error)
        finally:
            done.set()

    threading.Thread(target=run, daemon=True).start()
    while not done.wait(_LOOK_SECONDS / 2):
        if stop.is_set():
            raise Interrupted("The pull was stopped.", hint=AGAIN)
    if failure:
        with contextlib.suppress(AttributeError):
            failure[0].__traceback__ = None
        raise failure[0]
    return result[0]
