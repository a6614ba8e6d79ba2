"""GGUF files that are damaged or wrong: refused by name, or loaded (threats M1 and M2).

What our own reading lets pass is loaded by llama.cpp in a process of its own, as in a worker.
"""

from __future__ import annotations

import asyncio
import json
import random
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf.gguf_writer import GGUFValue

from llmspell_jupyter.engine.engine import Engine
from llmspell_jupyter.errors import BadModelFile, LLMSpellError
from llmspell_jupyter.models import store
from llmspell_jupyter.types import GenerationRequest, LoadOptions, Sampling
from tests.support.tiny_gguf import write_tiny_gguf

Writer = gguf.GGUFWriter
Type = gguf.GGUFValueType
Change = Callable[[Writer], None]

TOKENIZER = "tokenizer.ggml."

#: How a file may be refused by a backend; one whose context is tiny loads and holds no prompt.
REFUSALS = ("BadModelFile: ", "UnsupportedModel: ", "ContextOverflow: ")

#: Loads each file that standard input names and lets it write; says how that went.
LOADER = """
import sys
from pathlib import Path
from llmspell_jupyter.engine.backends.llama_cpp import BACKEND
from llmspell_jupyter.errors import LLMSpellError
from llmspell_jupyter.models import store
from llmspell_jupyter.types import GenerationRequest, LoadOptions, Sampling
request = GenerationRequest("m", prompt="the sea \\u6f22 \\x01", max_tokens=4, sampling=Sampling(temperature=0))
for line in sys.stdin:
    try:
        model = BACKEND.load(store.resolve(line.strip()), LoadOptions(context_size=64, cpu_threads=1), lambda _: None)
        model.start("r", request, lambda: False)
        while model.active:
            model.step()
        model.close()
        print("loaded", flush=True)
    except LLMSpellError as error:
        print(f"{type(error).__name__}: {error.message}".replace("\\n", " "), flush=True)
"""


