"""What nobody needs is found and freed; what somebody works at, and what is another's, stays."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmspell_jupyter.models import store
from llmspell_jupyter.models.garbage import GRACE, Garbage, collect
from llmspell_jupyter.models.pull.claim import Claim
from llmspell_jupyter.types import Lookup
from tests.models.test_store_ollama import layer, library, put
from tests.support.hub_cache import blob_of, commit, publish, tree

FILES = {"m-Q8_0.gguf": b"GGUF of no use", "README.md": b"Words."}
USUAL = Lookup()


@pytest.fixture
def folder(cache: Path) -> Path:
    """A repository with nothing to collect."""
    return publish(cache, "owner/name", FILES).parent.parent


def collected(
    *, dry_run: bool = False, later: float = 2 * GRACE, lookup: Lookup = USUAL
) -> dict[str, Garbage]:
    found = collect(lookup, dry_run=dry_run, now=time.time() + later)
    assert len({each.path for each in found}) == len(found)
    return {each.path.name: each for each in found}


def put_file(path: Path, data: bytes = b"12345") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_a_sound_store_has_none(cache: Path, folder: Path) -> None:
    (cache / ".locks").mkdir()
    put_file(cache / "datasets--owner--name" / "blobs" / "x")
    put_file(cache / "version.txt")
    before = tree(cache)
    assert collected() == {}
    assert tree(cache) == before


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("blobs/" + "a" * 64, "no revision on this machine needs it"),
        ("blobs/" + "a" * 64 + ".0af1.incomplete", "another program did not finish"),
        (".llmspell/" + "a" * 64 + ".part", "nobody goes on with"),
        (".llmspell/" + "a" * 64 + ".journal", "nobody goes on with"),
        ("refs/gone", "its revision is not on this machine"),
    ],
)
def test_what_is_left_goes_once_it_is_old(cache: Path, folder: Path, place: str, why: str) -> None:
    before = tree(cache)
    path = put_file(folder / place)
    assert collected(later=GRACE - 60) == {} and path.exists()
    (found,) = collected(dry_run=True).values()
    assert (found.path, found.bytes, found.kept) == (path, 5, False) and why in found.why
    assert path.exists()
    (found,) = collected().values()
    assert (found.path, found.bytes) == (path, 5)
    assert tree(cache) == before


def test_an_old_date_of_a_file_that_was_just_put_there_does_not_count(
    cache: Path, folder: Path
) -> None:
    """A pull of many hours publishes files that it wrote long ago."""
    path = put_file(folder / "blobs" / ("a" * 64))
    os.utime(path, (1, 1))
    assert collected(later=0) == {} and path.exists()


def test_links_to_nothing_and_what_only_they_kept(cache: Path, folder: Path) -> None:
    snapshot = folder / "snapshots" / commit(1)
    blob_of(snapshot / "README.md").unlink()
    found = collected()
    assert list(found) == ["README.md"] and found["README.md"].bytes == 0
    blob_of(snapshot / "m-Q8_0.gguf").unlink()
    found = collected()
    assert "m-Q8_0.gguf" in found
    assert tree(cache) == []


def test_the_folders_of_a_repository_without_anything(cache: Path) -> None:
    for name in ("blobs", "refs", "snapshots/" + commit(1)):
        (cache / "models--owner--name" / name).mkdir(parents=True)
    assert collected(later=0) == {}
    assert list(collected(dry_run=True)) == [commit(1), "models--owner--name"]
    assert tree(cache) != []
    assert list(collected()) == [commit(1), "models--owner--name"]
    assert tree(cache) == []


def test_a_pull_that_runs_is_left_alone(cache: Path, folder: Path) -> None:
    """However long it takes: neither its parts nor what it has published for later."""
    part = put_file(folder / ".llmspell" / ("b" * 64 + ".part"))
    put_file(folder / "blobs" / ("a" * 64))
    claim = Claim(part, silent_seconds=60)
    assert claim.take()
    before = tree(cache)
    assert collected() == {}
    assert tree(cache) == before
    claim.release()
    assert set(collected()) == {part.name, "a" * 64}


def test_a_download_of_the_hubs_library_is_left_alone(cache: Path, folder: Path) -> None:
    put_file(folder / "blobs" / ("a" * 64))
    time_of_blob = time.time() - 3 * GRACE
    os.utime(folder / "blobs" / ("a" * 64), (time_of_blob, time_of_blob))
    running = put_file(folder / "blobs" / ("b" * 64 + ".1f.incomplete"))
    ahead = time.time() + 2 * GRACE
    os.utime(running, (ahead, ahead))
    assert collected() == {}
    running.unlink()
    assert list(collected()) == ["a" * 64]


def test_what_an_interrupted_removal_left_goes_at_once(
    cache: Path, folder: Path, tmp_path: Path
) -> None:
    put_file(folder / ".llmspell" / ".removed-1" / "deep" / "file")
    put_file(tmp_path / "data" / "llmspell" / "models" / ".removed-2" / "m.gguf")
    found = collected(later=0)
    assert {name: each.bytes for name, each in found.items()} == {".removed-1": 5, ".removed-2": 5}
    assert not (folder / ".llmspell").exists()
    assert tree(tmp_path / "data" / "llmspell" / "models") == []


def test_two_runs_of_what_is_listed_are_the_same(cache: Path, folder: Path) -> None:
    for number in range(3):
        put_file(folder / "blobs" / (str(number) * 64))
        put_file(cache / "models--a--b" / "blobs" / (str(number) * 64))
    first = collected(dry_run=True)
    assert collected(dry_run=True) == first
    freed = collected()
    assert {name: each.bytes for name, each in freed.items() if each.bytes} == {
        name: each.bytes for name, each in first.items() if each.bytes
    }
    assert collected() == {}


def test_no_link_is_followed(cache: Path, folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    put_file(elsewhere / "x")
    (folder / "blobs" / ("a" * 64)).symlink_to(elsewhere, target_is_directory=True)
    (folder / "refs" / "x").symlink_to(elsewhere, target_is_directory=True)
    (folder / ".llmspell").mkdir()
    (folder / ".llmspell" / ".removed-1").symlink_to(elsewhere, target_is_directory=True)
    other = cache / "models--owner--other"
    other.mkdir()
    for name in ("blobs", "snapshots"):
        (other / name).symlink_to(elsewhere, target_is_directory=True)
    (cache / "models--owner--whole").symlink_to(elsewhere, target_is_directory=True)
    found = collected()
    assert tree(elsewhere) == ["x"]
    assert set(found) == {"a" * 64, "x", ".removed-1"}
    assert all(each.bytes == 0 for each in found.values())


def test_stores_of_others_are_not_touched(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMSPELL_MODELS_SHARED", str(tmp_path / "shared"))
    put_file(tmp_path / "shared" / "models--owner--name" / "blobs" / ("a" * 64))
    assert collected() == {}
    assert list(collected(lookup=Lookup(caches=(str(tmp_path / "shared"),)))) == [
        "a" * 64,
        "models--owner--name",
    ]


def test_what_cannot_be_removed_says_so(
    cache: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user's files, refused by the system."""
    if not hasattr(os, "geteuid"):
        pytest.skip("no users")
    path = put_file(folder / "blobs" / ("a" * 64))
    code = (
        "import os, sys, time\n"
        "from llmspell_jupyter.types import Lookup\n"
        "from llmspell_jupyter.models.garbage import collect\n"
        "if os.geteuid() == 0:\n    os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "for each in collect(Lookup(), dry_run=False, now=time.time() + 200_000):\n"
        "    print(each.kept, each.why)\n"
    )
    for above in (folder, *folder.parents):
        if above.stat().st_uid == os.geteuid() and above.is_relative_to("/tmp"):
            above.chmod(above.stat().st_mode | 0o055)
    for each in folder.rglob("*"):
        if not each.is_symlink():
            each.chmod(0o555 if each.is_dir() else 0o444)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    (folder / "blobs").chmod(0o755)
    assert (
        done.stdout == "True no revision on this machine needs it; not removed: Permission denied\n"
    )
    assert path.exists()


