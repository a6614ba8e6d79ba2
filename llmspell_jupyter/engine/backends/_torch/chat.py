"""The chat template of a model folder, and the texts of the tokens around a conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmspell_jupyter.engine.backends._torch.tokenizer import Tokenizer
from llmspell_jupyter.engine.chat_template import ChatTemplate
from llmspell_jupyter.errors import RequestError
from llmspell_jupyter.models.folder import ModelFolder
from llmspell_jupyter.models.problems import bad_file
from llmspell_jupyter.types import Message

_LARGEST = 1_000_000


class Conversations:
    """Writes conversations as the model was trained to see them.

    Attributes:
        begin: Id of the token that begins a text; None when there is none.

    Raises:
        BadModelFile: The folder's files on it are damaged.
    """

    def __init__(self, folder: ModelFolder, tokenizer: Tokenizer):
        said = folder.json("tokenizer_config.json") or {}
        names = folder.json("special_tokens_map.json") or {}
        begin = _text(said.get("bos_token")) or _text(names.get("bos_token"))
        end = _text(said.get("eos_token")) or _text(names.get("eos_token"))
        self.begin = tokenizer.id(begin) if begin else None
        source = _template_file(folder) or _template(said)
        self._template = (
            ChatTemplate(source, bos_token=begin, eos_token=end) if source is not None else None
        )

    def render(self, model: str, messages: Sequence[Message]) -> str:
        """The conversation as text, ready for an answer.

        Args:
            model: The model's id, for errors.
            messages: What was said.

        Raises:
            RequestError: The model has no chat template, or that does not take the conversation.
        """
        if self._template is None:
            raise RequestError(
                f"{model} has no chat template, so it cannot take messages.",
                hint="Give it a plain prompt; it is a model that continues text.",
                data={"field": "messages"},
            )
        return self._template.render(messages)


def _template_file(folder: ModelFolder) -> str | None:
    path = folder.file("chat_template.jinja")
    if path is None:
        return None
    with path.open("rb") as file:
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise bad_file(path, f"it is longer than {_LARGEST:,} bytes")
    return data.decode("utf-8", "replace")


def _template(said: Mapping[str, Any]) -> str | None:
    source = said.get("chat_template")
    if isinstance(source, list):
        # Several for several uses.
        named = {each.get("name"): each for each in source if isinstance(each, dict)}
        source = named.get("default", {}).get("template")
    return source if isinstance(source, str) else None


def _text(token: Any) -> str:
    """The text of a special token, which stands plain or in a table."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else ""
