"""What is free, and what is said when it is not enough."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from llmspell_jupyter.engine import memory, shortage
from llmspell_jupyter.engine.memory import Holding, Room
from llmspell_jupyter.errors import NotEnoughMemory, from_wire
from llmspell_jupyter.models import store
from llmspell_jupyter.models.need import Need
from llmspell_jupyter.types import LoadOptions

GB = 10**9
V2 = {"proc/self/cgroup": "0::/user/job\n"}
V1 = {"proc/self/cgroup": "4:memory:/box/job\n3:cpu,cpuacct:/box\n"}
JOB, BOX = "sys/fs/cgroup/user/job/", "sys/fs/cgroup/memory/box/job/"
STAT = "anon 500\nfile 300\nactive_file 100\ninactive_file 200\nshmem 0\n"


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({}, None),
        (V2, None),
        (V2 | {JOB + "memory.max": "max\n", JOB + "memory.current": "800\n"}, None),
        (V2 | {JOB + "memory.max": "1000\n", JOB + "memory.current": "800\n"}, 200),
        # What is only read from files can be dropped.
        (V2 | {JOB + "memory.max": "1000\n", JOB + "memory.current": "800\n", JOB + "memory.stat": STAT}, 500),
        # From there on a group is slowed down.
        (V2 | {JOB + "memory.max": "1000\n", JOB + "memory.high": "900\n", JOB + "memory.current": "800\n"}, 100),
        # A group around it is narrower; others share it.
        (
            V2
            | {JOB + "memory.max": "1000\n", JOB + "memory.current": "100\n"}
            | {"sys/fs/cgroup/user/memory.max": "950\n", "sys/fs/cgroup/user/memory.current": "900\n"},
            50,
        ),
        # In a container the named group does not exist; its own is the root.
        (V2 | {"sys/fs/cgroup/memory.max": "1000\n", "sys/fs/cgroup/memory.current": "300\n"}, 700),
        (V2 | {JOB + "memory.max": "1000\n", JOB + "memory.current": "2000\n"}, 0),
        (V2 | {JOB + "memory.max": "rubbish\n", JOB + "memory.current": "800\n"}, None),
        (V2 | {JOB + "memory.max": "1000\n", JOB + "memory.current": "800\n", JOB + "memory.stat": "a b c\n"}, 200),
        (V1 | {BOX + "memory.limit_in_bytes": "1000\n", BOX + "memory.usage_in_bytes": "800\n"}, 200),
        (
            V1
            | {BOX + "memory.limit_in_bytes": "1000\n", BOX + "memory.usage_in_bytes": "800\n"}
            | {BOX + "memory.stat": "active_file 1\ninactive_file 1\ntotal_active_file 100\ntotal_inactive_file 50\n"},
            350,
        ),
        # No limit in v1 is a number beyond all memory.
        (V1 | {BOX + "memory.limit_in_bytes": "9223372036854771712\n", BOX + "memory.usage_in_bytes": "8\n"}, None),
        # Names lead nowhere else.
        ({"proc/self/cgroup": "0::/../../a\n", "sys/fs/cgroup/any": "", "sys/a/memory.max": "9\n", "sys/a/memory.current": "1\n"}, None),
    ],
)  # fmt: skip
def test_what_a_container_leaves(tmp_path: Path, files: dict[str, str], left: int | None) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert memory.container(tmp_path) == left


@pytest.mark.parametrize(
    ("found", "free", "where", "most"),
    [
        (memory.room(8 * GB, None, 0, (), None), 8 * GB, "on this machine", None),
        (memory.room(8 * GB, 3 * GB, 0, (), None), 3 * GB, "in this container", None),
        (memory.room(8 * GB, 3 * GB, 2 * GB, (), None), 2 * GB, "below memory_limit_bytes", 2 * GB),
        # A loaded model will fill what it was granted; what it holds is no longer available.
        (memory.room(8 * GB, None, 0, (Holding(5 * GB, 1 * GB),), None), 4 * GB, "on this machine", None),
        (memory.room(8 * GB, None, 0, (Holding(5 * GB, 6 * GB),), None), 8 * GB, "on this machine", None),
        (memory.room(8 * GB, None, 6 * GB, (Holding(5 * GB, 5 * GB),), None), GB, "below memory_limit_bytes", 6 * GB),
        (memory.room(1 * GB, None, 0, (Holding(5 * GB, 0),), None), 0, "on this machine", None),
        # A limit on addresses holds for each process; nobody who leaves widens it.
        (memory.room(8 * GB, None, 0, (Holding(3 * GB, 3 * GB),), 2 * GB), 8 * GB, "on this machine", 2 * GB - 300_000_000),
        (memory.room(8 * GB, None, GB, (), 2 * GB), GB, "below memory_limit_bytes", GB),
        (memory.room(8 * GB, None, 0, (), 1000), 8 * GB, "on this machine", 0),
    ],
)  # fmt: skip
def test_room(found: Room, free: int, where: str, most: int | None) -> None:
    assert (found.free, found.where, found.most) == (free, where, most)
    assert bool(found.most_by) == (most is not None)


def test_this_machine_has_some() -> None:
    found = memory.look()
    assert 0 < found.free <= psutil.virtual_memory().total
    assert memory.look([Holding(found.free // 2, 0)]).free < found.free
    assert memory.look(limit=1000).free == 1000


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limits")
def test_a_limit_on_addresses_is_seen() -> None:
    program = (
        "import json, resource; from llmspell_jupyter.engine import memory\n"
        "resource.setrlimit(resource.RLIMIT_AS, (3 * 10**9, resource.RLIM_INFINITY))\n"
        "found = memory.look(); print(json.dumps([memory.address_space(), found.most, found.most_by]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [3 * 10**9, 2_700_000_000, "ulimit -v"]


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux tells it")
def test_mapped_files_are_not_private(tmp_path: Path) -> None:
    size = 64 * 1024 * 1024
    path = tmp_path / "weights"
    path.write_bytes(b"x" * size)
    program = (
        "import mmap, sys\n"
        "file = open(sys.argv[1], 'rb'); held = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)\n"
        "sum(held[at] for at in range(0, len(held), 4096)); own = bytearray(int(sys.argv[2]))\n"
        "own[::4096] = b'x' * len(own[::4096]); print('there', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path), str(size)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline()
        resident, held = psutil.Process(process.pid).memory_info().rss, memory.private(process.pid)
        process.stdin.write(b"\n")
        process.stdin.close()
        process.wait(30)
    assert resident > 2 * size
    assert size < held < 1.5 * size
    assert memory.private(process.pid) == 0


@pytest.mark.parametrize(
    ("device", "platform", "driver", "judged"),
    [
        ("cpu", "linux", True, True),
        ("auto", "linux", False, True),
        ("auto", "linux", True, False),
        ("cuda", "linux", False, False),
        ("auto", "darwin", False, True),
        ("metal", "darwin", False, True),
        ("metal", "linux", True, True),  # There is none; the CPU computes.
        ("cuda", "darwin", False, True),
    ],
)
def test_whose_memory_is_judged(
    tmp_path: Path, device: Any, platform: str, driver: bool, judged: bool
) -> None:
    if driver:
        (tmp_path / "dev").mkdir()
        (tmp_path / "dev/nvidiactl").touch()
    why = memory.unjudged(LoadOptions(device=device), platform, tmp_path)
    assert (why == "") == judged


NEED = Need(4_400_000_000, 400_000_000, 100_000_000)


def test_the_refusal_says_the_numbers_and_the_ways_out() -> None:
    found = Room(2_149_999_999, "on this machine")
    error = shortage.not_enough(
        "llama3:8b", NEED, found, 2_750_000_001, {"smollm2:135m": 411_000_000}
    )
    assert isinstance(error, MemoryError)
    assert error.message == (
        "llama3:8b needs 4.9 GB (weights 4.4, context 0.4, working space 0.1); "
        "2.1 GB are free on this machine."
    )
    assert error.hint == (
        "Try a smaller context_size or a smaller quantization of the model. In use or pinned: "
        "smollm2:135m (411 MB); type: %model_unload smollm2:135m --force"
    )
    assert error.data == {
        "model": "llama3:8b",
        "need": {"weights": 4_400_000_000, "context": 400_000_000, "working": 100_000_000, "total": 4_900_000_000},
        "free": 2_149_999_999,
        "most": None,
        "short_by": 2_750_000_001,
        "loaded": [{"model": "smollm2:135m", "bytes": 411_000_000}],
    }  # fmt: skip
    again = from_wire(json.loads(json.dumps(error.to_wire())))
    assert isinstance(again, NotEnoughMemory)
    assert str(again) == str(error)


def test_idle_models_that_would_not_help_are_counted() -> None:
    error = shortage.not_enough("llama3:8b", NEED, Room(2 * GB, "in this container"), GB, {})
    assert error.message.endswith(
        "2.0 GB are free in this container, and 1.9 more without the models that are idle."
    )
    assert "unload" not in error.hint


def test_a_limit_of_each_process_blames_no_other_model() -> None:
    found = Room(9 * GB, "on this machine", most=600_000_000, most_by="ulimit -v")
    need = Need(650_000_000, 0, 100_000_000)
    error = shortage.not_enough("t5", need, found, 150_000_000, {"smollm2:135m": GB})
    assert error.message == (
        "t5 needs 750 MB (weights 650, context 0, working space 100); "
        "a model can have 600 MB at most (ulimit -v)."
    )
    assert error.hint == "Try a smaller quantization of the model."


def test_numbers_that_differ_never_look_alike() -> None:
    need = Need(2_149_000_001, 0, 0)
    error = shortage.not_enough("m", need, Room(2_149_000_000, "on this machine"), 1, {})
    assert "needs 2.2 GB" in error.message and "2.1 GB are free" in error.message


@pytest.mark.parametrize(
    "cause",
    ["mmap failed: Cannot allocate memory", "std::bad_alloc", "failed to allocate buffer"],
)
def test_a_library_without_memory_is_no_bad_file(cause: str) -> None:
    error = shortage.of_library(store.ECHO, cause)
    assert error is not None and cause in error.message and error.data["model"] == "echo"
    assert "context_size" in error.hint and "%llmspell_status" in error.hint
    assert "again" not in error.hint


def test_what_else_a_library_says_is_not_about_memory() -> None:
    assert shortage.of_library(store.ECHO, "tensor 'output' is out of bounds") is None
