"""The chat template that a model file carries, rendered as transformers does.

A template is a program from whoever made the file. It runs in Jinja's immutable sandbox, within
a limit of time, memory and size of what it writes.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from jinja2 import Template, nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llmspell_jupyter.config.escaping import printable
from llmspell_jupyter.engine.limits import LONGEST_PROMPT
from llmspell_jupyter.errors import RequestError
from llmspell_jupyter.types import Message

_SECONDS = 1.0
_MEMORY = 256 * 2**20
_BITS = 10_000
_LONGEST_MESSAGE = 500

# Single calls that could take long however little memory there is; no chat needs them.
_BARRED_FILTERS = ("round", "striptags", "urlize", "wordwrap")


class ChatTemplate:
    """A model's chat template.

    Args:
        source: The template's text.
        bos_token: Text of the token that begins a sequence; may be empty.
        eos_token: Text of the token that ends one; may be empty.
    """

    def __init__(self, source: str, *, bos_token: str = "", eos_token: str = ""):
        self._source = source
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}
        self._template: Template | None = None

    def render(self, messages: Sequence[Message]) -> str:
        """The conversation as the model was trained to see it, ready for an answer.

        Raises:
            RequestError: The template is broken, refuses the conversation, does what it may
                not, or takes more than a second or 256 MiB; the message names the cause.
        """
        try:
            with _memory_limit():
                return self._render(messages)
        except _RefusalError as refusal:
            cause = f"does not take this conversation: {_shown(refusal)}"
        except _OutOfTime:
            cause = f"ran for more than {_SECONDS:g} s and was stopped."
        except _SizeError:
            cause = f"wrote more than {LONGEST_PROMPT:,} characters and was stopped."
        except MemoryError:
            cause = f"took more than {_MEMORY // 2**20} MiB and was stopped."
        except SecurityError as error:
            cause = f"reached for what it may not have: {_shown(error)}"
        except Exception as error:
            # Whatever a foreign program can raise.
            cause = f"failed: {type(error).__name__}: {_shown(error)}"
        raise RequestError(
            f"The model's chat template {cause}",
            hint="Use a plain prompt, in the form that this model was trained on.",
        )

    def _render(self, messages: Sequence[Message]) -> str:
        if self._template is None:
            self._template = _environment().from_string(self._source)
        pieces = self._template.generate(
            messages=[{"role": each.role, "content": each.content} for each in messages],
            add_generation_prompt=True,
            tools=None,
            documents=None,
            **self._tokens,
        )
        text, size = [], 0
        with _time_limit():
            for piece in pieces:
                text.append(piece)
                size += len(piece)
                if size > LONGEST_PROMPT:
                    raise _SizeError
        return "".join(text)


def _shown(error: Exception) -> str:
    """What the template says, or a library says of it."""
    return printable(str(error), _LONGEST_MESSAGE)


class _RefusalError(TemplateError):
    """The template called ``raise_exception``."""


class _SizeError(Exception):
    pass


class _OutOfTime(BaseException):
    """Not an ``Exception``, so that no filter takes it for a failed conversion."""


class _Sandbox(ImmutableSandboxedEnvironment):
    """Keeps single operations short: a number of a million digits cannot be interrupted."""

    intercepted_binops = frozenset(["*", "**"])

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if isinstance(left, int) and isinstance(right, int):
            left_bits, right_bits = left.bit_length(), right.bit_length()
            bits = left_bits + right_bits if operator == "*" else left_bits * max(0, right)
            if bits > _BITS:
                raise SecurityError(f"a number of {bits} bits")
        return super().call_binop(context, operator, left, right)


class _GenerationTag(Extension):
    """``{% generation %}`` marks answers for training; here it only contains them."""

    tags = {"generation"}  # noqa: RUF012 - as the base class declares it

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> _Sandbox:
    environment = _Sandbox(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    for name in _BARRED_FILTERS:
        del environment.filters[name]
    del environment.globals["lipsum"]
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own filter escapes for HTML, which no model was trained on.
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise_exception(message: str) -> NoReturn:
    raise _RefusalError(str(message))


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    """Stop Python code of this thread after a second of its processor time.

    A loop without output yields nothing to check between pieces, so each line is traced. A
    single call of a C function is not interrupted; the limit of memory bounds those.
    """
    deadline = time.thread_time() + _SECONDS
    lines = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal lines
        lines += 1
        # The clock of a thread is a system call.
        if lines % 64 == 0 and time.thread_time() > deadline:
            raise _OutOfTime
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


@contextlib.contextmanager
def _memory_limit() -> Iterator[None]:
    """Let this process grow by ``_MEMORY`` bytes at most, where the system can hold it to that."""
    if sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    most = [each for each in (soft, hard) if each != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([now + _MEMORY, *most]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
