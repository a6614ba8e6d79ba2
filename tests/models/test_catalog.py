"""The shipped catalog says what is so, and further ones cannot break it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmspell_jupyter.config import paths
from llmspell_jupyter.engine import architectures
from llmspell_jupyter.errors import ConfigError, InvalidModelSpec
from llmspell_jupyter.models import catalog, catalog_file, nearest, spec, store
from llmspell_jupyter.models.catalog import CatalogModel
from llmspell_jupyter.types import Lookup

MODELS = catalog_file.read(paths.builtin_catalog()).models
BY_NAME = {model.name: model for model in MODELS}

# Licences that let anyone use, change and pass on; identifiers of SPDX, in lower case.
PERMISSIVE = {"apache-2.0", "mit"}
# Shipped and marked, because scripts of rs-llmspell name them.
CONDITIONAL = {"llama3.1", "llama3.2"}

# Bits for a weight, scales included; a row that is no multiple of 256 falls back to larger kinds.
BITS = {"Q4_K_M": 4.9, "Q5_K_M": 5.7, "Q6_K": 6.6, "Q8_0": 8.5, "F16": 16, "BF16": 16, "F32": 32}
FALLBACK = BITS | {"Q4_K_M": 6.3, "Q5_K_M": 6.7, "Q6_K": 8.2}


@pytest.fixture(autouse=True)
def only_the_shipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("LLMSPELL_MODELS_CATALOGS", "JUPYTER_CONFIG_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "jupyter"))


def parameters(model: CatalogModel, *, tied: bool) -> int:
    """Weights that follow from the shape, norms and biases aside."""
    shape = model.shape
    assert shape is not None
    narrow = 2 * shape.width * shape.heads * shape.head
    attention = narrow + 2 * shape.width * shape.key_heads * shape.head
    gated = model.architecture not in ("phi2", "bert", "t5") or model.name.startswith("flan")
    inner = (3 if gated else 2) * shape.width * shape.inner
    blocks = shape.layers * (attention + inner)
    if model.architecture == "t5":  # An encoder, and a decoder that also looks at the encoder.
        blocks = shape.layers * (3 * attention + 2 * inner)
    return blocks + shape.vocabulary * shape.width * (1 if tied else 2)


# The shipped catalog


def test_it_is_read_without_a_complaint() -> None:
    assert catalog_file.read(paths.builtin_catalog()).notes == ()
    assert len(MODELS) >= 40
    assert list(catalog.models()) == [model.name for model in MODELS]


def test_names_are_unique_whatever_their_case() -> None:
    names = [name.lower() for model in MODELS for name in (model.name, *model.aliases)]
    assert sorted(names) == sorted(set(names))
    assert len({model.repository.lower() for model in MODELS}) == len(MODELS)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_entry_fits_together(model: CatalogModel) -> None:
    for name in (model.name, *model.aliases):
        parsed = spec.parse(name)
        assert (parsed.kind, parsed.backend, parsed.provider) == ("name", None, None)
        assert str(parsed) == name == name.lower()
    assert spec.parse(f"hf.co/{model.repository}").name == model.repository
    assert model.title and len(model.title) <= 90
    assert model.license in PERMISSIVE | CONDITIONAL
    assert not model.gated
    assert model.quantization in model.files
    assert model.parameter_count and 20e6 < model.parameter_count < 15e9
    assert model.context_length and model.context_length >= 512
    closest = min(
        abs(parameters(model, tied=tied) / model.parameter_count - 1) for tied in (True, False)
    )
    assert closest < 0.03, "shape and number of weights differ"


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_sizes_follow_from_weights_and_quantisation(model: CatalogModel) -> None:
    assert model.shape is not None and model.parameter_count is not None
    whole = model.shape.width % 256 == 0
    head = model.shape.vocabulary * model.shape.width
    for quantization, files in model.files.items():
        bits = (BITS if whole else FALLBACK)[quantization]
        # Some files hold the weights that a model uses twice two times.
        expected = [
            bits * count / 8 for count in (model.parameter_count, model.parameter_count + head)
        ]
        size = sum(file.size_bytes for file in files)
        assert any(abs(size / each - 1) < 0.2 for each in expected), (quantization, size, expected)
        assert size == model.size_bytes(quantization)
        for file in files:
            assert spec.problem_of_file(file.path) is None
            if model.format == "GGUF":
                assert spec.quantization_of(file.path) == quantization
                assert file.path.endswith(".gguf")
            else:
                assert file.path.endswith(".safetensors")


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_the_engine_runs_every_entry(model: CatalogModel) -> None:
    kinds = [
        kind
        for kind in architectures.all_architectures()
        if model.architecture in kind.types.get(model.format, ()) and model.format in kind.backends
    ]
    assert len(kinds) == 1
    assert set(model.tasks) <= kinds[0].tasks


def test_the_names_of_rs_llmspell_are_there() -> None:
    for name, repository, file in (
        (
            "tinyllama",
            "TheBloke/TinyLlama-1.1B-Chat-v1.0-GGUF",
            "tinyllama-1.1b-chat-v1.0.Q4_K_M.gguf",
        ),
        (
            "tinyllama-1.1b",
            "TheBloke/TinyLlama-1.1B-Chat-v1.0-GGUF",
            "tinyllama-1.1b-chat-v1.0.Q4_K_M.gguf",
        ),
        ("phi-2", "TheBloke/phi-2-GGUF", "phi-2.Q4_K_M.gguf"),
        ("qwen2-0.5b", "Qwen/Qwen2-0.5B-Instruct-GGUF", "qwen2-0_5b-instruct-q4_k_m.gguf"),
        *(
            (f"flan-t5-{size}", f"google/flan-t5-{size}", "model.safetensors")
            for size in ("small", "base", "large")
        ),
        *(
            (f"t5-{size}", f"google-t5/t5-{size}", "model.safetensors")
            for size in ("small", "base", "large")
        ),
    ):
        model = catalog.find(name)
        assert model is not None and model.repository == repository
        assert model.files[model.quantization or ""][0].path == file


def test_the_licence_of_most_lets_anyone_use_it() -> None:
    conditional = {model.name for model in MODELS if model.license in CONDITIONAL}
    assert conditional == {"llama3.1-8b", "llama3.2-1b", "llama3.2-3b"}
    sizes = sorted(model.parameter_count or 0 for model in MODELS if model.license in PERMISSIVE)
    assert sizes[0] < 30e6 and 14e9 < sizes[-1] < 15e9
    assert sum("embed" in model.tasks for model in MODELS) >= 5


def test_bundled_models_go_by_the_names_of_the_catalog() -> None:
    for info in store.installed([]):
        if info.bundled:
            model = catalog.find(info.id)
            assert model is not None and model.name == info.id
            assert info.architecture == model.architecture
            counted, said = info.parameter_count or 0, model.parameter_count or 0
            assert abs(counted / said - 1) < 0.02
            assert info.context_length == model.context_length


# Looking up


def test_case_does_not_matter() -> None:
    assert catalog.find(" TinyLlama ") is catalog.find("TINYLLAMA-1.1B") is not None
    assert catalog.find("tinyllama") == BY_NAME["tinyllama"]
    assert catalog.of_repository("thebloke/PHI-2-gguf") == BY_NAME["phi-2"]
    assert catalog.find("nothing") is None and catalog.of_repository("a/b") is None


@pytest.mark.parametrize(
    ("text", "name", "quantization"),
    [
        ("tinyllama", "tinyllama", None),
        ("TinyLlama:q5_k_m", "tinyllama", "Q5_K_M"),
        ("tinyllama:1.1b", "tinyllama", None),
        ("tinyllama:1.1b-Q8_0@candle", "tinyllama", "Q8_0"),
        ("qwen3:0.6b-Q8_0", "qwen3-0.6b", "Q8_0"),
        ("smollm2:135m", "smollm2:135m", None),
        ("smollm2:135m-Q8_0", "smollm2:135m", "Q8_0"),
        ("llama3.1:8b-q4", "llama3.1-8b", "Q4_K_M"),
        ("flan-t5-small", "flan-t5-small", None),
    ],
)
def test_specs_mean_models(text: str, name: str, quantization: str | None) -> None:
    found = catalog.of_spec(spec.parse(text))
    assert found is not None and found[0].name == name
    assert (found[1] and found[0].offers(found[1])) == quantization
    # What is listed once it is here is understood again.
    again = catalog.of_spec(spec.parse(found[0].id(quantization)))
    assert again is not None and again[0] is found[0]


@pytest.mark.parametrize(
    "text", ["smollm2", "a/tinyllama", "/tinyllama", "openai/tinyllama", "x:7b"]
)
def test_specs_that_mean_no_model_of_a_catalog(text: str) -> None:
    assert catalog.of_spec(spec.parse(text)) is None


def test_ids() -> None:
    assert BY_NAME["tinyllama"].id("Q4_K_M") == "tinyllama:Q4_K_M"
    assert BY_NAME["smollm2:135m"].id("Q4_1") == "smollm2:135m-Q4_1"
    assert BY_NAME["flan-t5-small"].id("F32") == "flan-t5-small"
    assert BY_NAME["tinyllama"].id() == "tinyllama"
    assert BY_NAME["tinyllama"].offers("Q2_K") is None


# Nearest names


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("tiny llama", "tinyllama"),
        ("smolm2:135m!", "smollm2:135m"),
        ("flan t5 small", "flan-t5-small"),
        ("hf.co/TinyLama!", "tinyllama"),
    ],
)
def test_what_is_no_name_brings_the_nearest(text: str, near: str) -> None:
    with pytest.raises(
        InvalidModelSpec, match=re.escape(f"Did you mean {near!r}? Write {spec.GRAMMAR}")
    ) as caught:
        spec.parse(text)
    assert caught.value.data["nearest"] == [near]


def test_what_no_catalog_has_brings_the_nearest() -> None:
    error = nearest.unknown(spec.parse("tinylama:Q4_K_M"))
    assert error.data == {"model": "tinylama:Q4_K_M", "nearest": ["tinyllama"]}
    for part in (
        "Did you mean tinyllama?",
        spec.GRAMMAR,
        "tinylama:Q4_K_M@ollama",
        "%model_available",
    ):
        assert part in error.hint
    error = nearest.unknown(spec.parse("zzzzzzzz"))
    assert "tinyllama, phi-2, qwen2-0.5b, flan-t5-small" in error.hint
    assert nearest.names("my-mod", further=["my-model:7b"]) == ["my-model:7b"]
    assert nearest.names("x" * 10_000) == nearest.names("") == nearest.names("\x00") == []


# Further catalogs

ENTRY = """
[[model]]
name = "{name}"
repository = "{repository}"
"""


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def test_two_lines_are_a_model(tmp_path: Path) -> None:
    path = written(tmp_path / "c.toml", ENTRY.format(name="House:7b", repository="us/house-GGUF"))
    (model,) = catalog_file.read(path).models
    assert model == CatalogModel("House:7b", "us/house-GGUF")
    assert (model.format, model.tasks, model.size_bytes()) == ("GGUF", ("generate",), None)
    lookup = Lookup(catalogs=(str(path),))
    assert (
        catalog.find("house:7B", lookup) == model == catalog.of_repository("us/House-gguf", lookup)
    )
    assert len(catalog.models(lookup)) == len(MODELS) + 1
    assert catalog.find("house:7b") is None
    assert nearest.names("hose:7b", lookup) == ["House:7b"]


def test_split_files_are_listed(tmp_path: Path) -> None:
    parts = 'files = { Q4_0 = [{ path = "a-1-of-2.gguf", size = 5 }, { path = "s/a-2-of-2.gguf", size = 6 }] }'
    path = written(tmp_path / "c.toml", ENTRY.format(name="a", repository="b/c") + parts)
    (model,) = catalog_file.read(path).models
    assert [file.path for file in model.files["Q4_0"]] == ["a-1-of-2.gguf", "s/a-2-of-2.gguf"]
    assert model.quantization == "Q4_0" and model.size_bytes() == 11


def test_earlier_catalogs_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request's, the variable's, the administrator's, then the shipped one."""
    places = {
        "request": tmp_path / "request.toml",
        "variable": tmp_path / "variable.toml",
        "administrator": tmp_path / "jupyter" / "llmspell_models.toml",
    }
    for who, path in places.items():
        names = ["tinyllama", "all", who]
        text = "".join(ENTRY.format(name=name, repository=f"{who}/{name}") for name in names)
        written(path, text)
    monkeypatch.setenv("LLMSPELL_MODELS_CATALOGS", str(places["variable"]))
    lookup = Lookup(catalogs=(str(places["request"]),))

    def repository(name: str, lookup: Lookup) -> str | None:
        found = catalog.find(name, lookup)
        return found and found.repository

    assert [repository(name, lookup) for name in ("all", *places)] == [
        *("request/all", "request/request", "variable/variable", "administrator/administrator"),
    ]
    assert repository("tinyllama", lookup) == "request/tinyllama"
    assert catalog.models(lookup)["tinyllama"].repository == "request/tinyllama"
    assert (
        repository("tinyllama", Lookup())
        == repository("TINYLLAMA", Lookup())
        == "variable/tinyllama"
    )
    monkeypatch.delenv("LLMSPELL_MODELS_CATALOGS")
    assert repository("all", Lookup()) == "administrator/all"
    places["administrator"].unlink()
    assert repository("all", Lookup()) is None
    assert catalog.notes() == ()