# Ollama's


def test_ollamas_files_are_only_reported(cache: Path, tmp_path: Path) -> None:
    root = tmp_path / "ollama"
    put(root, library("tiny/latest"), layer(root, b"model"))
    assert collected() == {}
    lost = put_file(root / "blobs" / ("sha256-" + "a" * 64))
    part = put_file(root / "blobs" / ("sha256-" + "b" * 64 + "-partial"))
    chunk = put_file(root / "blobs" / ("sha256-" + "b" * 64 + "-partial-0"))
    assert collected(later=0) == {}
    found = collected()
    assert set(found) == {lost.name, part.name, chunk.name}
    for path in (lost, part, chunk):
        assert path.exists() and found[path.name].kept and found[path.name].bytes == 5
        assert f"rm {path}" in found[path.name].why
    assert "did not finish" in found[part.name].why


@pytest.mark.parametrize("text", ["{", "", "[]"])
def test_of_ollamas_files_nothing_is_said_when_a_manifest_is_damaged(
    cache: Path, tmp_path: Path, text: str
) -> None:
    """What a damaged one names cannot be told, and must not be called garbage."""
    root = tmp_path / "ollama"
    put(root, library("tiny/latest"), layer(root, b"model")).write_text(text)
    assert collected() == {}


def test_of_ollamas_files_nothing_is_said_without_its_lists(cache: Path, tmp_path: Path) -> None:
    put_file(tmp_path / "ollama" / "blobs" / ("sha256-" + "a" * 64))
    assert collected() == {}


def test_what_a_listing_shows_is_never_garbage(cache: Path, folder: Path) -> None:
    for number in (2, 3):
        publish(cache, "owner/name", FILES, revision=commit(number), ref=f"v{number}")
    before = [info.path for info in store.installed(revisions=True) if info.store == "hub"]
    assert len(before) == 3 and collected() == {}
