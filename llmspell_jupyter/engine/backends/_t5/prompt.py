"""What a T5 model is given to read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llmspell_jupyter.engine.limits import LONGEST_PROMPT, ledger, overflow
from llmspell_jupyter.types import GenerationRequest, Message


def prompt_text(messages: Sequence[Message] | None, prompt: str | None) -> str:
    """The text of a request.

    T5 has no chat template and does not converse: it reads the instructions and the last message,
    a line each. Earlier turns would be one text with the last for it.
    """
    if prompt is not None:
        return prompt
    return "\n".join(message.content for message in read_messages(messages or ()))


def prompt_tokens(
    request: GenerationRequest, encode: Callable[[str], list[int]], context_size: int
) -> list[int]:
    """The tokens of a request, with the one that ends a text.

    Raises:
        ContextOverflow: They are more than the context holds.
    """
    tokens = encode(prompt_text(request.messages, request.prompt))
    if len(tokens) > context_size:
        read = read_messages(request.messages) if request.messages else None
        # The token that ends a text counts once.
        parts = ledger(read, len(tokens), lambda text: len(encode(text)) - 1)
        raise overflow(len(tokens), context_size, LONGEST_PROMPT, parts)
    return tokens


def read_messages(messages: Sequence[Message]) -> list[Message]:
    """The messages that are read: instructions, and the last one."""
    *before, last = messages
    return [*(each for each in before if each.role == "system"), last]


def unread(messages: Sequence[Message] | None) -> dict[str, int]:
    """For metadata: how many messages of a conversation are not read; empty when all are."""
    count = len(messages) - len(read_messages(messages)) if messages else 0
    return {"unread_messages": count} if count else {}