def test_a_catalog_that_changes_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    lookup = Lookup(catalogs=(str(path),))
    assert catalog.notes(lookup) == (f"There is no catalog {path}.",)
    for name in ("one", "two", "three"):
        written(path, ENTRY.format(name=name, repository="a/b"))
        os.utime(path, ns=(0, len(name) * 1_000 + ord(name[1])))
        assert catalog.find(name, lookup) is not None
        assert catalog.notes(lookup) == ()
    assert catalog.find("one", lookup) is None


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('name = "a b"', "name is not of the form"),
        ('name = "a@ollama"', "name is not of the form"),
        ('name = "openai/a"', "name is not of the form"),
        ('name = "/etc/passwd"', "name is not of the form"),
        ("name = 7", "name is not of the form"),
        ('aliases = ["a", "../b"]', "name is not of the form"),
        ('aliases = "a"', "not a list"),
        ('repository = "../b"', "repository is not owner/name"),
        ('repository = "b"', "repository is not owner/name"),
        ('files = { Q4_0 = [{ path = "../x.gguf", size = 1 }] }', "no safe path"),
        ('files = { Q4_0 = [{ path = "x.gguf", size = -1 }] }', "no safe path"),
        ('files = { Q4_0 = [{ path = "x.gguf", url = "x" }] }', "not {path, size}"),
        ("files = { Q4_0 = 5 }", "neither a size"),
        ("files = { Q4_0 = [] }", "neither a size"),
        ('files = { "a b" = 5 }\nfile = "{}.gguf"', "quantisation is not a word"),
        ('files = { Q4_0 = 5 }\nfile = "/{}.gguf"', "no safe path"),
        ('files = { Q4_0 = 5 }\nfile = "{}.gguf"\nquantization = "Q8_0"', "none of its files"),
        ('format = "pickle"', "none of GGUF, safetensors"),
        ('tasks = ["fly"]', "none of generate, embed"),
        ('title = "a\\u001bb"', "not a text on one line"),
        ("license = 5", "not a text on one line"),
        ("parameters = 0", "not a positive number"),
        ("context = 1e9", "not a positive number"),
        ('gated = "yes"', "neither true nor false"),
        ("shape = { layers = 5 }", "shape does not hold"),
        ('licence = "mit"', "there is no key 'licence'"),
    ],
)
def test_a_wrong_entry_is_left_out_and_said(tmp_path: Path, line: str, problem: str) -> None:
    key = line.partition(" ")[0]
    entry = {"name": 'name = "bad"', "repository": 'repository = "a/b"'} | {key: line}
    text = "\n".join(["[[model]]", *entry.values()]) + ENTRY.format(name="good", repository="c/d")
    found = catalog_file.read(written(tmp_path / "c.toml", text))
    assert [model.name for model in found.models] == ["good"]
    (note,) = found.notes
    assert problem in note and str(tmp_path / "c.toml") in note and "\n" not in note


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[[model", "is no TOML"),
        ("model = 5", "no list [[model]]"),
        ("", "no list [[model]]"),
        ("x = " + "[" * 50_000, "is no TOML"),
        ("#" * 1_100_000, "larger than 1,048,576 bytes"),
    ],
    ids=["cut", "number", "empty", "deep", "large"],
)
def test_a_broken_catalog_is_a_note(tmp_path: Path, text: str, problem: str) -> None:
    path = written(tmp_path / "c.toml", text)
    with pytest.raises(ConfigError, match=re.escape(problem)):
        catalog_file.read(path)
    lookup = Lookup(catalogs=(str(path), str(tmp_path)))
    broken, folder = catalog.notes(lookup)
    assert problem in broken and "There is no catalog" in folder
    assert len(catalog.models(lookup)) == len(MODELS)


