"""Loading a model with llama.cpp, and saying why when it cannot be loaded."""

from __future__ import annotations

import ctypes
import logging
import os
from dataclasses import dataclass
from typing import Any

from llmspell_jupyter.engine import shortage
from llmspell_jupyter.engine.backend import LoadProgress
from llmspell_jupyter.engine.backends._llama.devices import device_list
from llmspell_jupyter.engine.backends._llama.library import NativeLog
from llmspell_jupyter.engine.backends._llama.vocabulary import Vocabulary
from llmspell_jupyter.engine.chat_template import ChatTemplate
from llmspell_jupyter.engine.device import Device
from llmspell_jupyter.errors import BadModelFile, NotEnoughMemory
from llmspell_jupyter.types import LoadOptions, ModelInfo

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """Weights, and what has been decided about them.

    Attributes:
        lib: The library.
        log: Its log.
        handle: The native model.
        vocabulary: Its vocabulary.
        info: The model.
        options: How it was to be loaded.
        device: What computes.
        context_size: Tokens of context of an answer.
        trained_context: Tokens of context that the model was trained for.
        threads: Threads for answering.
        threads_batch: Threads for reading prompts.
    """

    lib: Any
    log: NativeLog
    handle: Any
    vocabulary: Vocabulary
    info: ModelInfo
    options: LoadOptions
    device: Device
    context_size: int
    trained_context: int
    threads: int
    threads_batch: int

    @property
    def gpu_layers(self) -> int:
        """Layers that are on a GPU, the output layer included."""
        if self.device.name == "cpu":
            return 0
        layers: int = self.lib.llama_model_n_layer(self.handle) + 1
        return layers if self.options.gpu_layers < 0 else min(self.options.gpu_layers, layers)


def load_model(
    lib: Any,
    log: NativeLog,
    info: ModelInfo,
    gpu_layers: int,
    gpus: tuple[int, ...],
    progress: LoadProgress,
) -> Any:
    """Map a GGUF file; the handle is to be given back with ``llama_model_free``.

    Args:
        lib: The library.
        log: Its log.
        info: The model.
        gpu_layers: Layers that go to a GPU; -1 means all.
        gpus: Handles of the GPUs that may be used; none keeps everything on the CPU.
        progress: Told how much is read.

    Raises:
        NotEnoughMemory: llama.cpp got no memory for it.
        BadModelFile: llama.cpp refuses the file, or it is neither a decoder-only language model
            nor an embedding model.
    """
    if not info.path.is_file():
        raise _bad_file(info, "there is no such file")
    params = lib.llama_model_default_params()
    devices = device_list(gpus)
    params.devices = ctypes.cast(devices, ctypes.c_void_p)
    params.n_gpu_layers = gpu_layers if gpus else 0

    def on_progress(share: float, _: Any) -> bool:
        progress(share)
        return True

    callback = lib.llama_progress_callback(on_progress)
    params.progress_callback = callback
    log.forget()
    handle = lib.llama_model_load_from_file(os.fsencode(info.path), params)
    if handle is None:
        raise _bad_file(info, log.take_errors() or "llama.cpp refuses it and does not say why")
    if cause := _of_no_use(lib, handle):
        lib.llama_model_free(handle)
        raise not_a_language_model(info, cause)
    return handle


def _of_no_use(lib: Any, handle: Any) -> str:
    architecture = metadata(lib, handle, "general.architecture")
    if lib.llama_model_has_encoder(handle) or not lib.llama_model_has_decoder(handle):
        return f"its architecture, {architecture}, reads with an encoder"
    if lib.llama_model_is_diffusion(handle):
        return f"its architecture, {architecture}, writes by diffusion"
    if lib.llama_vocab_type(lib.llama_model_get_vocab(handle)) == lib.LLAMA_VOCAB_TYPE_NONE:
        return "it holds no vocabulary"
    return ""


def only_embeds(lib: Any, handle: Any) -> bool:
    """Whether the model looks at a text as a whole, as embedding models of the BERT family do."""
    architecture = metadata(lib, handle, "general.architecture")
    return metadata(lib, handle, f"{architecture}.attention.causal") == "false"


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


def _bad_file(info: ModelInfo, cause: str) -> BadModelFile | NotEnoughMemory:
    return shortage.of_library(info, cause) or BadModelFile(
        f"{info.path} cannot be loaded: {cause}.",
        hint="Fetch or copy the file again; %model_list shows the models that can be used.",
        data={"path": str(info.path), "cause": cause},
    )
