"""What llama.cpp itself says that contexts would take; it allocates nothing.

``python llama_sizes.py FILE`` reads lists of context_size, batch_size, max_concurrent, cache type
and flash attention as JSON from standard input, and writes ``[context, working]`` in MiB for each.
It is a process of its own because llama.cpp has one log for all.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any

import llama_cpp

_TYPES = {"f32": 0, "f16": 1, "q8_0": 8}
_CONTEXT = re.compile(r"(?:kv_cache|recurrent)\S*: +size = +([0-9.]+) MiB")
_WORKING = re.compile(r"(?:compute|output) buffer size = +([0-9.]+) MiB")

_lines: list[str] = []


@llama_cpp.llama_log_callback
def _take(_level: int, text: bytes | None, _data: Any) -> None:
    _lines.append((text or b"").decode("utf-8", "replace"))


def main() -> None:
    """Print the sizes."""
    llama_cpp.llama_log_set(_take, None)
    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers, params.no_alloc = 0, True
    params.load_mode = llama_cpp.LLAMA_LOAD_MODE_NONE
    model = llama_cpp.llama_model_load_from_file(os.fsencode(sys.argv[1]), params)
    assert model, "".join(_lines)
    json.dump([_sizes(model, *setting) for setting in json.load(sys.stdin)], sys.stdout)


def _sizes(
    model: Any, context: int, batch: int, texts: int, kind: str, flash: bool
) -> tuple[float, float]:
    params = llama_cpp.llama_context_default_params()
    params.n_ctx, params.n_seq_max, params.kv_unified = context, texts, True
    params.n_batch = params.n_ubatch = batch
    params.type_k = params.type_v = _TYPES[kind]
    params.flash_attn_type = -1 if flash else 0
    params.offload_kqv = params.op_offload = False
    _lines.clear()
    made = llama_cpp.llama_init_from_model(model, params)
    said = "".join(_lines)
    assert made, said
    llama_cpp.llama_free(made)
    return sum(map(float, _CONTEXT.findall(said))), sum(map(float, _WORKING.findall(said)))


if __name__ == "__main__":
    main()
