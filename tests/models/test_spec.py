from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmspell_jupyter.errors import InvalidModelSpec
from llmspell_jupyter.models import spec
from llmspell_jupyter.types import ModelSpec

WORDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
NAMES = st.lists(WORDS, min_size=1, max_size=3).map("/".join)
SPECS = st.builds(
    ModelSpec,
    name=NAMES,
    variant=st.none() | WORDS,
    backend=st.none() | st.sampled_from(sorted(set(spec.BACKENDS.values()))),
)


@given(SPECS)
def test_what_is_printed_is_read_back(given: ModelSpec) -> None:
    assert spec.parse(str(given)) == given
    assert spec.parse(given.id) == dataclasses.replace(given, backend=None)


@pytest.mark.parametrize(
    ("text", "name", "variant", "backend"),
    [
        ("smollm2", "smollm2", None, None),
        ("smollm2:135m", "smollm2", "135m", None),
        ("llama3.1:8b@ollama", "llama3.1", "8b", "ollama"),
        ("llama3.1:8b-Q4_K_M@candle", "llama3.1", "8b-Q4_K_M", "candle"),
        ("smollm2@local", "smollm2", None, "candle"),
        ("smollm2@LOCAL", "smollm2", None, "candle"),
        ("smollm2@Ollama", "smollm2", None, "ollama"),
        ("hf.co/org/model:Q4_0", "hf.co/org/model", "Q4_0", None),
        ("  phi-3  ", "phi-3", None, None),
    ],
)
def test_examples(text: str, name: str, variant: str | None, backend: str | None) -> None:
    assert spec.parse(text) == ModelSpec(name, variant, backend)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ":",
        "@",
        "a:",
        "a@",
        ":b",
        "@candle",
        "a:b:c",
        "a@candle@ollama",
        "a@candle:b",
        "a b",
        "a/",
        "/a",
        "a//b",
        "..",
        "../etc/passwd",
        "a/../b",
        "/etc/passwd",
        "C:\\models\\x",
        "\\\\host\\share",
        "a\x00b",
        "a\nb",
        "-rf",
        ".hidden",
        "modèle",
        "x" * 301,
        "a:b/c",
        "~",
        "${HOME}",
        "\ud800",
    ],
)
def test_what_is_no_model_name(text: str) -> None:
    with pytest.raises(InvalidModelSpec) as caught:
        spec.parse(text)
    assert spec.GRAMMAR in caught.value.hint
    assert "\n" not in caught.value.message and len(caught.value.message) < 200


def test_an_unknown_backend_is_named_with_the_known_ones() -> None:
    with pytest.raises(InvalidModelSpec, match=r"'vllm'.*candle, ollama") as caught:
        spec.parse("llama3@vllm")
    assert caught.value.data == {"backend": "vllm"}


NASTY = st.text(st.characters(), max_size=40) | st.text("ab.:@/\\-_ \n\x00~%", max_size=12)


@settings(max_examples=1000)
@given(NASTY)
@example("a" * 10_000)
@example("a/" * 5_000)
@example("a@" + "b" * 280)
def test_any_text_is_a_spec_or_an_invalid_one(text: str) -> None:
    try:
        found = spec.parse(text)
    except InvalidModelSpec as error:
        assert len(str(error)) < 600
    else:
        # Nothing in it can lead out of a folder.
        for part in (*found.name.split("/"), found.variant or "x"):
            assert part.isascii() and part[0].isalnum() and "\\" not in part
        assert spec.parse(str(found)) == found


@pytest.mark.parametrize(
    ("text", "provider", "rest"),
    [
        ("candle/smollm2", "candle", "smollm2"),
        ("local/smollm2:135m", "candle", "smollm2:135m"),
        ("OpenAI/gpt-4o", "openai", "gpt-4o"),
        ("ollama/llama3.1:8b", "ollama", "llama3.1:8b"),
        ("smollm2", None, "smollm2"),
        ("hf.co/org/model", None, "hf.co/org/model"),
        ("/x", None, "/x"),
        ("candle/", "candle", ""),
    ],
)
def test_a_provider_before_the_model(text: str, provider: str | None, rest: str) -> None:
    assert spec.split_provider(text) == (provider, rest)


PATHS = [
    *("/m", "/m/a.gguf", "/", "./m", "../m", ".", "..", "./", "~/m", "~", "~nobody/m"),
    *("C:/m", "c:\\m", ".\\m", "..\\m", "~\\m", "  /m "),
]


@pytest.mark.parametrize("text", PATHS)
def test_a_path_is_never_a_spec(text: str) -> None:
    assert spec.is_path(text)
    assert spec.split_provider(text) == (None, text.strip())
    with pytest.raises(InvalidModelSpec):
        spec.parse(text)


@pytest.mark.parametrize(
    "text", ["m", "m:7b", "org/m", ".hidden", "..m", "candle/m", "c:m", "", "a~/b"]
)
def test_what_is_no_path(text: str) -> None:
    assert not spec.is_path(text)


@given(NASTY)
def test_what_parses_is_no_path(text: str) -> None:
    if spec.is_path(text):
        with pytest.raises(InvalidModelSpec):
            spec.parse(text)


def test_paths_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    here = str(tmp_path)
    for text, whole in {
        "./m/x.gguf": f"{here}/m/x.gguf",
        " ../m ": f"{tmp_path.parent}/m",
        ".": here,
        "~/m": f"{here}/home/m",
        "/a/./b/../c": "/a/c",
    }.items():
        assert spec.absolute(text) == whole
    with pytest.raises(InvalidModelSpec, match="not a path here"):
        spec.absolute("~no-such-user-here/m")


@given(NASTY)
def test_any_text_can_be_split(text: str) -> None:
    provider, rest = spec.split_provider(text)
    assert provider is None or provider in spec.PROVIDERS
    assert text.strip().endswith(rest)


@pytest.mark.parametrize(
    ("variant", "parts"),
    [
        (None, (None, None)),
        ("135m", ("135m", None)),
        ("1.7B", ("1.7B", None)),
        ("8b-Q4_K_M", ("8b", "Q4_K_M")),
        ("Q4_K_M", (None, "Q4_K_M")),
        ("latest", (None, "latest")),
        ("8x7b", (None, "8x7b")),
    ],
)
def test_size_and_quantisation(variant: str | None, parts: tuple[str | None, str | None]) -> None:
    assert spec.split_variant(variant) == parts
