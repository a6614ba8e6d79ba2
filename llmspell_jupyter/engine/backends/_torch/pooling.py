"""One vector of a text from the vectors of its tokens, as a sentence-transformers folder says."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llmspell_jupyter.engine.backends._torch.library import torch
from llmspell_jupyter.errors import UnsupportedModel
from llmspell_jupyter.models.folder import ModelFolder
from llmspell_jupyter.models.problems import bad_file

_LARGEST = 100_000
_KNOWN = ("Transformer", "Pooling", "Normalize")


@dataclass(frozen=True, slots=True)
class Pooling:
    """How token vectors become one; several ways are put side by side.

    Attributes:
        modes: Names of the ways, such as ``mean``, in the order of their vectors.
    """

    modes: tuple[str, ...] = ("mean",)

    def __call__(self, vectors: Any, mask: Any) -> Any:
        """Pool a batch.

        Args:
            vectors: Tensor of texts x tokens x width.
            mask: Tensor of texts x tokens: 1 for a token, 0 for padding, which is at the end.

        Returns:
            Tensor of texts x (width times the number of modes), 32-bit floats of length 1.
        """
        vectors = vectors.float()
        pooled = [_MODES[mode](vectors, mask.unsqueeze(-1).float()) for mode in self.modes]
        return torch().nn.functional.normalize(torch().cat(pooled, dim=-1), dim=-1)


def read_pooling(folder: ModelFolder) -> Pooling:
    """How the folder says that its vectors are made; the mean where it says nothing.

    Raises:
        BadModelFile: What it says makes no sense.
        UnsupportedModel: Its vectors go through layers that are not here.
    """
    for module in _modules(folder):
        kind = str(module.get("type")).rpartition(".")[2]
        if kind not in _KNOWN:
            raise UnsupportedModel(
                f"The vectors of {folder.path.name} go through a module {kind[:40]!r}, which is "
                "not available here.",
                hint=f"Use a model whose modules.json names {', '.join(_KNOWN)} only.",
                data={"path": str(folder.path), "found": kind[:40]},
            )
    said = folder.json("1_Pooling/config.json") or {}
    if "pooling_mode" in said:
        named = said["pooling_mode"]
        modes = tuple(named) if isinstance(named, list) else (named,)
    else:
        modes = tuple(mode for mode, key in _KEYS.items() if said.get(key)) or ("mean",)
    for mode in modes:
        if not isinstance(mode, str) or mode not in _MODES:
            raise bad_file(
                folder.path, f"1_Pooling/config.json names the pooling mode {str(mode)[:40]!r}"
            )
    return Pooling(modes)


def _modules(folder: ModelFolder) -> list[dict[str, Any]]:
    path = folder.file("modules.json")
    if path is None:
        return []
    with path.open("rb") as file:
        data = file.read(_LARGEST + 1)
    try:
        modules = json.loads(data)
    except (ValueError, RecursionError):
        modules = None
    if not isinstance(modules, list) or not all(isinstance(each, dict) for each in modules):
        raise bad_file(folder.path, "modules.json is no list of tables")
    return modules


def _mean(vectors: Any, mask: Any) -> Any:
    return (vectors * mask).sum(1) / mask.sum(1).clamp(min=1)


def _mean_by_root(vectors: Any, mask: Any) -> Any:
    return (vectors * mask).sum(1) / mask.sum(1).clamp(min=1).sqrt()


def _weighted_mean(vectors: Any, mask: Any) -> Any:
    weights = mask.cumsum(1) * mask
    return (vectors * weights).sum(1) / weights.sum(1).clamp(min=1)


def _max(vectors: Any, mask: Any) -> Any:
    return vectors.masked_fill(mask == 0, float("-inf")).amax(1)


def _first(vectors: Any, mask: Any) -> Any:
    return vectors[:, 0]


def _last(vectors: Any, mask: Any) -> Any:
    last = mask.sum(1).long().sub(1).clamp(min=0)
    return vectors[torch().arange(len(vectors), device=vectors.device), last.squeeze(-1)]


_MODES: dict[str, Callable[[Any, Any], Any]] = {
    "cls": _first,
    "max": _max,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_by_root,
    "weightedmean": _weighted_mean,
    "lasttoken": _last,
}

# In the order in which sentence-transformers puts their vectors side by side.
_KEYS = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
