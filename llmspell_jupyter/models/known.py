"""What is known of a model's memory and work, wherever it is known from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from llmspell_jupyter.models import estimate, gguf_need, gguf_work, safetensors_need, spec
from llmspell_jupyter.models.catalog_file import CatalogModel, CatalogShape
from llmspell_jupyter.models.folder import ModelFolder
from llmspell_jupyter.models.gguf_reader import Walk
from llmspell_jupyter.models.gguf_work import Work
from llmspell_jupyter.models.need import Need
from llmspell_jupyter.models.safetensors import TensorInfo
from llmspell_jupyter.types import LoadOptions, ModelInfo

Source = Literal["files", "catalog", "remote header", "size"]

# Where only the size is known: contexts and working space of models that are built as most are
# now, of 1 to 8 billion weights, in bytes for a token of context, and beside it.
_CELL, _BESIDE = 150_000, 500_000_000


@dataclass(frozen=True, slots=True)
class Known:
    """A model that is here or could be.

    Attributes:
        info: Its facts; one that is not here has a path at which nothing lies.
        need: Its memory when it is loaded so, by the backend of this name.
        work: What it computes for each token; None when unknown.
        source: Where this is from.
        disk_need: Bytes that are yet to be fetched.
    """

    info: ModelInfo
    need: Callable[[LoadOptions, str], Need]
    work: Work | None
    source: Source
    disk_need: int = 0


def of_files(model: ModelInfo) -> Known:
    """A model of this machine.

    Raises:
        BadModelFile: Its files are damaged.
        OSError: They have gone.
    """
    work = estimate.work(model) if model.format == "GGUF" else None
    return Known(
        model, lambda options, backend: estimate.estimate(model, options, backend), work, "files"
    )


def of_catalog(entry: CatalogModel, quantization: str | None) -> Known | None:
    """A model of a catalog; None when that does not tell shape and size.

    Args:
        entry: Its entry.
        quantization: Which of its files; None is the usual one.
    """
    chosen = quantization or entry.quantization
    size = entry.size_bytes(chosen)
    if entry.shape is None or not size:
        return None
    info = _absent(
        entry.id(chosen),
        entry.format,
        size,
        architecture=entry.architecture,
        quantization=chosen,
        parameter_count=entry.parameter_count,
        context_length=entry.context_length,
        repository=entry.repository,
        license=entry.license,
    )
    if entry.format != "GGUF":
        return _of_config(info, _config(entry.shape, info), "catalog")
    each = entry.shape
    shape = gguf_need.plain_shape(
        layers=each.layers,
        width=each.width,
        inner=each.inner,
        heads=each.heads,
        key_heads=each.key_heads,
        head=each.head,
        vocabulary=each.vocabulary,
        trained=entry.context_length or 0,
    )
    work = gguf_work.of_mix(
        *(chosen or "", size, entry.parameter_count),
        shape=shape,
        layers=each.layers,
        table=each.vocabulary * each.width,
    )
    return Known(info, _of_shape(shape, size), work, "catalog", size)


def of_header(model_id: str, walk: Walk, size_bytes: int, repository: str, name: str) -> Known:
    """A GGUF model whose header was read from afar.

    Args:
        model_id: Its id.
        walk: The header, of the first file if there are several.
        size_bytes: Size of all its files.
        repository: Where it lies.
        name: Of the file.
    """
    shape = gguf_need.read_shape(walk)
    architecture = walk.scalars.get("general.architecture")
    info = _absent(
        model_id,
        "GGUF",
        size_bytes,
        architecture=architecture if isinstance(architecture, str) else None,
        quantization=spec.quantization_of(name),
        parameter_count=walk.parameter_count,
        context_length=shape.trained or None,
        repository=repository,
    )
    work = gguf_work.of_header(walk, shape, size_bytes)
    return Known(info, _of_shape(shape, size_bytes), work, "remote header", size_bytes)


def of_config(model_id: str, config: Mapping[str, Any], size_bytes: int, repository: str) -> Known:
    """Safetensors whose ``config.json`` was read from afar; it may hold anything.

    Args:
        model_id: Its id.
        config: What stands in it.
        size_bytes: Size of the weights.
        repository: Where they lie.
    """
    kind = config.get("model_type")
    number = 4 if config.get("torch_dtype", config.get("dtype")) == "float32" else 2
    info = _absent(
        model_id,
        "safetensors",
        size_bytes,
        architecture=kind if isinstance(kind, str) else None,
        parameter_count=size_bytes // number,
        repository=repository,
    )
    return _of_config(info, config, "remote header")


def of_size(
    model_id: str, form: str, size_bytes: int, repository: str, quantization: str | None = None
) -> Known:
    """A model of which nothing but the size is known; its context is a guess.

    Args:
        model_id: Its id.
        form: ``GGUF`` or ``safetensors``.
        size_bytes: Size of the weights.
        repository: Where they lie.
        quantization: If known.
    """
    info = _absent(model_id, form, size_bytes, repository=repository, quantization=quantization)

    def need(options: LoadOptions, _: str) -> Need:
        context = options.context_size or LoadOptions().context_size
        wide = 2 if form == "safetensors" else 1
        return Need(wide * size_bytes, _CELL * context, _BESIDE)

    return Known(info, need, None, "size", size_bytes)


def _of_shape(shape: gguf_need.Shape, size: int) -> Callable[[LoadOptions, str], Need]:
    return lambda options, _: gguf_need.need(shape, size, options)


def _of_config(info: ModelInfo, config: Mapping[str, Any], source: Source) -> Known:
    count = info.parameter_count or info.size_bytes // 2
    folder = ModelFolder(
        path=info.path,
        model_type=info.architecture or "",
        config=config,
        shards=(),
        tensors=_halves(config, count),
        parameter_count=count,
        dtype="BF16",
        size_bytes=info.size_bytes,
    )
    return Known(
        info,
        lambda options, backend: safetensors_need.need(folder, options, backend),
        None,
        source,
        info.size_bytes,
    )


def _halves(config: Mapping[str, Any], count: int) -> dict[str, TensorInfo]:
    """Tensors of an encoder and a decoder, which attends to the encoder as well: two and three."""
    sizes = (config.get("vocab_size"), config.get("d_model", config.get("hidden_size")))
    rows, width = (each if type(each) is int and each > 0 else 0 for each in sizes)
    rest = max(0, count - rows * width)
    return {
        name: TensorInfo("BF16", shape, Path(), 0)
        for name, shape in (
            ("shared.weight", (rows, width)),
            ("encoder.weights", (2, rest // 5)),
            ("decoder.weights", (3, rest // 5)),
        )
    }


def _config(shape: CatalogShape, info: ModelInfo) -> dict[str, Any]:
    return {
        "model_type": info.architecture,
        "num_hidden_layers": shape.layers,
        "num_decoder_layers": shape.layers,
        "hidden_size": shape.width,
        "intermediate_size": shape.inner,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_heads,
        "head_dim": shape.head,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": info.context_length,
    }


def _absent(model_id: str, form: str, size_bytes: int, **facts: Any) -> ModelInfo:
    return ModelInfo(
        id=model_id,
        backend="candle",
        path=Path(),
        format=form,
        size_bytes=size_bytes,
        modified_at=0,
        store="none",
        **facts,
    )