@given(st.binary(max_size=200) | st.text("[]model={}\"'\n.,5# ", max_size=80).map(str.encode))
def test_any_bytes_are_a_catalog_or_an_error(data: bytes) -> None:
    path = Path(os.environ["JUPYTER_CONFIG_DIR"]).parent / "any.toml"
    path.write_bytes(data)
    try:
        found = catalog_file.read(path)
    except ConfigError as error:
        assert "\n" not in error.message
    else:
        assert found.models == ()


@pytest.fixture
def package(tmp_path: Path) -> Iterator[Path]:
    """A package that brings catalogs: a path, a function, one that raises, one that is not there."""
    home = tmp_path / "site"
    info = home / "more_models-1.dist-info"
    written(info / "METADATA", "Metadata-Version: 2.1\nName: more-models\nVersion: 1\n")
    written(
        info / "entry_points.txt",
        "[llmspell_jupyter.catalogs]\n"
        "path = more_models:PATH\nfunction = more_models:path\n"
        "raises = more_models:raises\nmissing = more_models:missing\n",
    )
    written(
        home / "more_models" / "__init__.py",
        textwrap.dedent("""
            from pathlib import Path
            PATH = Path(__file__).with_name("a.toml")
            def path():
                return str(Path(__file__).with_name("b.toml"))
            def raises():
                raise RuntimeError("no catalog today")
        """),
    )
    for name in ("a", "b"):
        text = ENTRY.format(name=f"of-{name}", repository=f"x/{name}")
        written(home / "more_models" / f"{name}.toml", text)
    yield home


def test_packages_bring_catalogs(package: Path) -> None:
    """In a process of its own, as the packages of one are looked for once."""
    code = """
import json
from llmspell_jupyter.models import catalog
names = [name for name in catalog.models() if name.startswith("of-")]
print(json.dumps([names, len(catalog.models()), catalog.notes()]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names, count, notes = json.loads(done.stdout)
    assert names == ["of-a", "of-b"] and count == len(MODELS) + 2
    assert len(notes) == 2
    assert any("no catalog today" in note for note in notes)
    assert any("missing" in note for note in notes)


def test_no_installed_package_brings_any() -> None:
    assert not importlib.metadata.entry_points(group=catalog.ENTRY_POINTS)


def test_a_kernel_reads_it_in_no_time() -> None:
    """A deadline with room to spare; it takes 7 ms. Speed itself is for the benchmarks."""
    start = time.perf_counter()
    catalog_file.read(paths.builtin_catalog())
    assert time.perf_counter() - start < 1
