"""Headers of safetensors files: sound, or bad at once and by name (threats M3 and M4)."""

from __future__ import annotations

import json
import os
import random
import resource
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmspell_jupyter.errors import BadModelFile
from llmspell_jupyter.models import safetensors
from tests.support.clock import at_once
from tests.support.tiny_safetensors import joined, write_tiny_folder

Look = Callable[[bytes], Any]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = write_tiny_folder(tmp_path_factory.mktemp("tiny"), kind="bert")
    return folder.joinpath("model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def look(tmp_path_factory: pytest.TempPathFactory) -> Look:
    path = tmp_path_factory.mktemp("shard") / "model.safetensors"

    def look(data: bytes) -> dict[str, safetensors.TensorInfo] | BadModelFile:
        """The tensors or the error, within the time."""
        path.write_bytes(data)
        try:
            with at_once():
                return safetensors.read_shard(path)
        except BadModelFile as error:
            assert error.data["path"] == str(path) and error.data["cause"] in error.message
            assert "\n" not in error.message and len(error.message) < 1000 and error.hint
            return error

    return look


def table(**tensors: Any) -> bytes:
    return json.dumps(tensors).encode()


def entry(begin: int = 0, end: int = 8, shape: Any = (2,), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_it_agrees_with_the_library(tmp_path: Path) -> None:
    import safetensors as library

    for dtype in ("F32", "F16", "BF16"):
        folder = write_tiny_folder(tmp_path / dtype, kind="t5", dtype=dtype)
        path = folder / "model.safetensors"
        found = safetensors.read_shard(path)
        with library.safe_open(path, framework="np") as file:
            assert sorted(file.keys()) == sorted(found)
            for name, tensor in found.items():
                view = file.get_slice(name)
                assert (tuple(view.get_shape()), view.get_dtype()) == (tensor.shape, dtype)
                assert tensor.shard == path


def test_small_ones(look: Look) -> None:
    for data in (
        joined(table(a=entry()), bytes(8)),
        joined(table(a=entry(8, 16), b=entry(0, 8)), bytes(16)),
        joined(table(a=entry()) + b"   ", bytes(8)),
        joined(table(a=entry(0, 4, ())), bytes(4)),
        joined(table(a=entry(0, 0, (0, 5)), b=entry()), bytes(8)),
        joined(table(a=entry(0, 3, (6,), "F4")), bytes(3)),
        joined(table(__metadata__={"format": "pt"}, a=entry()), bytes(8)),
        joined(b"{}"),
    ):
        assert isinstance(look(data), dict), data


BAD = {
    "nothing": (b"", "it is empty"),
    "five bytes": (b"12345", "only 5 bytes"),
    "another format": (b"PK\x03\x04" * 9, "cut short or no safetensors"),
    "GGUF": (b"GGUF" + bytes(100), "cut short or no safetensors"),
    "header of 2^64-1": (b"\xff" * 8 + bytes(100), "claims 18446744073709551615 bytes"),
    "header of 2^63": (struct.pack("<Q", 2**63) + bytes(100), "claims 9223372036854775808 bytes"),
    "header longer than the file": (struct.pack("<Q", 93) + bytes(92), "claims 93 bytes"),
    "header without length": (bytes(100), "claims 0 bytes"),
    "no JSON": (joined(b"{ not json "), "not sound JSON"),
    "bytes that are no text": (joined(b'{"\xff\xfe": 1}'), "not sound JSON"),
    "a list": (joined(b" []"), "does not begin with '{'"),
    "deep": (joined(b'{"a":' * 100_000), "nested too deep"),
    "deep lists": (joined(b'{"a":' + b"[" * 100_000), "nested too deep"),
    "a number of 5000 digits": (joined(b'{"a":' + b"9" * 5_000 + b"}"), "not sound JSON"),
    "tensor twice": (joined(b'{"a":1,"a":2}'), "key 'a' stands twice"),
    "metadata that is a text": (joined(table(__metadata__="x")), "not a table of texts"),
    "metadata of numbers": (joined(table(__metadata__={"a": 1})), "not a table of texts"),
    "a number for a tensor": (joined(table(a=1)), "not dtype, shape and data_offsets"),
    "no shape": (joined(table(a={"dtype": "F32", "data_offsets": [0, 4]})), "not dtype, shape"),
    "something beside": (joined(table(a=entry() | {"x": 1}), bytes(8)), "not dtype, shape"),
    "unknown dtype": (joined(table(a=entry(dtype="Q4_K")), bytes(8)), "unknown dtype 'Q4_K'"),
    "dtype that is a list": (joined(table(a=entry(dtype=["F32"])), bytes(8)), "unknown dtype"),
    "negative length": (joined(table(a=entry(shape=(-2,))), bytes(8)), "has the shape [-2]"),
    "broken length": (joined(table(a=entry(shape=(2.0,))), bytes(8)), "has the shape [2.0]"),
    "truth for a length": (joined(table(a=entry(shape=(True, 2))), bytes(8)), "has the shape"),
    "length of 2^63": (joined(table(a=entry(shape=(2**63,))), bytes(8)), "has the shape"),
    "shape that is a number": (joined(table(a=entry(shape=2)), bytes(8)), "has the shape 2"),
    "nine dimensions": (joined(table(a=entry(shape=(1,) * 9)), bytes(8)), "has the shape"),
    "product beyond 64 bits": (joined(table(a=entry(shape=(2**62,) * 4)), bytes(8)), "takes 8"),
    "negative offset": (joined(table(a=entry(-8, 0)), bytes(8)), "has the offsets [-8, 0]"),
    "offsets turned round": (joined(table(a=entry(8, 0)), bytes(8)), "takes -8 bytes"),
    "three offsets": (joined(table(a=entry() | {"data_offsets": [0, 4, 8]})), "has the offsets"),
    "too few bytes for the shape": (joined(table(a=entry(0, 4)), bytes(4)), "takes 4 bytes"),
    "overlap": (joined(table(a=entry(), b=entry(4, 12)), bytes(12)), "overlaps another"),
    "same place": (joined(table(a=entry(), b=entry()), bytes(8)), "overlaps another"),
    "hole": (joined(table(a=entry(), b=entry(9, 17)), bytes(17)), "leaves a hole"),
    "hole at the start": (joined(table(a=entry(1, 9)), bytes(9)), "leaves a hole"),
    "cut short": (joined(table(a=entry()), bytes(7)), "cut short"),
    "something behind": (joined(table(a=entry()), bytes(9)), "behind its last tensor"),
    "long name": (joined(table(**{"x" * 1001: entry()}), bytes(8)), "1001 characters"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_header_is_named_at_once(look: Look, kind: str) -> None:
    data, says = BAD[kind]
    found = look(data)
    assert isinstance(found, BadModelFile), found
    assert says in found.data["cause"]


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux tells it")
def test_huge_claims_take_no_memory(tmp_path: Path, look: Look) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 100_000_000) + b"{")
        file.truncate(200_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with at_once(), pytest.raises(BadModelFile, match="longer than"):
        safetensors.read_shard(path)
    for data in (data for data, says in BAD.values() if "claims" in says):
        look(data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10 * 1024


def mutants(tiny: bytes, count: int) -> list[bytes]:
    """Seeded damage of every kind: flips, cuts, insertions, numbers and lengths in the header."""
    draw = random.Random(3)
    length = struct.unpack("<Q", tiny[:8])[0]
    made = []
    for number in range(count):
        data = bytearray(tiny)
        at = draw.randrange(8, 8 + length)
        kind = number % 7
        if kind == 0:
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        elif kind == 1:
            data[at] = draw.choice(b'{}[]",:0 9-.e\x00\xff')
        elif kind == 2:
            del data[draw.randrange(len(data)) :]
        elif kind == 3:
            data[:8] = struct.pack("<Q", draw.choice([0, 1, length - 1, length + 1, 2**31, 2**63]))
        elif kind == 4:
            data[at:at] = draw.randbytes(draw.randrange(1, 20))
        elif kind == 5:
            del data[at : at + draw.randrange(1, 20)]
        else:
            numbers = [i for i in range(8, 8 + length) if chr(data[i]).isdigit()]
            data[draw.choice(numbers)] = draw.choice(b"0123456789")
        made.append(bytes(data))
    return made


def test_171_mutants(look: Look, tiny: bytes) -> None:
    found = [look(data) for data in mutants(tiny, 171)]
    bad = [each for each in found if isinstance(each, BadModelFile)]
    # What is left is damage to the numbers themselves, or to a name; only a hash tells that.
    assert len(found) == 171 and len(bad) > 120


def test_what_is_taken_for_sound_the_library_takes_too(tmp_path: Path, tiny: bytes) -> None:
    import safetensors as library

    path = tmp_path / "model.safetensors"
    for data in mutants(tiny, 171):
        path.write_bytes(data)
        try:
            ours = safetensors.read_shard(path)
        except BadModelFile:
            continue
        with library.safe_open(path, framework="np") as file:
            assert sorted(file.keys()) == sorted(ours)


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_any_bytes_are_bad_or_a_table(look: Look, data: bytes) -> None:
    assert isinstance(look(data), BadModelFile | dict)
    assert isinstance(look(joined(b"{" + data)), BadModelFile | dict)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=300)
@given(JSON, JSON, JSON)
def test_any_values_are_bad_or_a_table(look: Look, dtype: Any, shape: Any, offsets: Any) -> None:
    wild = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
    for tensor in (wild, wild | {"dtype": "F32"}, wild | {"dtype": "F32", "shape": [2]}, dtype):
        data = joined(json.dumps({"a": tensor}).encode("utf-8", "surrogatepass"), bytes(8))
        assert isinstance(look(data), BadModelFile | dict)


# An index


def test_shards(tmp_path: Path) -> None:
    folder = write_tiny_folder(tmp_path / "m", kind="llama", shards=3)
    whole = write_tiny_folder(tmp_path / "whole", kind="llama")
    shards, tensors = safetensors.read_index(folder)
    assert [shard.name for shard in shards] == [
        f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)
    ]
    one = safetensors.read_shard(whole / "model.safetensors")
    assert {name: each.shape for name, each in tensors.items()} == {
        name: each.shape for name, each in one.items()
    }
    assert {each.shard for each in tensors.values()} == set(shards)


def with_index(tmp_path: Path, index: Any) -> Path:
    folder = write_tiny_folder(tmp_path / "m", kind="llama", shards=2)
    text = index if isinstance(index, str) else json.dumps(index)
    folder.joinpath(safetensors.INDEX).write_text(text)
    return folder


FIRST = "model-00001-of-00002.safetensors"

BAD_INDEXES = {
    "no JSON": ("{", "not sound JSON"),
    "a list": ([], "no table"),
    "no map": ({}, "no weight_map"),
    "an empty map": ({"weight_map": {}}, "no weight_map"),
    "a map that is a list": ({"weight_map": ["a"]}, "no weight_map"),
    "a number": ({"weight_map": {"a": 1}}, "is said to lie in '1'"),
    "a list for a file": ({"weight_map": {"a": [FIRST]}}, "is said to lie in"),
    "from above": ({"weight_map": {"a": "../secret.safetensors"}}, "is said to lie in '../secret"),
    "from above, Windows": ({"weight_map": {"a": "..\\secret.safetensors"}}, "is said to lie in"),
    "from the root": ({"weight_map": {"a": "/etc/passwd"}}, "is said to lie in '/etc/passwd'"),
    "from the root, ending well": ({"weight_map": {"a": "/x.safetensors"}}, "is said to lie in"),
    "from a drive": ({"weight_map": {"a": "C:x.safetensors"}}, "is said to lie in"),
    "from a folder": ({"weight_map": {"a": "sub/x.safetensors"}}, "is said to lie in"),
    "with a zero byte": ({"weight_map": {"a": "x\0.safetensors"}}, "is said to lie in"),
    "another file": ({"weight_map": {"a": "config.json"}}, "is said to lie in 'config.json'"),
    "pickle": ({"weight_map": {"a": "pytorch_model.bin"}}, "is said to lie in"),
    "missing": ({"weight_map": {"a": "x.safetensors"}}, "x.safetensors is missing"),
    "a long name": ({"weight_map": {"a": "x" * 300 + ".safetensors"}}, "names a file"),
    "half a character": ({"weight_map": {"a": "\ud800.safetensors"}}, "names a file"),
    "a tensor that is not there": ({"weight_map": {"a": FIRST}}, "does not hold 'a'"),
    "many files": (
        {"weight_map": {str(n): f"{n}.safetensors" for n in range(1001)}},
        "names 1001 files",
    ),
    "deep": ('{"weight_map":' * 50_000, "nested too deep"),
    "long": (" " * (16 * 1024 * 1024 + 1), "longer than"),
}


@pytest.mark.parametrize("kind", BAD_INDEXES)
def test_a_bad_index_is_named_at_once(tmp_path: Path, kind: str) -> None:
    index, says = BAD_INDEXES[kind]
    folder = with_index(tmp_path, index)
    with at_once(), pytest.raises(BadModelFile) as caught:
        safetensors.read_index(folder)
    assert says in caught.value.data["cause"] and len(caught.value.message) < 1000


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders")
def test_a_shard_that_is_no_file(tmp_path: Path) -> None:
    folder = with_index(tmp_path, {"weight_map": {"a": "pipe.safetensors"}})
    os.mkfifo(folder / "pipe.safetensors")
    with pytest.raises(BadModelFile, match="not a regular file"):
        safetensors.read_index(folder)
    folder.joinpath(FIRST).unlink()
    folder.joinpath(FIRST).mkdir()
    folder.joinpath(safetensors.INDEX).write_text(json.dumps({"weight_map": {"a": FIRST}}))
    with pytest.raises(BadModelFile, match="not a regular file"):
        safetensors.read_index(folder)
