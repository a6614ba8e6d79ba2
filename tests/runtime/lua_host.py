"""A small host that every test of the Lua runtime can talk to."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextvars import ContextVar
from typing import Any

from llmspell_jupyter.errors import ProviderError
from llmspell_jupyter.runtime.lua import Ask, Execution, HostObject, LuaSession, Printed

WHO: ContextVar[str] = ContextVar("WHO", default="nobody")
GLOBALS = {
    "Test": [
        "agent",
        "ask",
        "bug",
        "each",
        "echo",
        "fail",
        "hold",
        "keep",
        "kept",
        "odd",
        "patient",
        "post",
        "same",
        "text",
        "wait",
        "who",
    ]
}
CLASSES = {"Agent": ["rename", "greet", "each"]}


class Agent(HostObject):
    lua_class = "Agent"

    def __init__(self, name: str):
        self.name = name

    def lua_fields(self) -> dict[str, Any]:
        return {"name": self.name, "size": len(self.name)}


class TestHost:
    """Answers ``Test.*`` and ``Agent:*``; ``session`` is set once there is one."""

    __test__ = False
    session: LuaSession

    def __init__(self) -> None:
        self.kept: Any = None
        self.closed = 0
        self.entered = threading.Event()
        self.lost = threading.Event()
        self.release = threading.Event()

    def call(self, name: str, args: list[Any]) -> Any:
        return getattr(self, name.replace(".", "_").replace(":", "_"))(*args)

    def Test_echo(self, *args: Any) -> Any:  # noqa: N802
        return list(args)

    def Test_same(self, value: Any = None) -> Any:  # noqa: N802
        return value

    def Test_agent(self, name: str) -> Agent:  # noqa: N802
        return Agent(name)

    def Test_fail(self, message: str) -> Any:  # noqa: N802
        raise ProviderError(message, hint="Try something else.", data={"provider": "none"})

    def Test_bug(self) -> Any:  # noqa: N802
        raise ZeroDivisionError("a mistake in the host")

    def Test_odd(self) -> Any:  # noqa: N802
        return object()

    def Test_keep(self, value: Any) -> None:  # noqa: N802
        self.kept = value

    def Test_kept(self) -> Any:  # noqa: N802
        return self.kept

    def Test_text(self, size: int) -> str:  # noqa: N802
        return "x" * size

    def Test_who(self) -> str:  # noqa: N802
        return WHO.get()

    def Test_post(self, value: Any) -> None:  # noqa: N802
        self.session.post(("posted", value))

    def Test_wait(self) -> str:  # noqa: N802
        with self.session.on_stop(self.release.set):
            self.entered.set()
            self.release.wait(20)
        return "released"

    def Test_patient(self) -> str:  # noqa: N802
        """Blocks without offering a way to cancel."""
        self.entered.set()
        self.release.wait(20)
        return "released"

    def Test_ask(self, function: Any, *args: Any) -> Generator[Ask, Any, Any]:  # noqa: N802
        return (yield Ask(function, args))

    def Test_each(self, count: int, function: Any) -> Generator[Ask, Any, Any]:  # noqa: N802
        results = []
        try:
            for number in range(count):
                result = yield Ask(function, (number + 1,))
                results.append(result)
        finally:
            self.closed += 1
        return results

    def Test_hold(self, slow: bool, function: Any) -> Generator[Ask, Any, Any]:  # noqa: N802
        """Holds something meanwhile; if ``slow``, to end it takes until ``release`` is set."""
        try:
            with self.session.on_loss(self.lost.set):
                yield Ask(function)
        finally:
            self.entered.set()
            if slow is True:
                self.release.wait(20)
            self.closed += 1

    def Agent_rename(self, agent: Agent, name: str) -> Agent:  # noqa: N802
        agent.name = name
        return agent

    def Agent_greet(self, agent: Agent, *args: Any) -> str:  # noqa: N802
        return f"{agent.name}:{list(args)}"

    def Agent_each(self, _: Agent, count: int, function: Any) -> Any:  # noqa: N802
        return self.Test_each(count, function)


class Script:
    """A session and short ways to use it."""

    def __init__(self, host: TestHost, max_memory_bytes: int | None = None):
        self.host = host
        self.session = LuaSession(GLOBALS, CLASSES, host, max_memory_bytes=max_memory_bytes)
        host.session = self.session

    def start(self, source: str, chunk: str = "cell[1]", **options: Any) -> Execution:
        return self.session.start(source, chunk, **options)

    def __call__(self, source: str, chunk: str = "cell[1]", **options: Any) -> Any:
        return self.start(source, chunk, **options).result(30)

    def printed(self, source: str) -> str:
        execution = self.start(source)
        text = "".join(event.text for event in execution.events() if isinstance(event, Printed))
        execution.result(30)
        return text
