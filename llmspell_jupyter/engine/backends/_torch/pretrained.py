"""Models that transformers knows, built from a checked folder and its memory-mapped weights.

Nothing of the folder is handed to transformers but the cleaned configuration and tensors, and it
is never told where the folder lies: it has no file to import and no name to look up.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Iterable
from typing import Any, Literal

from llmspell_jupyter.engine.backend import LoadProgress
from llmspell_jupyter.engine.backends._torch.library import install_line, torch
from llmspell_jupyter.errors import BackendMissing, BadModelFile, UnsupportedModel
from llmspell_jupyter.models.folder import ModelFolder
from llmspell_jupyter.models.problems import bad_file

Task = Literal["embed", "generate"]

_CLASSES = {"embed": "MODEL_MAPPING", "generate": "MODEL_FOR_CAUSAL_LM_MAPPING"}

# How configurations call the number of layers.
_LAYERS = re.compile(r"(num|n)_((hidden|encoder|decoder)_)?layers?|(encoder|decoder)_layers")
# Computed from the configuration; older files hold them as well.
_COMPUTED = re.compile(
    r"(^|\.)(position_ids|token_type_ids|inv_freq|attn(ention)?\.(masked_)?bias)$"
)
# Made for the first token of a text, and not part of the vectors of tokens.
_POOLER = re.compile(r"(^|\.)pooler\.")

# Shares of a load after which its parts are done.
_IMPORTED, _CHECKED = 0.4, 0.5


def build(
    folder: ModelFolder, task: Task, number_type: Any, device: Any, progress: LoadProgress
) -> Any:
    """The model of a folder with its weights, ready to compute.

    Weights that are of ``number_type`` already stay mapped to their files on a CPU.

    Args:
        folder: As ``inspect_folder`` found it.
        task: What it is for.
        number_type: torch's type of its numbers.
        device: torch's device.
        progress: Told how much is done.

    Raises:
        BackendMissing: transformers or safetensors is not installed.
        BadModelFile: Configuration and weights do not go together; names what is wrong.
        UnsupportedModel: transformers does not know such models.
    """
    progress(0.0)
    model_class, config = _model_class(folder, task)
    progress(_IMPORTED)
    _check_size(folder, model_class, config)
    progress(_CHECKED)
    weights = _weights(folder)
    try:
        model, found = model_class.from_pretrained(
            None,
            config=config,
            state_dict=weights,
            dtype=number_type,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            local_files_only=True,
        )
    except Exception as error:  # Whatever its checks raise.
        raise _not_taken(folder, error) from None
    _check_names(folder, model, found, task)
    if task == "embed" and hasattr(model, "pooler"):
        model.pooler = None
    model = model.to(device).eval().requires_grad_(False)
    progress(1.0)
    return model


def dynamic_cache(model: Any) -> Any:
    """What a causal model remembers of one text; it grows with the text."""
    return _transformers("cache_utils").DynamicCache(config=model.config)


def library(name: str) -> Any:
    """A library that comes with the extra ``torch``, imported at first use.

    Raises:
        BackendMissing: It is not installed, or its native part cannot be loaded.
    """
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise BackendMissing(
            f"{name.partition('.')[0]}, which runs safetensors models, cannot be imported: {error}",
            hint=f"Type in a terminal: {install_line()}",
            data={"install": install_line()},
        ) from error


@functools.cache
def _transformers(module: str) -> Any:
    # What it logs belongs into the worker's log, in the worker's form.
    logging = library("transformers.utils.logging")
    logging.disable_default_handler()
    logging.enable_propagation()
    logging.disable_progress_bar()
    return library(f"transformers.{module}")


def _model_class(folder: ModelFolder, task: Task) -> tuple[Any, Any]:
    torch()
    configurations = _transformers("models.auto.configuration_auto").CONFIG_MAPPING
    classes = getattr(_transformers("models.auto.modeling_auto"), _CLASSES[task])
    try:
        config_class = configurations[folder.model_type]
        model_class = classes[config_class]
    except KeyError:
        version = library("transformers").__version__
        raise UnsupportedModel(
            f"{folder.path.name} is a {folder.model_type!r} model, which transformers {version} "
            f"cannot use to {task}.",
            hint=f"A newer transformers may; type in a terminal: {install_line()} --upgrade",
            data={"path": str(folder.path), "found": folder.model_type},
        ) from None
    _check_layers(folder)
    values = dict(folder.config)
    # Outputs are read by name, and texts as a whole, whatever the file says.
    values.pop("model_type")
    values |= {"return_dict": True, "output_hidden_states": False, "output_attentions": False}
    try:
        return model_class, config_class(**values)
    except Exception as error:  # Whatever its checks raise.
        raise _not_taken(folder, error) from None


def _check_layers(folder: ModelFolder) -> None:
    """Refuse a claim of more layers than there are tensors before any of them is made."""
    for key, value in folder.config.items():
        if _LAYERS.fullmatch(key) and type(value) is int and value > len(folder.tensors):
            raise _bad(folder, f"{key} is {value:,}, more than there are tensors in the weights")


def _check_size(folder: ModelFolder, model_class: Any, config: Any) -> None:
    """Refuse a claim of a far larger model than the weights are before memory is taken for it."""
    try:
        with torch().device("meta"):
            claimed = sum(each.numel() for each in model_class(config).parameters())
    except Exception as error:  # Whatever its checks raise.
        raise _not_taken(folder, error) from None
    # Weights that are shared count twice here.
    if claimed > 2 * folder.parameter_count:
        raise _bad(
            folder,
            f"its config.json describes a model of {claimed:,} weights, and the files hold "
            f"{folder.parameter_count:,}",
        )


def _weights(folder: ModelFolder) -> dict[str, Any]:
    open_shard = library("safetensors").safe_open
    weights = {}
    for shard in folder.shards:
        with open_shard(str(shard), framework="pt", device="cpu") as file:
            for name in file.keys():  # noqa: SIM118 - it is no mapping
                if name in folder.tensors:
                    weights[name] = file.get_tensor(name)
    return weights


def _check_names(folder: ModelFolder, model: Any, found: Any, task: Task) -> None:
    """Refuse weights of which some are missing, of another shape or not used."""
    for name, shape, wanted in found["mismatched_keys"]:
        raise _bad(folder, f"{name} has the shape {tuple(shape)}; it must be {tuple(wanted)}")
    missing = {name for name in found["missing_keys"] if not _COMPUTED.search(name)}
    surplus = {name for name in found["unexpected_keys"] if not _COMPUTED.search(name)}
    if task == "embed":
        missing = {name for name in missing if not _POOLER.search(name)}
        surplus = {name for name in surplus if not _POOLER.search(name)}
        inside = f"{model.base_model_prefix}."
        if any(name.startswith(inside) for name in folder.tensors):
            # What lies beside the encoder are heads for other tasks.
            surplus = {name for name in surplus if name.startswith(inside)}
    if missing:
        raise _bad(folder, "the weights lack", missing)
    if surplus:
        raise _bad(folder, "the weights have a surplus of", surplus)


def _not_taken(folder: ModelFolder, error: Exception) -> BadModelFile:
    lines = " ".join(str(error).split())
    return _bad(folder, f"transformers does not take its config.json: {lines[:300]}")


def _bad(folder: ModelFolder, cause: str, names: Iterable[str] = ()) -> BadModelFile:
    listed = sorted(names)
    if listed:
        more = f" and {len(listed) - 3:,} more" if len(listed) > 3 else ""
        cause = f"{cause} {', '.join(listed[:3])}{more}"
    error = bad_file(folder.path, cause)
    error.data["tensors"] = listed[:100]
    return error
