"""The runtime: one for each notebook, shared by its Lua cells and its Python code."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from llmspell_jupyter.agents.agent import Agent, AgentSettings, Answer
from llmspell_jupyter.agents.registry import Agents
from llmspell_jupyter.config import administrator, environment, loading, profiles
from llmspell_jupyter.config.loaded import Difference, Loaded, diff
from llmspell_jupyter.engine.client import EngineClient, Part
from llmspell_jupyter.errors import LLMSpellError, RequestError
from llmspell_jupyter.providers import Provider, configured, not_configured
from llmspell_jupyter.runtime import exports, globals, held
from llmspell_jupyter.runtime.calls import Calls
from llmspell_jupyter.runtime.lua import Execution, LuaSession, Printed
from llmspell_jupyter.types import Chunk, Progress, PullProgress

if TYPE_CHECKING:
    from llmspell_jupyter.engine.client import Pull

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AnswerPart:
    """A part of an answer for whoever shows it.

    Attributes:
        answer: Number of the answer in this runtime.
        model: Model that answers.
        part: Progress, chunk or result; None when there is no more to show of it.
    """

    answer: int
    model: str
    part: Part | None


@dataclass(frozen=True, slots=True)
class PullPart:
    """A step of a pull or a check for whoever shows it.

    Attributes:
        pull: Number of the pull in this runtime.
        progress: How far it is; None when there is no more to show of it.
        cancel: Ends it; may be called from any thread.
    """

    pull: int
    progress: PullProgress | None
    cancel: Callable[[], None]


class Work(Protocol):
    """What the engine is doing for a cell: iterated for its parts, cancelled from any thread."""

    def __iter__(self) -> Iterator[Part]: ...

    def cancel(self) -> None:
        """Stop it; nothing happens when it is over."""


@dataclass(frozen=True, slots=True)
class Switch:
    """What a change of profile changed.

    Attributes:
        profile: What is in force now.
        changes: Keys with other values than before.
        lua_reset: Whether the Lua state was given up, because its sandbox level changed.
    """

    profile: Loaded
    changes: tuple[Difference, ...] = ()
    lua_reset: bool = False


class Runtime:
    """What a notebook has of this package.

    Attributes:
        engine: The user's engine.
        providers: Its providers by name.
        agents: The notebook's agents.
        calls: What it asked of models; a reset keeps them.
        globals: Script globals by name.
        show: Called with each ``AnswerPart`` of answers that Python asked for, on the asking
            thread; those that a script asked for are events of its execution, as long as that
            runs. Outside a notebook it logs what the user should know at once.
        show_pull: Called in the same way with each ``PullPart``.
    """

    def __init__(self, engine: EngineClient | None = None):
        self.engine = engine or EngineClient()
        self.engine.stoppable = self._stoppable
        self.agents = Agents()
        self.calls = Calls()
        self.providers: dict[str, Provider] = {}
        self.globals = globals.instances(self)
        self.show: Callable[[AnswerPart], None] = _log_notes
        self.show_pull: Callable[[PullPart], None] = lambda _: None
        self._numbers = itertools.count(1)
        self._lua: LuaSession | None = None
        self._lua_thread: threading.Thread | None = None
        self._profile: Loaded | None = None
        self.use()

    def use(self, name: str | None = None, *, config_file: str | Path | None = None) -> Switch:
        """Load a profile or a file. Agents stay; so does Lua, unless its sandbox level changes.

        Args:
            name: The profile; None takes what files and variables say, else the default profile.
            config_file: A file, instead of a profile.

        Raises:
            ConfigError: There is none of this name, or it is wrong; what was before stays in force.
        """
        return self.apply(loading.load(name, config_file, admin=administrator.policy()))

    def apply(self, profile: Loaded) -> Switch:
        """Take a loaded configuration into force."""
        before = self._profile
        providers = configured(profile.configuration, self.engine)
        environment.use(profile.values)
        self._profile = profile
        self.providers = providers
        if before is None:
            return Switch(profile)
        levels = [each.configuration.engines.lua.security_level for each in (before, profile)]
        fresh = levels[0] != levels[1] and self._lua is not None
        if fresh:
            self._close_lua()
        return Switch(profile, diff(before, profile), lua_reset=fresh)

    @property
    def profile(self) -> Loaded:
        """The profile in force."""
        assert self._profile is not None
        return self._profile

    def start_lua(
        self, source: str, chunk: str, *, expression: bool = False, timeout: float | None = None
    ) -> Execution:
        """Start a script in this notebook's Lua state.

        Args:
            source: Lua source.
            chunk: Name of the script in messages.
            expression: Take the source for an expression if it is one.
            timeout: Seconds it may run; None takes the profile's limit.
        """
        if self._lua is None or self._lua.lost:
            self._lua = LuaSession(
                {name: exports.exported(type(each)) for name, each in self.globals.items()},
                {cls.lua_class: exports.exported(cls) for cls in globals.classes()},
                self,
            )
        self._lua.max_memory_bytes = self.profile.configuration.engines.lua.max_memory_bytes
        limit = timeout or self.profile.configuration.runtime.script_timeout_seconds
        return self._lua.start(source, chunk, expression=expression, timeout=limit)

    def reset(self) -> None:
        """Forget Lua state and agents; profile and engine stay."""
        self._close_lua()
        for name in self.agents.names():
            if agent := self.agents.get(name):
                self.agents.destroy(agent)

    def _close_lua(self) -> None:
        if self._lua is not None:
            self._lua.close()
            self._lua = None

    def call(self, name: str, args: list[Any]) -> Any:
        """Answer a call of a script; part of ``Host``, on the Lua thread."""
        self._lua_thread = threading.current_thread()
        if ":" in name:
            target, method = args.pop(0), name.partition(":")[2]
        else:
            table, _, method = name.partition(".")
            target = self.globals[table]
        return exports.call(target, method, args)

    def make_agent(self, settings: AgentSettings) -> Agent:
        """The agent that finished settings describe, kept under its name.

        Raises:
            RequestError: No model was named, and the provider has no default.
            ProviderError: The profile does not have this provider.
        """
        provider, model = self.place(settings.provider, settings.model)
        return self.agents.add(Agent(settings, provider, model))

    def place(self, name: str | None, model: str | None) -> tuple[Provider, str]:
        """The provider of this name and its model; None is the profile's default of either.

        Raises:
            RequestError: No model was named, and the provider has no default.
            ProviderError: The profile does not have this provider, or the administrator does not
                allow it.
        """
        name = name or self.default_provider()
        provider = self.provider(name)
        model = model or provider.settings.default_model
        if not model:
            raise RequestError(
                "Model is required: none is named, and the profile has no default.",
                hint='Write: Agent.builder():model("smollm2:135m"); %model_list shows all.',
            )
        self.profile.policy.check_model(name, model)
        return provider, model

    def provider(self, name: str) -> Provider:
        """The provider of this name.

        Raises:
            ProviderError: The profile does not have it.
        """
        return self.providers.get(name) or self._from_its_profile(name)

    def _from_its_profile(self, name: str) -> Provider:
        """A provider that is not configured, if ``auto_profile`` lets its profile bring it."""
        if self.profile.configuration.auto_profile:
            loaded = loading.with_backend(self.profile, name)
            if loaded is not None:
                self.apply(loaded)
                if name in self.providers:
                    self.write(f"{name} is taken from its built-in profile (auto_profile).\n")
                    return self.providers[name]
        raise not_configured(name, self.providers, profiles.that_set_up(name))

    def default_provider(self) -> str:
        """Provider of agents that name none."""
        return self.profile.configuration.providers.default_provider or "candle"

    def write(self, text: str) -> None:
        """Show text of a global in the cell, in order with what the script prints."""
        lua = self._calling_lua()
        if lua is None or not lua.post(Printed(text)):
            print(text, end="")

    def follow(self, answer: Answer) -> dict[str, Any]:
        """Wait for an answer and show it meanwhile; the output table.

        Raises:
            LLMSpellError: It failed or was stopped.
        """
        with self.following(answer) as parts:
            for _ in parts:
                pass
        return answer.output

    def following(
        self, answer: Answer, *, text: bool = True
    ) -> AbstractContextManager[Iterator[Part]]:
        """The parts of an answer, as ``watching`` gives them."""
        return self.watching(answer, answer.agent.model, text=text)

    @contextmanager
    def watching(self, work: Work, model: str, *, text: bool = True) -> Iterator[Iterator[Part]]:
        """The parts of some work, shown as they are iterated.

        Leaving the block cancels it, and so does a stop of a script that waits for one of them.

        Args:
            work: An answer, or anything else that the engine does.
            model: What to call the model meanwhile.
            text: False shows progress only: the script shows the text itself.
        """
        number = next(self._numbers)
        lua = self._calling_lua()
        show = held.to_cell(lua, self.show)

        def parts() -> Iterator[Part]:
            for part in held.waited_for(lua, work, work.cancel):
                if text or not isinstance(part, Chunk):
                    show(AnswerPart(number, model, part))
                elif part.tokens == 1:
                    show(AnswerPart(number, model, None))
                yield part

        def end() -> None:
            work.cancel()
            show(AnswerPart(number, model, None))

        try:
            with self.calls.kept(model, parts()) as kept, held.until_lost(lua, end):
                yield kept
        finally:
            end()

    @contextmanager
    def fetching(self, pull: Pull) -> Iterator[Iterator[PullProgress]]:
        """The progress of a pull or a check, shown as it is iterated.

        Leaving the block before its end cancels it, and so does a stop of a script that waits for
        it.
        """
        number = next(self._numbers)
        lua = self._calling_lua()
        show = held.to_cell(lua, self.show_pull)
        over = False

        def steps() -> Iterator[PullProgress]:
            nonlocal over
            for progress in held.waited_for(lua, pull, pull.cancel):
                show(PullPart(number, progress, pull.cancel))
                yield progress
            over = True

        def end() -> None:
            show(PullPart(number, None, pull.cancel))

        def lose() -> None:
            pull.cancel()
            end()

        try:
            with held.until_lost(lua, lose):
                yield steps()
        finally:
            try:
                if not over:
                    pull.cancel()
                    # Whoever pulls the same next shall not join what is about to end.
                    with suppress(LLMSpellError):
                        for _ in pull:
                            pass
            finally:
                # Ctrl-C may break off that wait.
                end()
            if pull.lingering:
                self.write(f"{pull.lingering}\n")

    def _stoppable(self, cancel: Callable[[], object]) -> AbstractContextManager[None]:
        """A block in which a stop of the script that calls, if one does, calls ``cancel``."""
        return held.stoppable(self._calling_lua(), cancel)

    def _calling_lua(self) -> LuaSession | None:
        """The Lua session when it is a script that calls, None when Python code does."""
        return self._lua if threading.current_thread() is self._lua_thread else None


def _log_notes(event: AnswerPart) -> None:
    if isinstance(event.part, Progress) and event.part.note:
        _log.warning("%s: %s", event.model, event.part.note)


_current: Runtime | None = None
_current_lock = threading.Lock()


def current() -> Runtime:
    """The runtime of this process, made on first use."""
    global _current
    with _current_lock:
        if _current is None:
            _current = Runtime()
        return _current