def loaded(paths: list[Path]) -> list[str]:
    """What becomes of each file in native code; ``died`` if it ends the process."""
    said: list[str] = []
    while len(said) < len(paths):
        done = subprocess.run(
            [sys.executable, "-c", LOADER],
            input="\n".join(map(str, paths[len(said) :])),
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        said += done.stdout.splitlines()
        if done.returncode:
            said.append("died: " + (done.stderr.strip().splitlines() or ["?"])[-1])
    return said


def verdict(path: Path) -> BadModelFile | None:
    """What our own reading says of a file, at once."""
    started = time.process_time()
    try:
        store.resolve(str(path))
    except BadModelFile as error:
        assert error.data["cause"] and error.hint and "\n" not in error.message
        return error
    finally:
        assert time.process_time() - started < 1
    return None


# M1: damage


def header_end(data: bytes) -> int:
    return data.index(b"output.weight") + 40


def mutants(tiny: bytes, count: int, seed: int = 7) -> Iterator[bytes]:
    """Flips, cuts, large numbers, and values of keys that are bad."""
    draw = random.Random(seed)
    end = header_end(tiny)
    numbers = [0, 1, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1]
    keys = [
        *(b"llama.block_count", b"llama.embedding_length", b"llama.attention.head_count"),
        *(b"llama.attention.head_count_kv", b"llama.feed_forward_length"),
        *(b"llama.rope.dimension_count", b"llama.context_length", b"general.file_type"),
        *(b"tokenizer.ggml.bos_token_id", b"tokenizer.ggml.eos_token_id"),
        *(b"llama.attention.layer_norm_rms_epsilon", b"tokenizer.ggml.unknown_token_id"),
    ]
    for number in range(count):
        data = bytearray(tiny)
        for _ in range(draw.randint(1, 3)):
            at = draw.randrange(end)
            kind = number % 5
            if kind == 0:
                data[at] ^= 1 << draw.randrange(8)
            elif kind == 1:
                del data[draw.randrange(1, len(data)) :]
                break
            elif kind == 2:
                data[at : at + 8] = struct.pack("<Q", draw.choice(numbers))
            elif kind == 3:
                key = draw.choice(keys)
                place = tiny.index(key) + len(key) + 4
                data[place : place + 4] = struct.pack("<I", draw.choice(numbers) & 0xFFFFFFFF)
            else:
                data[draw.randrange(len(data))] = draw.randrange(256)
        yield bytes(data)


def test_200_mutants_are_bad_or_load(tmp_path: Path) -> None:
    tiny = write_tiny_gguf(tmp_path / "tiny.gguf").read_bytes()
    passed = []
    for number, data in enumerate(mutants(tiny, 200)):
        path = tmp_path / f"{number}.gguf"
        path.write_bytes(data)
        if verdict(path) is None:
            passed.append(path)
    assert 20 < len(passed) < 180
    said = loaded(passed)
    wrong = [
        (path.name, word)
        for path, word in zip(passed, said, strict=True)
        if word != "loaded" and not word.startswith(REFUSALS)
    ]
    assert not wrong


# M2, and headers made by hand: well-formed and wrong


def put(key: str, value: Any, kind: Type | None = None) -> Change:
    def change(writer: Writer) -> None:
        old = writer.kv_data[0].get(key)
        writer.kv_data[0][key] = GGUFValue(value, kind or old.type)

    return change


def llama(key: str, value: Any, kind: Type | None = None) -> Change:
    return put(f"llama.{key}", value, kind)


def drop(key: str) -> Change:
    return lambda writer: writer.kv_data[0].pop(key)


def items(key: str, edit: Callable[[list[Any]], list[Any]], kind: Type | None = None) -> Change:
    def change(writer: Writer) -> None:
        old = writer.kv_data[0][TOKENIZER + key]
        made = GGUFValue(edit(list(old.value)), Type.ARRAY, kind or old.sub_type)
        writer.kv_data[0][TOKENIZER + key] = made

    return change


def tensor(name: str, edit: Callable[[Any], Any]) -> Change:
    def change(writer: Writer) -> None:
        info = writer.tensors[0][name]
        info.tensor = edit(info.tensor)
        info.shape, info.nbytes = info.tensor.shape, info.tensor.nbytes

    return change


def both(*changes: Change) -> Change:
    return lambda writer: [change(writer) for change in changes] and None


def renamed(before: str, after: str) -> Change:
    return items("tokens", lambda tokens: [after if each == before else each for each in tokens])


U32, F32 = Type.UINT32, Type.FLOAT32

#: Cases that our own reading names, and what it says. Starred ones end llama.cpp's process.
SEEN: dict[str, tuple[Change, str]] = {
    "no layers *": (llama("block_count", 0), "llama.block_count is 0; it must be 1 to 512"),
    "2^31-1 layers *": (llama("block_count", 2**31 - 1), "block_count is 2147483647"),
    "2^32-1 layers *": (llama("block_count", 2**32 - 1), "block_count is 4294967295"),
    "513 layers *": (llama("block_count", 513), "block_count is 513"),
    "a word for layers": (llama("block_count", "two", Type.STRING), "block_count is 'two'"),
    "negative layers": (llama("block_count", -1, Type.INT32), "block_count is -1"),
    "context of 2^32-1": (llama("context_length", 2**32 - 1), "context_length is 4294967295"),
    "no width": (llama("embedding_length", 0), "embedding_length is 0"),
    "width of 2^32-1": (llama("embedding_length", 2**32 - 1), "embedding_length is 4294967295"),
    "2^31 heads": (llama("attention.head_count", 2**31), "head_count is 2147483648"),
    "negative epsilon *": (llama("attention.layer_norm_rms_epsilon", -1.0), "epsilon is -1.0"),
    "epsilon that is no number *": (
        llama("attention.layer_norm_rms_epsilon", float("nan")),
        "epsilon is nan",
    ),
    "base of rotation 0": (llama("rope.freq_base", 0.0, F32), "freq_base is 0.0"),
    "unknown rotation *": (llama("rope.scaling.type", "zzz", Type.STRING), "type is 'zzz'"),
    "experts that nobody asks *": (llama("expert_count", 4, U32), "uses 0 experts of 4"),
    "more experts than there are *": (llama("expert_used_count", 3, U32), "uses 3 experts of 0"),
    "5000 experts *": (
        both(llama("expert_count", 5000, U32), llama("expert_used_count", 2, U32)),
        "expert_count is 5000",
    ),
    "token twice *": (
        items("tokens", lambda tokens: [*tokens[:-1], tokens[5]]),
        "holds '<0x02>' twice",
    ),
    "no tokens for bytes *": (
        both(
            items("tokens", lambda tokens: [t.replace("<0x", "byte") for t in tokens]),
            items("token_type", lambda kinds: [1] * len(kinds)),
        ),
        "no token for the byte <0x00>",
    ),
    "one byte missing": (
        both(renamed("<0x41>", "x41"), items("token_type", lambda kinds: [1] * len(kinds))),
        "no token for the byte <0x41>",
    ),
    "a byte that is none": (renamed("<0x41>", "zz"), "says that 'zz' is a byte"),
    "bytes for BERT *": (put(TOKENIZER + "model", "bert"), "a BERT vocabulary cannot"),
    "fewer tokens than weights": (
        items("tokens", lambda tokens: tokens[:-3]),
        "has 283 tokens, token_embd.weight the shape (32, 286)",
    ),
    "tokens that are numbers": (
        items("tokens", lambda tokens: [1] * len(tokens), Type.INT32),
        "tokens is no list of texts",
    ),
    "a number for tokens": (put(TOKENIZER + "tokens", 5, U32), "tokens is no list"),
    "scores that end early": (
        items("scores", lambda scores: scores[:3]),
        "scores has 3 items for 286 tokens",
    ),
    "kinds that end early": (
        items("token_type", lambda kinds: kinds[:3]),
        "token_type has 3 items for 286 tokens",
    ),
    "kinds that are words": (
        items("token_type", lambda kinds: ["a"] * len(kinds), Type.STRING),
        "token_type is no list of numbers",
    ),
}

#: Cases that only llama.cpp sees, and a part of what it says; None for those that load.
UNSEEN: dict[str, tuple[Change, str | None]] = {
    "tensor missing": (
        lambda writer: writer.tensors[0].pop("blk.1.ffn_up.weight"),
        "'blk.1.ffn_up.weight' not found",
    ),
    "tensor of another shape": (
        tensor("blk.0.attn_q.weight", lambda t: t[:16].copy()),
        "'blk.0.attn_q.weight' has wrong shape",
    ),
    "tensor too many": (
        lambda writer: writer.add_tensor("extra", np.ones((3,), np.float32)),
        "wrong number of tensors",
    ),
    "unknown tokenizer": (put(TOKENIZER + "model", "klingon"), "unknown tokenizer: 'klingon'"),
    "no tokenizer": (drop(TOKENIZER + "model"), "key not found in model: tokenizer.ggml.model"),
    "heads that do not divide": (llama("attention.head_count", 3), "invalid n_rot"),
    "first token beyond the end": (put(TOKENIZER + "bos_token_id", 9999), None),
    "chat template that is none": (put("tokenizer.chat_template", "{{"), None),
}


@pytest.mark.parametrize("kind", SEEN)
def test_what_the_header_shows_is_named_before_native_code(tmp_path: Path, kind: str) -> None:
    change, says = SEEN[kind]
    found = verdict(write_tiny_gguf(tmp_path / "m.gguf", change=change))
    assert found is not None and says in found.data["cause"]


def test_what_it_does_not_show_llama_cpp_names(tmp_path: Path) -> None:
    paths = []
    for number, (change, _) in enumerate(UNSEEN.values()):
        paths.append(write_tiny_gguf(tmp_path / f"{number}.gguf", change=change))
        assert verdict(paths[-1]) is None
    for (kind, (_, says)), said in zip(UNSEEN.items(), loaded(paths), strict=True):
        if says is None:
            assert said == "loaded", (kind, said)
        else:
            assert said.startswith("BadModelFile: ") and says in said, (kind, said)


# Through the engine


def test_one_engine_outlives_all_of_them(tmp_path: Path) -> None:
    """Bad files, files of other kinds, and between them a sound one that goes on answering."""
    sound = write_tiny_gguf(tmp_path / "sound.gguf")
    tiny = sound.read_bytes()
    bad = [
        write_tiny_gguf(tmp_path / f"{n}.gguf", change=c) for n, (c, _) in enumerate(SEEN.values())
    ]
    for number in range(25):
        path = tmp_path / f"cut{number}.gguf"
        path.write_bytes(tiny[: 1 + number * header_end(tiny) // 25])
        bad.append(path)
    foreign = write_tiny_gguf(tmp_path / "t5.gguf", kind="t5")

    async def run() -> None:
        engine = Engine()
        try:
            assert await outcome(engine, sound) == "written"
            process = engine.supervisor.to_wire()[0]["pid"]
            for path in bad:
                assert await outcome(engine, path) == "BadModelFile", path
            assert await outcome(engine, foreign) == "UnsupportedModel"
            assert await outcome(engine, sound) == "written"
            assert [each["pid"] for each in engine.supervisor.to_wire()] == [process]
        finally:
            await engine.close()

    asyncio.run(run())


async def outcome(engine: Engine, path: Path) -> str:
    request = GenerationRequest(
        model=str(path),
        prompt="the sea",
        max_tokens=3,
        sampling=Sampling(temperature=0, seed=1),
        options=LoadOptions(context_size=64, cpu_threads=1),
    )
    try:
        async for _ in engine.answer(request, "test"):
            pass
    except LLMSpellError as error:
        json.dumps(error.to_wire())
        return type(error).__name__
    return "written"
