"""Which workers run: one for each model and way of loading it, started when it is needed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from llmspell_jupyter.engine import memory, residency, shortage
from llmspell_jupyter.engine.memory import Holding, Room
from llmspell_jupyter.engine.post import Bounds, Post
from llmspell_jupyter.models import estimate
from llmspell_jupyter.models.need import Need
from llmspell_jupyter.types import LoadOptions, ModelInfo

_log = logging.getLogger(__name__)


class _Key(NamedTuple):
    path: str
    modified_at: int
    backend: str
    options: LoadOptions


class Supervisor:
    """All posts, and the memory that their models share.

    Args:
        bounds: What they grant.
    """

    def __init__(self, bounds: Bounds):
        self._bounds = bounds
        self._posts: dict[_Key, Post] = {}
        self._admission = asyncio.Lock()
        self._changed = asyncio.Event()

    def post(self, model: ModelInfo, backend: str, options: LoadOptions) -> Post:
        """The place of this model, loaded in this way; to be used at once."""
        where = str(model.path) if model.path.parts else model.id
        key = _Key(where, model.modified_at, backend, options)
        if key not in self._posts:
            self._posts = {key: post for key, post in self._posts.items() if post.is_used}
            self._retire(key)
            self._posts[key] = Post(
                *(model, backend, options, self._bounds),
                admit=self._admit,
                idle=self._changed.set,
            )
        return self._posts[key]

    def model(self, name: str) -> ModelInfo | None:
        """The model of this id or path that has a worker."""
        return next(
            (
                post.model
                for post in self._posts.values()
                if post.worker is not None and name in (post.model.id, str(post.model.path))
            ),
            None,
        )

    def forgive(self, model: ModelInfo) -> None:
        """Start workers of a model again, however many of them died."""
        for post in self._of(model):
            post.restarts.forget()

    def end(self, model: ModelInfo) -> int:
        """Begin to end the workers of a model; how many there are."""
        return sum(post.end() for post in self._of(model))

    async def ended(self, model: ModelInfo) -> None:
        """Wait until the workers of a model that are to end have ended."""
        await asyncio.gather(*(post.ended() for post in self._of(model)))

    async def tidy(self) -> None:
        """End models whose time without a request is over, for as long as this runs."""
        while True:
            self._changed.clear()
            posts = self._residents()
            residents = [post.resident(name) for name, post in posts.items()]
            expired = set(residency.expired(residents, time.monotonic()))
            for name, post in posts.items():
                if name in expired or (post.outdated and post.idle_since is not None):
                    _log.info("%s leaves", post.model.id)
                    post.end()
            following = residency.next_expiry(each for each in residents if each.id not in expired)
            wait = None if following is None else max(0.0, following - time.monotonic())
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._changed.wait()

    async def room(self, model: ModelInfo) -> tuple[Room, int]:
        """Memory that this model could have, and what idle models give back beside it.

        Its own, if it is loaded, counts as free.
        """
        own = self._of(model)
        others = [each for each in self._residents().values() if each not in own]
        held = [(each.size, each.worker.pid or 0) for each in others if each.worker is not None]
        idle = sum(each.size for each in others if each.resident("").can_leave)
        kept = [each.worker.pid for each in own if each.worker is not None and each.worker.pid]
        return await asyncio.to_thread(self._look, held, kept), idle

    def to_wire(self) -> list[dict[str, Any]]:
        """The posts that have a worker, as JSON values."""
        return [post.to_wire() for post in self._posts.values() if post.worker is not None]

    async def close(self) -> None:
        """End all workers."""
        await asyncio.gather(*(post.unload() for post in self._posts.values()))

    async def _admit(self, post: Post) -> None:
        """Start the worker of a post when there is room, unless it has one.

        Raises:
            CrashLoop: Enough of its workers have died.
            NotEnoughMemory: There is not, and no model had to leave.
            BadModelFile: Its files have been damaged since it was resolved.
        """
        # One at a time: two loads may fit by themselves and not together.
        async with self._admission:
            if post.has_worker:
                return
            post.restarts.check()
            await asyncio.gather(*(each.ended() for each in self._posts.values()))
            need = await asyncio.to_thread(_need, post)
            if need is not None and not post.unjudged:
                await self._make_room(post, need)
            post.start(need)

    async def _make_room(self, post: Post, need: Need) -> None:
        found = await asyncio.to_thread(self._look, self._holdings())
        posts = {name: each for name, each in self._residents().items() if each.size}
        residents = [each.resident(name) for name, each in posts.items()]
        plan = residency.plan(residents, need.total, found.free, found.most)
        if not plan.fits:
            staying: Counter[str] = Counter()
            for each in residents:
                if not each.can_leave:
                    staying[posts[each.id].model.id] += each.size
            raise shortage.not_enough(post.model.id, need, found, plan.short_by, staying)
        # All begin to end before anything else can happen: a request could need one of them.
        leaving = [posts[name] for name in plan.evict]
        for other in leaving:
            _log.info("%s leaves, for %s", other.model.id, post.model.id)
            other.end()
        await asyncio.gather(*(other.ended() for other in leaving))

    def _of(self, model: ModelInfo) -> list[Post]:
        """The posts of a model, whatever their options."""
        return [
            post
            for post in self._posts.values()
            if (post.model.id, post.model.path) == (model.id, model.path)
        ]

    def _holdings(self) -> list[tuple[int, int]]:
        return [
            (post.size, post.worker.pid or 0)
            for post in self._residents().values()
            if post.worker is not None
        ]

    def _look(self, held: list[tuple[int, int]], gone: Iterable[int] = ()) -> Room:
        """Room beside models of these sizes and processes, as if others of these had gone."""
        holdings = [Holding(size, memory.private(pid) if pid else 0) for size, pid in held]
        own = sum(map(memory.private, gone))
        return memory.look(holdings, self._bounds.memory_limit_bytes, own=own)

    def _residents(self) -> dict[str, Post]:
        """The posts that have a worker, by names that are unique and in order of time."""
        living = [post for post in self._posts.values() if post.has_worker]
        return {f"{number:06}": post for number, post in enumerate(living)}

    def _retire(self, key: _Key) -> None:
        for other, post in self._posts.items():
            if other.path == key.path and other.modified_at != key.modified_at:
                post.outdated = True
                self._changed.set()


def _need(post: Post) -> Need | None:
    try:
        return estimate.estimate(post.model, post.options, post.backend)
    except OSError:
        return None  # The file has gone; its backend says it better.
