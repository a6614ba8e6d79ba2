"""``Agent``: models with instructions and memory."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from llmspell_jupyter.agents import agent as agents
from llmspell_jupyter.agents import builder as builders
from llmspell_jupyter.errors import RequestError
from llmspell_jupyter.runtime.exports import ScriptGlobal, ScriptObject, script
from llmspell_jupyter.runtime.host import Ask
from llmspell_jupyter.types import Chunk

if TYPE_CHECKING:
    from llmspell_jupyter.runtime.runtime import Runtime


class Agent(ScriptObject):
    """An agent, as scripts and Python code hold it."""

    lua_class: ClassVar[str] = "Agent"

    def __init__(self, runtime: Runtime, agent: agents.Agent):
        self._runtime = runtime
        self._agent = agent

    @property
    def name(self) -> str:
        """Its name."""
        return self._agent.name

    @property
    def id(self) -> str:
        """Unique in this notebook."""
        return self._agent.id

    def lua_fields(self) -> Mapping[str, Any]:
        """Fields of its handle in Lua."""
        return {"name": self.name, "id": self.id}

    def __repr__(self) -> str:
        return f"<Agent {self.name!r}: {self._agent.model}, {self._agent.state}>"

    @script
    def execute(self, given: Any) -> dict[str, Any]:
        """Ask and wait; ``{text, metadata, ...}``. Takes ``{text=...}`` or a string."""
        return self._runtime.follow(self._agent.ask(given))

    @script
    def invoke(self, given: Any) -> dict[str, Any]:
        """Another name of ``execute``."""
        return self.execute(given)

    @script
    def complete(self, given: Any) -> str:
        """Ask and wait; the text alone."""
        text: str = self.execute(given)["text"]
        return text

    @script
    def invokeStream(self, given: Any, each: Any) -> Generator[Ask, Any, dict[str, Any]]:
        """Ask, and call ``each({text, index, tokens})`` with every new piece of text.

        Returns ``{success, chunks_received, text, metadata}``.
        """
        if each is None or isinstance(each, str | int | float | bool | list | dict):
            raise RequestError(
                "invokeStream takes the input and a function.",
                hint="Write: agent:invokeStream({text = ...}, function(c) io.write(c.text) end)",
            )
        answer = self._agent.ask(given)
        count = 0
        with self._runtime.following(answer, text=False) as parts:
            for part in parts:
                if isinstance(part, Chunk) and part.text:
                    count += 1
                    yield Ask(each, ({"text": part.text, "index": count, "tokens": part.tokens},))
        return {"success": True, "chunks_received": count} | answer.output

    @script
    def get_state(self) -> str:
        """``Ready``, ``Running`` or ``Terminated``."""
        return self._agent.state

    @script
    def destroy(self) -> None:
        """End the agent; its name is free again."""
        self._runtime.agents.destroy(self._agent)


class AgentBuilder(ScriptObject):
    """Collects an agent's settings; every method but ``build`` returns the builder."""

    lua_class: ClassVar[str] = "AgentBuilder"

    def __init__(self, runtime: Runtime):
        self._runtime = runtime
        self._builder = builders.AgentBuilder(runtime.make_agent)

    @script
    def build(self) -> Agent:
        """Make the agent; one of the same name before it is replaced."""
        return Agent(self._runtime, self._builder.build())


def _step(name: str) -> Any:
    def step(self: AgentBuilder, value: Any) -> AgentBuilder:
        getattr(self._builder, name)(value)
        return self

    step.__name__ = name
    step.__doc__ = getattr(builders.AgentBuilder, name).__doc__
    return script(step)


for _name in builders.STEPS:
    setattr(AgentBuilder, _name, _step(_name))


class AgentGlobal(ScriptGlobal):
    """Makes and finds agents."""

    name = "Agent"

    def __init__(self, runtime: Runtime):
        self._runtime = runtime

    @script
    def builder(self) -> AgentBuilder:
        """A builder: ``Agent.builder():model("smollm2:135m"):build()``."""
        return AgentBuilder(self._runtime)

    @script
    def create(self, config: Any) -> Agent:
        """An agent from a table whose keys are the builder's methods."""
        builder = builders.AgentBuilder(self._runtime.make_agent)
        return Agent(self._runtime, builders.from_table(builder, config))

    @script
    def list(self) -> Any:
        """``[{name}]`` of this notebook's agents."""
        return [{"name": name} for name in self._runtime.agents.names()]

    @script
    def get(self, name: Any) -> Agent | None:
        """The agent of this name, or nil."""
        found = self._runtime.agents.get(name) if isinstance(name, str) else None
        return Agent(self._runtime, found) if found else None


GLOBAL = AgentGlobal
