"""Small random models, what transformers makes of them, and the backends that run them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from llmspell_jupyter.engine import dispatch
from llmspell_jupyter.engine.backend import Backend, Failed, Finished, Reading, Token
from llmspell_jupyter.errors import RequestError
from llmspell_jupyter.types import (
    GenerationRequest,
    LoadOptions,
    Message,
    ModelInfo,
    Sampling,
)
from tests.support.random_t5 import write_random_t5

#: Every backend of T5; the suite runs on each.
BACKENDS = [name for name in dispatch.names() if name.endswith("_t5")]

PROMPTS = (
    "",
    "x",
    "the quick brown fox",
    "translate English to German: that is good.",
    "42 birds, 😀 and a tree; Über den Wolken " * 4,
)


def info(path: Path) -> ModelInfo:
    return ModelInfo("a-t5", "candle", path, "safetensors", size_bytes=0, modified_at=0)


def ask(prompt: str | tuple[Message, ...], **rest: Any) -> GenerationRequest:
    """A request of at most 24 tokens; keywords of a request, or of its sampling."""
    known = Sampling.__dataclass_fields__
    sampling = Sampling(**{name: rest.pop(name) for name in list(rest) if name in known})
    rest = {"max_tokens": 24, "sampling": sampling} | rest
    if isinstance(prompt, str):
        return GenerationRequest("a-t5", prompt=prompt, **rest)
    return GenerationRequest("a-t5", messages=prompt, **rest)


def left_to_torch(name: str, backend: Backend, path: Path, request: GenerationRequest) -> bool:
    """Whether this backend leaves a request to another one; it must then refuse it, too."""
    request = replace(request, options=LoadOptions(device="cpu"))
    if dispatch.backend(name).refuses(info(path), request) is None:
        return False
    with pytest.raises(RequestError):
        backend.start("r", request, lambda: False)
    assert not backend.active
    return True


def collect(backend: Backend, events: list[Any] | None = None) -> dict[str, list[Any]]:
    """The events of all requests, by their ids, once they are finished."""
    events = list(events or ())
    while backend.active:
        events += backend.step()
    answers: dict[str, list[Any]] = {}
    for event in events:
        assert not isinstance(event, Failed), event
        answers.setdefault(event.request_id, []).append(event)
    return answers


def run(
    backend: Backend, request: GenerationRequest, stopped: Callable[[], bool] = lambda: False
) -> list[Any]:
    """The events of one request."""
    backend.start("r", request, stopped)
    events = collect(backend)["r"]
    assert isinstance(events[-1], Finished)
    return events


def text(events: list[Any]) -> str:
    return "".join(event.text for event in events if not isinstance(event, Reading))


def pieces(events: list[Any]) -> list[bytes]:
    """The bytes of every token; the request asks for ``logprobs``."""
    return [bytes(event.logprob.bytes) for event in events if isinstance(event, Token)]


@dataclass
class Reference:
    """transformers on the same folder.

    Attributes:
        path: The folder.
        model: Its model.
        encode: The tokens of a text.
        whole: The text of tokens.
    """

    path: Path
    model: Any
    tokenizer: Any = field(init=False)

    def __post_init__(self) -> None:
        from llmspell_jupyter.engine.backends._t5.config import read_config
        from llmspell_jupyter.engine.backends._t5.tokenizer import load_tokenizer
        from llmspell_jupyter.models.folder import inspect_folder

        folder = inspect_folder(self.path)
        # test_tokenizer.py compares it with the tokenizers of transformers.
        self.tokenizer = load_tokenizer(folder, read_config(folder))

    def generate(self, prompt: str, **rest: Any) -> list[int]:
        """The tokens of an answer, without those that begin and end it."""
        return self._cut(self._generate(prompt, **rest).sequences[0].tolist())

    def margin(self, prompt: str, **rest: Any) -> float:
        """By how much the likeliest token led, at the place where it led least."""
        made = self._generate(prompt, **rest)
        best = [logits[0].topk(2).values for logits in made.logits]
        return min(float(two[0] - two[1]) for two in best)

    def whole(self, tokens: list[int]) -> str:
        """The text of an answer; half a character at its end is dropped."""
        data = b"".join(map(self.tokenizer.writer(), tokens))
        return data.decode("utf-8", "replace").removesuffix("\ufffd" if _half(data) else "")

    def _generate(self, prompt: str, **rest: Any) -> Any:
        rest = {"max_new_tokens": 24, "do_sample": False} | rest
        ids = torch.tensor([self.tokenizer.encode(prompt)])
        with torch.inference_mode():
            return self.model.generate(
                ids, return_dict_in_generate=True, output_logits=True, **rest
            )

    def _cut(self, tokens: list[int]) -> list[int]:
        tokens = tokens[1:]
        return tokens[: tokens.index(1)] if 1 in tokens else tokens


def _half(data: bytes) -> bool:
    """Whether bytes end inside a character."""
    import codecs

    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(data)
    return bool(decoder.getstate()[0])


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Reference]:
    """Makes a random model and loads it with transformers; the same one twice is made once."""
    made: dict[str, Reference] = {}

    def make(**rest: Any) -> Reference:
        key = repr(sorted(rest.items(), key=lambda item: item[0]))
        if key not in made:
            path = write_random_t5(tmp_path_factory.mktemp("t5") / "a-t5", **rest)
            made[key] = Reference(path, _theirs(path, rest.get("model_type", "t5"), rest))
        return made[key]

    return make


def _theirs(path: Path, model_type: str, rest: dict[str, Any]) -> Any:
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    name = {"t5": "T5", "mt5": "MT5", "umt5": "UMT5"}[model_type] + "ForConditionalGeneration"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = getattr(transformers, name).from_pretrained(
            path, dtype=rest.get("dtype", torch.float32)
        )
    model.eval()
    return model


@pytest.fixture(params=BACKENDS)
def backend_name(request: pytest.FixtureRequest) -> str:
    """Each backend in turn."""
    name: str = request.param
    return name


@pytest.fixture
def load() -> Iterator[Callable[..., Backend]]:
    """Loads a folder with a backend; single thread."""
    loaded: list[Backend] = []

    def load(path: Path, backend: str = "torch_t5", **options: Any) -> Backend:
        settings = LoadOptions(**({"cpu_threads": 1, "dtype": "float32"} | options))
        loaded.append(dispatch.backend(backend).load(info(path), settings, lambda share: None))
        return loaded[-1]

    yield load
    for backend in loaded:
        close = getattr(backend, "close", None)
        if close:
            close()
