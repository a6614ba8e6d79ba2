"""What a pull leaves in the store: the layout of the Hugging Face cache, and nothing else."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmspell_jupyter.errors import (
    BadModelFile,
    HashMismatch,
    Interrupted,
    InvalidModelSpec,
    PullError,
    Unreachable,
)
from llmspell_jupyter.models import pull
from llmspell_jupyter.models.hub import Plan, RemoteFile
from llmspell_jupyter.models.pull import publish, puller
from llmspell_jupyter.models.transfer.ranged import ranged
from llmspell_jupyter.types import Lookup, PullPhase, PullProgress
from tests.support import pulls
from tests.support.hub_server import Hub
from tests.support.pulls import KEY, QUICK, REPOSITORY, WEIGHTS, Pulls


def test_other_tools_find_what_was_pulled_and_have_nothing_to_complain_about(model: Pulls) -> None:
    done = model.pull()
    scanned = huggingface_hub.scan_cache_dir(model.cache)
    assert not scanned.warnings
    [repository] = scanned.repos
    [revision] = repository.revisions
    assert (repository.repo_id, revision.commit_hash) == (REPOSITORY, done.metadata["revision"])
    assert revision.refs == {"main"}
    found = huggingface_hub.hf_hub_download(
        REPOSITORY, WEIGHTS, cache_dir=model.cache, local_files_only=True
    )
    assert Path(found) == Path(done.metadata["path"]) / WEIGHTS
    assert model.published() == pulls.files()
    assert model.left() == []


def test_what_is_published_may_be_read_by_whom_the_mask_allows(model: Pulls) -> None:
    before = os.umask(0o027)
    try:
        model.pull()
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in (model.root / "blobs").iterdir()}
    assert modes == {0o640}
    links = [path for path in (model.root / "snapshots").rglob("*") if path.is_symlink()]
    assert len(links) == 4
    assert all(not os.path.isabs(os.readlink(path)) for path in links)  # noqa: PTH115, PTH117


def test_several_files_are_one_progress_that_never_shrinks(model: Pulls) -> None:
    done = model.pull()
    total = sum(len(bytes(content)) for content in pulls.files().values())  # type: ignore[arg-type]
    assert done.phase is PullPhase.COMPLETE
    assert (done.done, done.total, done.percent) == (total, total, 100)
    assert {each.path for each in done.files} == set(pulls.files())
    assert model.reports[0].phase is PullPhase.STARTING
    amounts = [each.done for each in model.reports]
    assert amounts == sorted(amounts)
    assert done.metadata["downloaded"] == total


def test_nothing_of_a_model_shows_before_all_of_it_is_there(hub: Hub, model: Pulls) -> None:
    hub.fault(KEY, "stall", at=500_000)
    stop = threading.Event()

    def look(progress: object) -> None:
        assert not (model.root / "snapshots").exists()
        assert not (model.root / "refs").exists()
        if model.reports[-1].done > 100_000:
            stop.set()

    with pytest.raises(Interrupted):
        model.pull(pace=replace(QUICK, stall_seconds=20), stop=stop, report=look)
    assert not (model.root / "snapshots").exists()


def test_a_second_pull_fetches_nothing(hub: Hub, model: Pulls) -> None:
    model.pull()
    served = hub.bytes_served
    assert model.pull().metadata["downloaded"] == 0
    assert hub.bytes_served == served


def test_a_new_commit_fetches_what_is_new(hub: Hub, model: Pulls) -> None:
    model.pull()
    hub.add(REPOSITORY, pulls.files() | {"tokenizer.json": b'{"new": 1}'})
    done = model.pull()
    assert done.metadata["downloaded"] == len(b'{"new": 1}')
    assert (model.root / "refs" / "main").read_text() == done.metadata["revision"]
    assert len([*(model.root / "snapshots").iterdir()]) == 2
    assert not huggingface_hub.scan_cache_dir(model.cache).warnings


def test_a_branch_that_goes_back_is_followed(hub: Hub, model: Pulls) -> None:
    first = model.pull().metadata["revision"]
    hub.add(REPOSITORY, pulls.files(seed=1))
    model.pull()
    model.pull(model.request(revision=first))
    assert (model.root / "refs" / "main").read_text() != first
    hub.add(REPOSITORY, pulls.files(), tags=("v1",))
    model.pull(model.request(revision="v1"))
    assert (model.root / "refs" / "v1").is_file()


def test_force_replaces_and_a_reader_keeps_its_file(hub: Hub, model: Pulls) -> None:
    path = Path(model.pull().metadata["path"]) / WEIGHTS
    with path.open("rb") as reader:
        blob = path.resolve()
        size = blob.stat().st_size
        blob.chmod(0o644)
        with blob.open("r+b") as damaged:
            damaged.write(b"damage")
        done = model.pull(model.request(force=True))
        assert done.metadata["downloaded"] >= size
        assert reader.read(6) == b"damage"
    assert model.published() == pulls.files()
    assert model.left() == []


def test_a_file_that_was_cut_is_fetched_again(model: Pulls) -> None:
    path = Path(model.pull().metadata["path"]) / WEIGHTS
    os.truncate(path, 1000)
    model.pull()
    assert model.published() == pulls.files()


def test_a_model_of_a_shared_store_is_not_fetched(hub: Hub, model: Pulls, tmp_path: Path) -> None:
    model.pull()
    served = hub.bytes_served
    mine = Pulls(hub, tmp_path / "mine")
    lookup = Lookup(caches=(str(mine.cache), str(model.cache)))
    done = mine.pull(mine.request(lookup=lookup))
    assert done.metadata["path"].startswith(str(model.cache))
    assert str(model.cache) in done.note
    assert hub.bytes_served == served
    assert not mine.cache.exists()


def test_files_of_a_shared_store_are_copied(hub: Hub, model: Pulls, tmp_path: Path) -> None:
    model.pull()
    hub.add(REPOSITORY, pulls.files() | {"tokenizer.json": b'{"new": 1}'})
    mine = Pulls(hub, tmp_path / "mine")
    done = mine.pull(mine.request(lookup=Lookup(caches=(str(mine.cache), str(model.cache)))))
    assert done.metadata["downloaded"] == len(b'{"new": 1}')
    assert mine.published()[WEIGHTS] == pulls.files()[WEIGHTS]


def test_a_damaged_file_of_a_shared_store_is_not_taken(
    hub: Hub, model: Pulls, tmp_path: Path
) -> None:
    path = Path(model.pull().metadata["path"]) / WEIGHTS
    with path.open("r+b") as file:
        file.seek(5000)
        file.write(b"damage")
    hub.add(REPOSITORY, pulls.files() | {"tokenizer.json": b'{"new": 1}'})
    mine = Pulls(hub, tmp_path / "mine")
    mine.pull(mine.request(lookup=Lookup(caches=(str(mine.cache), str(model.cache)))))
    assert mine.published()[WEIGHTS] == pulls.files()[WEIGHTS]


def test_weights_that_were_published_damaged_are_not_kept(hub: Hub, model: Pulls) -> None:
    hub.add(REPOSITORY, pulls.files() | {WEIGHTS: b"<html>not found</html>"})
    with pytest.raises(BadModelFile, match="published damaged"):
        model.pull()
    assert not (model.root / "snapshots").exists()


def locked(content: dict[str, bytes | Path]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (path, hashlib.sha256(bytes(data)).hexdigest())  # type: ignore[arg-type]
        for path, data in content.items()
    )


def flip(path: Path) -> None:
    """Change one bit of a file; its size stays."""
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


@pytest.mark.parametrize("name", [WEIGHTS, "tokenizer.json"])
def test_a_locked_file_that_is_damaged_here_is_fetched_again(
    hub: Hub, model: Pulls, name: str
) -> None:
    request = model.request(locked=locked(pulls.files()))
    flip(Path(model.pull(request).metadata["path"]) / name)
    served = hub.bytes_served
    done = model.pull(request)
    assert done.metadata["downloaded"] == len(bytes(pulls.files()[name]))  # type: ignore[arg-type]
    assert hub.bytes_served - served < done.metadata["downloaded"] + 100_000
    assert model.published() == pulls.files()
    assert model.left() == []
    assert model.pull(request).metadata["downloaded"] == 0


def test_a_locked_file_without_links_is_read_too(hub: Hub, model: Pulls) -> None:
    """As a cache is that was copied with its links followed: the bytes lie in the snapshot."""
    request = model.request(locked=locked(pulls.files()))
    shown = Path(model.pull(request).metadata["path"])
    for path in shown.iterdir():
        real = path.resolve()
        path.unlink()
        real.rename(path)
    assert model.pull(request).metadata["downloaded"] == 0
    flip(shown / WEIGHTS)
    model.pull(request)
    assert model.published() == pulls.files()


def test_a_locked_file_that_is_damaged_in_a_shared_store_is_fetched(
    hub: Hub, model: Pulls, tmp_path: Path
) -> None:
    flip(Path(model.pull().metadata["path"]) / WEIGHTS)
    mine = Pulls(hub, tmp_path / "mine")
    both = Lookup(caches=(str(mine.cache), str(model.cache)))
    done = mine.pull(mine.request(lookup=both, locked=locked(pulls.files())))
    # What is sound there is copied.
    assert done.metadata["downloaded"] == len(bytes(pulls.files()[WEIGHTS]))  # type: ignore[arg-type]
    assert mine.published() == pulls.files()


def test_a_pull_is_stopped_while_it_reads_what_is_here(model: Pulls) -> None:
    request = model.request(locked=locked(pulls.files()))
    model.pull(request)
    stop = threading.Event()

    def look(progress: PullProgress) -> None:
        if "the lock" in progress.note:
            stop.set()

    with pytest.raises(Interrupted):
        model.pull(request, stop=stop, report=look)
    assert model.published() == pulls.files()


def test_by_force_locked_files_are_fetched_again(model: Pulls) -> None:
    request = model.request(locked=locked(pulls.files()), force=True)
    model.pull(request)
    assert model.pull(request).metadata["downloaded"] == model.reports[-1].total


def test_locked_files_have_to_be_the_same(hub: Hub, model: Pulls) -> None:
    right = locked(pulls.files())
    model.pull(model.request(locked=right))
    assert model.published() == pulls.files()
    # A small file: the hub does not tell its SHA-256 beforehand.
    wrong = locked(pulls.files() | {"tokenizer.json": b"{ }"})
    with pytest.raises(HashMismatch, match=r"tokenizer\.json is not what is locked") as caught:
        model.pull(model.request(locked=wrong))
    assert "%model_lock" in caught.value.hint
    assert model.published() == pulls.files()
    fresh = Pulls(hub, model.cache.parent / "fresh")
    with pytest.raises(HashMismatch, match=r"tokenizer\.json"):
        fresh.pull(fresh.request(locked=wrong))
    assert not (fresh.root / "snapshots").exists()


def test_p8_offline_says_so_and_asks_nobody(hub: Hub, model: Pulls) -> None:
    asked = len(hub.requests)
    request = model.request(sources=hub.sources(offline=True))
    with pytest.raises(Unreachable):
        model.pull(request)
    with pytest.raises(Unreachable):
        ranged(f"{hub.url}/file", request.sources, 0, 10)
    assert len(hub.requests) == asked


def test_p5_the_store_may_be_a_link(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "cache").symlink_to(tmp_path / "disk")
    model = Pulls(hub, tmp_path / "cache")
    model.pull()
    assert model.published() == pulls.files()
    assert {each.name for each in tmp_path.iterdir()} == {"disk", "cache"}


@pytest.mark.parametrize("below", ["", "blobs", "snapshots", "refs", ".llmspell"])
def test_p5_nothing_is_written_through_a_link_below_the_store(
    model: Pulls, tmp_path: Path, below: str
) -> None:
    trap = tmp_path / "trap"
    trap.mkdir()
    place = model.root / below if below else model.root
    place.parent.mkdir(parents=True)
    place.symlink_to(trap)
    with pytest.raises((PullError, InvalidModelSpec)):
        model.pull()
    assert [*trap.iterdir()] == []


_NAMES = st.one_of(
    st.text(max_size=300),
    st.lists(
        st.sampled_from(["..", ".", "a", "C:", "\\\\host", "con", "\0", "", "é" * 130, "a/b"]),
        min_size=1,
        max_size=5,
    ).map("/".join),
)


@settings(max_examples=400)
@given(name=_NAMES, ref=_NAMES)
def test_p5_names_of_a_hostile_server_lead_nowhere(
    tmp_path_factory: pytest.TempPathFactory, name: str, ref: str
) -> None:
    room = tmp_path_factory.mktemp("room")
    file = RemoteFile(name, 0, None, "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391")
    plan = Plan("m", REPOSITORY, "0" * 40, ref, (file,), None, False)
    request = Pulls.request(Pulls(_NoHub(), room / "cache"))  # type: ignore[arg-type]
    with contextlib.suppress(InvalidModelSpec, PullError):
        puller.fetch(plan, request, lambda _: None, threading.Event(), lambda _: "", pace=QUICK)
    assert {each.name for each in room.iterdir()} <= {"cache"}
    inside = room / "cache" / "models--owner--model"
    for path in (room / "cache").rglob("*"):
        assert path == inside or path.is_relative_to(inside)
        assert not path.is_symlink() or path.resolve().parent == (inside / "blobs").resolve()


class _NoHub:
    def sources(self) -> object:
        from llmspell_jupyter.types import Sources

        return Sources(endpoint="http://127.0.0.1:9")


@pytest.mark.parametrize("blob", ["", "../../x", "A" * 40, "0" * 39, "0" * 41])
def test_p5_a_file_without_a_sound_hash_is_not_kept(tmp_path: Path, blob: str) -> None:
    file = RemoteFile("a", 1, None, blob)
    plan = Plan("m", REPOSITORY, "0" * 40, None, (file,), None, False)
    with pytest.raises(PullError, match="hash"):
        publish.Place(tmp_path, plan)


def test_a_key_is_equal_for_what_fetches_the_same(model: Pulls) -> None:
    one = pull.key(model.request("hf.co/owner/model"))
    assert one == pull.key(model.request("owner/model@candle"))
    assert one == pull.key(replace(model.request(), bytes_per_second=5))
    others = [
        model.request("owner/other"),
        model.request(revision="v1"),
        model.request(force=True),
        model.request(quantization="Q8_0"),
        replace(model.request(), lookup=Lookup(caches=("/elsewhere",))),
    ]
    assert len({one, *map(pull.key, others)}) == len(others) + 1
