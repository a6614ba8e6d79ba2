"""Which files of a repository make one model. Names only; nothing is asked."""

from __future__ import annotations

import re
import types
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from llmspell_jupyter.errors import BadModelFile, ModelNotFound, UnsafeFormat, UnsupportedModel
from llmspell_jupyter.models import gguf_names, spec
from llmspell_jupyter.models.folder import UNSAFE_ENDINGS
from llmspell_jupyter.models.safetensors import INDEX

_WHOLE = ("BF16", "F16", "F32")

#: Quantisations in the order in which they are taken when none is asked for: the smallest one
#: that loses little, then larger ones, then those that lose more, then whole weights.
PREFERENCE = (
    *("Q4_K_M", "Q4_K_S", "IQ4_NL", "IQ4_XS", "Q5_K_M", "Q5_K_S", "Q4_1", "Q4_0"),
    *("Q6_K", "Q5_1", "Q5_0", "Q8_0", "MXFP4", "MXFP4_MOE", "Q4_K", "Q5_K"),
    *("Q3_K_L", "Q3_K_M", "Q3_K_S", "IQ3_M", "IQ3_S", "IQ3_XS", "IQ3_XXS", "Q2_K", "Q2_K_S"),
    *("IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "TQ2_0", "IQ1_M", "IQ1_S", "TQ1_0"),
    *_WHOLE,
)

_NONE: Mapping[str, str] = types.MappingProxyType({})

#: Word that asks for safetensors where a repository has GGUF files, too.
SAFETENSORS = "safetensors"

_SINGLE = "model.safetensors"
_CONFIG = "config.json"

# Beside the weights of a safetensors model: whatever says how it reads, writes and pools.
_BESIDE = re.compile(
    r"config\.json|generation_config\.json|tokenizer\.json|tokenizer_config\.json"
    r"|special_tokens_map\.json|spiece\.model|tokenizer\.model|sentencepiece\.bpe\.model"
    r"|vocab\.[a-z]+|merges\.txt|added_tokens\.json|chat_template\.[a-z0-9]+"
    r"|modules\.json|1_Pooling/config\.json|sentence_bert_config\.json"
    r"|config_sentence_transformers\.json"
)
_TYPES = frozenset({"F32", "F16", "BF16", "FP32", "FP16"})
_BITS = re.compile(r"Q[1-8]")
_LARGER = re.compile(r"(?P<whole>(?P<bits>Q[1-8])_K)_X{0,2}L")
# Names of files that change another model.
_ADAPTER = re.compile(r"-lora|^lora|adapter", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class GgufModel:
    """One model of a repository: a GGUF file, or all parts of one.

    Attributes:
        quantization: As the name tells it; None when it tells none.
        paths: Its files, in order.
        parts: How many there should be.
    """

    quantization: str | None
    paths: tuple[str, ...]
    parts: int = 1


def gguf_models(paths: Iterable[str], known: Mapping[str, str] = _NONE) -> list[GgufModel]:
    """The GGUF models among files, the preferred quantisation first; no adapters, by their names.

    Args:
        paths: Files of a repository.
        known: Quantisations of files that a catalog names.
    """
    return [each for each in _all(paths, known) if each.paths[0] in known or not _adapts(each)]


def gguf_offered(
    paths: Sequence[str], asked: str | None, known: Mapping[str, str] = _NONE
) -> list[GgufModel]:
    """The GGUF models of which one may be taken, the preferred quantisation first.

    A model that an adapter was merged into can have an adapter's name. It counts where its file is
    asked for, and where there is no other model.

    Args:
        paths: Files of a repository.
        asked: A quantisation or a file; None leaves it open.
        known: Quantisations of files that a catalog names.
    """
    every = _all(paths, known)
    if named := [each for each in every if asked in each.paths]:
        return named
    if (plain := gguf_models(paths, known)) or not any(map(_may_be_model, paths)):
        return plain or every
    kinds = ((each, each.quantization) for each in every)
    return [each for each, kind in kinds if asked and kind and spec.means_quantization(asked, kind)]


def quantizations(paths: Iterable[str]) -> tuple[str, ...]:
    """What there is of a repository, the preferred one first."""
    found = (each.quantization for each in gguf_models(paths))
    return tuple(dict.fromkeys(each for each in found if each))


def choose_gguf(
    repository: str,
    paths: Sequence[str],
    asked: str | None,
    wished: Sequence[str],
    known: Mapping[str, str] = _NONE,
) -> GgufModel:
    """One GGUF model of a repository.

    Args:
        repository: Its name, for errors.
        paths: Its files, at least one of which is a GGUF model.
        known: Quantisations of files that a catalog names; of several that fit, these.
        asked: A quantisation or a file that it must be; None takes the best one.
        wished: Quantisations that are taken if they are there, in this order.

    Raises:
        ModelNotFound: What was asked for is not there, or several fit; the error names them and
            what to type.
        BadModelFile: A part of it is missing.
    """
    models = gguf_offered(paths, asked, known)
    by_file = {path: each for each in models for path in each.paths}
    if asked is not None and asked in by_file:
        return _whole(repository, by_file[asked])
    kinds = [each.quantization for each in models]
    for kind in (asked,) if asked is not None else (*wished, *kinds):
        meant = _meant(kind, kinds)
        fitting = [each for each in models if each.quantization == meant]
        if fitting and (meant is not None or kind is None):
            listed = [each for each in fitting if each.paths[0] in known]
            return _whole(repository, _only(repository, listed or fitting))
    raise _no_such(repository, models, str(asked))


def means_safetensors(asked: str | None, paths: Iterable[str]) -> bool:
    """Whether safetensors are asked for where there may be GGUF files, too."""
    if asked is None:
        return False
    return asked.lower() == SAFETENSORS or (asked.endswith(".safetensors") and asked in paths)


def choose_safetensors(
    repository: str, paths: Sequence[str], asked: str | None = None
) -> tuple[list[str], str | None]:
    """Files of a safetensors model, without the shards that an index names.

    Args:
        repository: Its name, for errors.
        paths: Its files.
        asked: What was asked for: ``safetensors``, one of its files or the type of its numbers.

    Returns:
        The files, and the path of the index that is still to be read; None when there is none.

    Raises:
        UnsafeFormat: The weights are pickle only.
        UnsupportedModel: There is no model of a kind that can be read.
        ModelNotFound: A quantisation was asked for, which safetensors do not have.
    """
    here = set(paths)
    weights = [each for each in paths if each.endswith(".safetensors") and "/" not in each]
    index = None
    chosen = [each for each in paths if _BESIDE.fullmatch(each)]
    if _SINGLE in here:
        chosen.append(_SINGLE)
    elif INDEX in here:
        chosen.append(INDEX)
        index = INDEX
    elif len(weights) == 1 and not weights[0].startswith("adapter"):
        chosen.append(weights[0])
    else:
        raise _nothing(repository, paths)
    if _CONFIG not in here:
        raise UnsupportedModel(
            f"{repository} has safetensors and no config.json that says what they are.",
            hint=_other(repository),
            data={"repository": repository},
        )
    if asked is not None and asked.upper() not in _TYPES and not means_safetensors(asked, paths):
        raise ModelNotFound(
            f"{repository} has no {ascii(asked)[1:-1][:80]}; it has safetensors.",
            hint=f"Type: %model_pull hf.co/{repository}",
            data={"repository": repository, "asked": asked, "quantizations": []},
        )
    return sorted(chosen), index


def shards(repository: str, index: object, paths: Sequence[str]) -> list[str]:
    """The files that an index names, each of which is one of the repository's.

    Raises:
        BadModelFile: The index is damaged, or names something else.
    """
    table = index.get("weight_map") if isinstance(index, dict) else None
    names = set(table.values()) if isinstance(table, dict) and table else set()
    here = {each for each in paths if each.endswith(".safetensors") and "/" not in each}
    if not names or not all(isinstance(each, str) and each in here for each in names):
        wrong = sorted(ascii(each)[:80] for each in names if each not in here)
        raise BadModelFile(
            f"{INDEX} of {repository} "
            + (f"names {wrong[0]}, which is not there." if wrong else "names no files."),
            hint=_other(repository),
            data={"repository": repository, "files": wrong[:20]},
        )
    return sorted(str(each) for each in names)


def _all(paths: Iterable[str], known: Mapping[str, str]) -> list[GgufModel]:
    """What is a GGUF model by its name, or an adapter of one; the preferred quantisation first."""
    whole: list[GgufModel] = []
    parts: dict[tuple[str, int], list[str]] = defaultdict(list)
    for path in sorted(filter(gguf_names.is_model, paths)):
        if part := gguf_names.part(path):
            parts[part.stem, part.count].append(path)
        else:
            whole.append(GgufModel(known.get(path) or spec.quantization_of(path), (path,)))
    whole += [
        GgufModel(known.get(found[0]) or spec.quantization_of(stem), tuple(found), count)
        for (stem, count), found in parts.items()
    ]
    return sorted(whole, key=lambda each: (_place(each.quantization), _depth(each), each.paths))


def _adapts(model: GgufModel) -> bool:
    return _ADAPTER.search(model.paths[0].rpartition("/")[2]) is not None


def _may_be_model(path: str) -> bool:
    """Whether a file may be all weights of a safetensors model, or some."""
    return path.endswith(".safetensors") and "/" not in path and not path.startswith("adapter")


def _place(quantization: str | None) -> tuple[float, bool, bool]:
    """Sorts quantisations by preference; those that are not in the list go before whole weights."""
    kind = (quantization or "").removeprefix("UD-")
    usual = _usual(kind)
    unknown = PREFERENCE.index(_WHOLE[0]) - 0.5 if kind else len(PREFERENCE)
    place = PREFERENCE.index(usual) if usual in PREFERENCE else unknown
    # The maker's own file goes before one that was made another way.
    return place, usual != kind, (quantization or "").startswith("UD-")


def _usual(kind: str) -> str:
    """The kind that a larger one was made from, such as Q4_K_M for Q4_K_L and Q4_K_XL."""
    match = None if kind in PREFERENCE else _LARGER.fullmatch(kind)
    if match is None:
        return kind
    whole, bits = match["whole"], match["bits"]
    found = (f"{whole}_L", f"{whole}_M", whole, f"{bits}_0")
    return next((each for each in found if each in PREFERENCE), kind)


def _depth(model: GgufModel) -> int:
    return model.paths[0].count("/")


def _meant(kind: str | None, kinds: Sequence[str | None]) -> str | None:
    """The quantisation that a word means: ``fp16`` is F16, ``q4`` the preferred one of 4 bits."""
    if kind is None:
        return None
    word = spec.quantization_of(f"x-{kind}.gguf") or kind.upper()
    if word not in kinds and _BITS.fullmatch(word):
        return next((each for each in kinds if each and each.startswith(f"{word}_")), None)
    return word


def _only(repository: str, fitting: Sequence[GgufModel]) -> GgufModel:
    least = min(map(_depth, fitting))
    top = [each for each in fitting if _depth(each) == least]
    if len(top) == 1:
        return top[0]
    names = [each.paths[0] for each in top]
    raise ModelNotFound(
        f"{repository} has several models of that kind: {_listed(names)}.",
        hint=f"Name the file, such as: %model_pull hf.co/{repository}:{names[0]}",
        data={"repository": repository, "files": names[:100]},
    )


def _whole(repository: str, model: GgufModel) -> GgufModel:
    if len(model.paths) == model.parts:
        return model
    raise BadModelFile(
        f"{repository} has {len(model.paths)} of {model.parts} parts of {model.paths[0]}.",
        hint=_other(repository),
        data={"repository": repository, "files": list(model.paths)},
    )


def _no_such(repository: str, models: Sequence[GgufModel], asked: str) -> ModelNotFound:
    kinds = list(dict.fromkeys(each.quantization for each in models if each.quantization))
    names = kinds or [each.paths[0] for each in models]
    return ModelNotFound(
        f"{repository} has no {ascii(asked)[1:-1][:80]}; it has {_listed(names)}.",
        hint=f"Type: %model_pull hf.co/{repository}:{names[0]}",
        data={"repository": repository, "asked": asked, "quantizations": kinds},
    )


def _nothing(repository: str, paths: Sequence[str]) -> Exception:
    pickled = [each for each in paths if f".{each.rpartition('.')[2].lower()}" in UNSAFE_ENDINGS]
    if pickled:
        return UnsafeFormat(
            f"{repository} is not fetched: its weights are held as {pickled[0]}, and reading such "
            "a file can run code that is in it.",
            hint=_other(repository),
            data={"repository": repository, "files": pickled[:20]},
        )
    return UnsupportedModel(
        f"{repository} has no GGUF file and no model.safetensors; it has "
        f"{_listed(sorted(paths)) or 'no files'}.",
        hint=_other(repository),
        data={"repository": repository},
    )


def _other(repository: str) -> str:
    name = repository.rpartition("/")[2]
    return f"Look for the same model as GGUF or safetensors: %model_available --search {name}"


def _listed(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(ascii(each)[1:-1] for each in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
