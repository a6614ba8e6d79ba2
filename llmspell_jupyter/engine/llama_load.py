"""Loading a model with llama.cpp, and saying why when it cannot be loaded.

The library is passed in as ``lib``, because only a backend imports it.
"""

from __future__ import annotations

import ctypes
import logging
import os
import shlex
import sys
from collections import deque
from typing import Any

from llmspell_jupyter.engine.chat_template import ChatTemplate
from llmspell_jupyter.engine.llama_native import Vocabulary
from llmspell_jupyter.errors import BadModelFile
from llmspell_jupyter.types import LoadOptions, ModelInfo

_log = logging.getLogger(__name__)

# As ggml.h numbers them, which is not what llama_cpp's comments say.
_ERROR, _CONTINUED = 4, 5


def install_line() -> str:
    """Shell command that installs or rebuilds llama-cpp-python for the running interpreter.

    The flags build for every processor of this kind: a build for the processor at hand can crash
    in its first decode, and one without vision needs half the time.
    """
    python = shlex.quote(sys.executable or "python")
    return (
        'CMAKE_ARGS="-DGGML_NATIVE=OFF -DLLAVA_BUILD=OFF" '
        f'{python} -m pip install --force-reinstall --no-cache-dir "llama-cpp-python"'
    )


class NativeLog:
    """Sends what llama.cpp logs to Python's logging and keeps the last errors.

    llama.cpp has one log for the whole process; the object must live as long as the library.
    """

    def __init__(self, lib: Any):
        self._errors: deque[str] = deque(maxlen=5)
        self._level = 0
        self._line = ""
        self._callback = lib.llama_log_callback(self._take)
        lib.llama_log_set(self._callback, None)

    def take_errors(self) -> str:
        """The last errors since the last call, oldest first; may be empty."""
        # Each line begins with the name of a C function; the last only says that it failed.
        causes = [line.partition(": ")[2] or line for line in self._errors]
        self._errors.clear()
        return "; ".join(cause for cause in causes if cause != "failed to load model")

    def _take(self, level: int, text: bytes | None, _: Any) -> None:
        if level != _CONTINUED:
            self._flush()
            self._level = level
        self._line += (text or b"").decode("utf-8", "replace")
        if self._line.endswith("\n"):
            self._flush()

    def _flush(self) -> None:
        line, self._line = self._line.strip(), ""
        if not line:
            return
        if self._level == _ERROR:
            self._errors.append(line)
        _log.log(logging.WARNING if self._level == _ERROR else logging.DEBUG, "%s", line)


def load_model(lib: Any, log: NativeLog, info: ModelInfo) -> Any:
    """Map a GGUF file; the handle is to be given back with ``llama_model_free``.

    Raises:
        BadModelFile: llama.cpp refuses the file, or it is no decoder-only language model.
    """
    if not info.path.is_file():
        raise _bad_file(info, "there is no such file")
    params = lib.llama_model_default_params()
    params.n_gpu_layers = 0
    log.take_errors()
    handle = lib.llama_model_load_from_file(os.fsencode(info.path), params)
    if handle is None:
        raise _bad_file(info, log.take_errors() or "llama.cpp refuses it and does not say why")
    if cause := _not_a_decoder(lib, handle):
        lib.llama_model_free(handle)
        raise not_a_language_model(info, cause)
    return handle


def _not_a_decoder(lib: Any, handle: Any) -> str:
    architecture = metadata(lib, handle, "general.architecture")
    if lib.llama_model_has_encoder(handle) or not lib.llama_model_has_decoder(handle):
        return f"its architecture, {architecture}, reads with an encoder"
    if metadata(lib, handle, f"{architecture}.attention.causal") == "false":
        return f"its architecture, {architecture}, looks at a text as a whole, as embedders do"
    if lib.llama_model_is_diffusion(handle):
        return f"its architecture, {architecture}, writes by diffusion"
    if lib.llama_vocab_type(lib.llama_model_get_vocab(handle)) == lib.LLAMA_VOCAB_TYPE_NONE:
        return "it holds no vocabulary"
    return ""


def not_a_language_model(info: ModelInfo, cause: str) -> BadModelFile:
    """The error for a sound file of another kind of model."""
    return BadModelFile(
        f"{info.path} is not a model that continues text: {cause}.",
        hint="Choose a decoder-only language model, such as smollm2; %model_list shows them.",
        data={"path": str(info.path), "cause": cause},
    )


def context_size(lib: Any, handle: Any, info: ModelInfo, options: LoadOptions) -> int:
    """Tokens of context to set up: as asked, at most what the model was trained for."""
    trained: int = lib.llama_model_n_ctx_train(handle)
    if trained and options.context_size > trained:
        _log.warning(
            "%s was trained for %d tokens of context; context_size %d is lowered to that.",
            *(info.id, trained, options.context_size),
        )
    return min(options.context_size or trained, trained or options.context_size)


def chat_template(lib: Any, handle: Any, vocabulary: Vocabulary) -> ChatTemplate | None:
    """The file's own chat template; None when it has none."""
    source: bytes | None = lib.llama_model_chat_template(handle, None)
    if not source:
        return None
    return ChatTemplate(
        source.decode("utf-8", "replace"),
        bos_token=vocabulary.bos_text,
        eos_token=vocabulary.eos_text,
    )


def metadata(lib: Any, model: Any, key: str) -> str | None:
    """A short value of the file's metadata as text; None when it is absent."""
    buffer = ctypes.create_string_buffer(256)
    size = lib.llama_model_meta_val_str(model, key.encode(), buffer, len(buffer))
    return buffer.value.decode("utf-8", "replace") if size >= 0 else None


def _bad_file(info: ModelInfo, cause: str) -> BadModelFile:
    return BadModelFile(
        f"{info.path} cannot be loaded: {cause}.",
        hint="Fetch or copy the file again; %model_list shows the models that can be used.",
        data={"path": str(info.path), "cause": cause},
    )
