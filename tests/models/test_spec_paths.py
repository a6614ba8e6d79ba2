"""No name that a server, a catalog or a user gives leads out of the store (THREATS P5)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from llmspell_jupyter.errors import InvalidModelSpec
from llmspell_jupyter.models import spec

REAL = [
    *("config.json", "model-00001-of-00002.safetensors", "Q4_K_M/x.gguf", ".gitattributes"),
    *("a b.gguf", "modèle.gguf", "模型.gguf", "x..y.gguf", "x" * 255, "a/" * 60 + "b", "~", "-rf"),
]
EVIL = [
    *("", ".", "..", "...", "../x", "a/../../x", "a/..", "a/./b", "/x", "//host/share/x", "a//b"),
    *("a/", "\\\\host\\share", "a\\b", "..\\x", "C:x", "C:/x", "c:\\x", "x:stream", "\\\\?\\C:\\x"),
    *("a\x00b", "a\nb", "\x1b[2J", "a\x85b", "x\u202egnp.gguf", "\ud800", "\ufeffa", "\u200b"),
    *(
        "NUL",
        "con.txt",
        "a/aux",
        "COM1.gguf",
        "lpt9",
        "COM²",
        "a.",
        ".. ",
        " a",
        "a ",
        "a./b",
        ". .",
    ),
    *("x" * 256, "ä" * 200, "a/" * 1_000 + "b", "a*b", "a?b", "a<b", 'a"b', "a|b"),
]
PIECES = st.sampled_from(
    [
        *("..", ".", "/", "\\", "//", ":", "C:", "~", "\x00", "\n", " ", "nul", "%2e%2e", "a", "Ü"),
        *("\u2025", "\uff0f", "\uff0e\uff0e", "\u202e", "models--", "--", "x" * 100, "x" * 300),
    ]
)
NAMES = st.lists(PIECES, min_size=0, max_size=8).map("".join) | st.text(max_size=40)


def _inside(path: Path, folder: Path) -> bool:
    # As the system would follow it, and as its text reads.
    real = Path(os.path.realpath(path))
    return real != folder and real.is_relative_to(folder) and path.is_relative_to(folder)


@pytest.mark.parametrize("name", REAL)
def test_names_of_real_files_are_kept(tmp_path: Path, name: str) -> None:
    path = spec.file_in(tmp_path, name)
    assert path == tmp_path / name and _inside(path, tmp_path)


@pytest.mark.parametrize("name", EVIL, ids=ascii)
def test_names_that_could_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidModelSpec, match="is not kept: ") as caught:
        spec.file_in(tmp_path, name)
    assert caught.value.message.isprintable() and len(str(caught.value)) < 400
    caught.value.data["file"].encode("ascii")


@settings(max_examples=10_000, suppress_health_check=list(HealthCheck), deadline=None)
@given(NAMES)
@example("../" * 50)
@example("a" * 300)
def test_no_name_leads_out_of_the_store(store: Path, name: str) -> None:
    outside = sorted(store.parent.iterdir())
    made = []
    for make in (
        lambda: spec.file_in(store, name),
        lambda: store / spec.repository_folder(name),
        lambda: store / "snapshots" / spec.commit(name),
    ):
        try:
            made.append(make())
        except InvalidModelSpec as error:
            assert len(str(error)) < 700
    try:
        found = spec.parse(name)
    except InvalidModelSpec:
        pass
    else:
        assert spec.parse(str(found)) == found
        if found.kind == "repository":
            made.append(store / spec.repository_folder(found.name))
            assert spec.repository_of(made[-1].name) == found.name
            if "/" in (found.variant or ""):
                made.append(spec.file_in(store, found.variant or ""))
    for path in made:
        assert _inside(path, store), (name, path)
    assert sorted(store.parent.iterdir()) == outside


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("around").resolve() / "store"
    folder.mkdir()
    return folder


def test_a_store_may_be_reached_through_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)
    path = spec.file_in(link, "a/b")
    path.parent.mkdir()
    path.write_text("x")
    assert (real / "a" / "b").read_text() == "x"


def test_a_link_inside_the_store_is_not_followed(tmp_path: Path) -> None:
    store, outside = tmp_path / "store", tmp_path / "outside"
    store.mkdir()
    outside.mkdir()
    (store / "a").symlink_to(outside)
    with pytest.raises(InvalidModelSpec, match="'a' is a link there"):
        spec.file_in(store, "a/b")
    # A snapshot's files are links themselves.
    assert spec.file_in(store, "a") == store / "a"


@pytest.mark.parametrize(
    ("repository", "folder"),
    [
        ("Qwen/Qwen3-0.6B-GGUF", "models--Qwen--Qwen3-0.6B-GGUF"),
        ("a_b/c.d", "models--a_b--c.d"),
        ("t5-small", "models--t5-small"),
    ],
)
def test_repositories_have_folders(repository: str, folder: str) -> None:
    assert spec.repository_folder(repository) == folder
    assert spec.repository_of(folder) == repository


@pytest.mark.parametrize(
    "folder",
    [
        *("datasets--a--b", "models", "models--", "models--a--", "models----a", "models--a--b--c"),
        *("models--..--..", "models--a/b", "Models--a--b", "version.txt", ".locks", ""),
    ],
)
def test_other_folders_are_no_repositories(folder: str) -> None:
    assert spec.repository_of(folder) is None


def test_commits() -> None:
    assert spec.commit("ABCDEF" + "0" * 34) == "abcdef" + "0" * 34
    for text in ("main", "0" * 39, "0" * 41, "g" * 40, "0" * 39 + "\n", "\u0660" * 40):
        assert not spec.is_commit(text)
        with pytest.raises(InvalidModelSpec, match="is not a commit"):
            spec.commit(text)
