"""An agent and its conversation."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmspell_jupyter.agents import output
from llmspell_jupyter.engine.client import Part
from llmspell_jupyter.errors import Interrupted, RequestError
from llmspell_jupyter.providers import Provider, Turn
from llmspell_jupyter.types import Completion, DeviceName, Message


@dataclass(slots=True)
class AgentSettings:
    """What a builder collects; None takes the provider's value.

    Attributes:
        max_conversation_length: Messages that are remembered; the oldest leave first, and the
            metadata counts them.
        max_execution_time: Longest time for one answer, in seconds.
        memory_enabled: Whether the conversation is remembered at all.
        context_window: Tokens of context that the model is loaded with.
        device: What computes.
        sampling: Fields of ``types.Sampling`` that are set.
        stop: Strings that end an answer.
        grammar: GBNF grammar that answers follow.
        json_schema: JSON Schema that answers follow.
        allowed_tools: Names of tools.
        limits: Resource limits that have no meaning for a model.
    """

    name: str = ""
    description: str = "LLM-powered agent"
    provider: str | None = None
    model: str | None = None
    system_prompt: str | None = None
    max_tokens: int | None = None
    max_conversation_length: int = 100
    max_execution_time: float | None = None
    memory_enabled: bool = True
    context_window: int | None = None
    device: DeviceName | None = None
    sampling: dict[str, Any] = field(default_factory=dict)
    stop: tuple[str, ...] = ()
    grammar: str | None = None
    json_schema: dict[str, Any] | None = None
    allowed_tools: list[str] = field(default_factory=list)
    limits: dict[str, int] = field(default_factory=dict)


class Agent:
    """A model with instructions, ready to be asked.

    Attributes:
        id: Unique in this runtime.
        name: As scripts name it.
        model: Model that answers.
        provider: Provider of the model.
        state: ``Ready``, ``Running`` or ``Terminated``.
        settings: How it was built.
    """

    def __init__(self, settings: AgentSettings, provider: Provider, model: str):
        self.id = uuid.uuid4().hex
        self.name = settings.name
        self.settings = settings
        self.state = "Ready"
        self.provider = provider
        self.model = model
        self._history: list[Message] = []
        self._forgotten = 0

    def ask(self, given: Any) -> Answer:
        """Ask; iterate over the answer for its parts.

        Args:
            given: ``{text=...}`` or a string.

        Raises:
            RequestError: The input is not usable, or the agent has been destroyed.
        """
        question = Message("user", output.question(given))
        if self.state == "Terminated":
            raise RequestError(
                f"Agent '{self.name}' has been destroyed.",
                hint="Build it anew with Agent.builder().",
            )
        return Answer(self, question)

    def destroy(self) -> None:
        """End it; it answers no more."""
        self.state = "Terminated"
        self._history.clear()

    def turn(self, question: Message) -> Turn:
        """What the provider is asked: instructions, conversation and question."""
        settings = self.settings
        system = settings.system_prompt
        # An own text stands in the conversation; the usual one is for models that converse.
        persona = f"You are {self.name}, an AI assistant. {settings.description}"
        instructions = (Message("system", system),) if system else ()
        return Turn(
            model=self.model,
            messages=(*instructions, *self._history, question),
            persona=persona if system is None else None,
            sampling=settings.sampling,
            max_tokens=settings.max_tokens,
            stop=settings.stop,
            grammar=settings.grammar,
            json_schema=settings.json_schema,
            context_size=settings.context_window,
            device=settings.device,
        )

    def remember(self, *messages: Message) -> None:
        """Add to the conversation; beyond its length the oldest messages leave."""
        if not self.settings.memory_enabled:
            return
        self._history += messages
        surplus = len(self._history) - max(self.settings.max_conversation_length, 2)
        if surplus > 0:
            del self._history[:surplus]
            self._forgotten += surplus

    def metadata(self, completion: Completion, elapsed_ms: int) -> Mapping[str, Any]:
        """The metadata of an output table."""
        forgotten = {"forgotten_messages": self._forgotten} if self._forgotten else {}
        return {
            "provider": self.provider.name,
            "execution_time_ms": elapsed_ms,
            "token_count": completion.metadata.get("completion_tokens"),
            **completion.metadata,
            **forgotten,
        }


class Answer:
    """An agent's answer on its way: iterate for its parts, then read ``output``.

    The conversation grows only when the answer is complete: after an error or a stop it is as it
    was. ``cancel`` may be called from any thread; leaving the iteration early cancels, too.

    Raises:
        Interrupted: While iterating, once it has been cancelled.
        AnswerTimeout: It took longer than ``max_execution_time``.
        LLMSpellError: The provider failed.
    """

    def __init__(self, agent: Agent, question: Message):
        self.agent = agent
        #: The output table, once the iteration is over.
        self.output: dict[str, Any] = {}
        self._question = question
        self._started = time.monotonic()
        self._generation = agent.provider.generate(agent.turn(question))

    def __iter__(self) -> Iterator[Part]:
        agent = self.agent
        limit = agent.settings.max_execution_time or agent.provider.settings.timeout_seconds
        agent.state = "Running"
        try:
            for part in self._generation.within(limit):
                if isinstance(part, Completion):
                    self._complete(part)
                    yield part
                    return
                yield part
        finally:
            self.cancel()
            agent.state = "Ready" if agent.state == "Running" else agent.state
        raise Interrupted("The answer was stopped.")

    def cancel(self) -> None:
        """Stop it; nothing happens when it is over."""
        self._generation.cancel()

    def _complete(self, completion: Completion) -> None:
        self.agent.remember(self._question, Message("assistant", completion.text))
        elapsed = round((time.monotonic() - self._started) * 1000)
        self.output = output.table(completion, self.agent.metadata(completion, elapsed))
