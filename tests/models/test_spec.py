from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmspell_jupyter.errors import InvalidModelSpec
from llmspell_jupyter.models import spec
from llmspell_jupyter.types import ModelSpec

WORDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
OWNERS = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,20}[A-Za-z0-9_])?", fullmatch=True)
REPOSITORIES = st.lists(OWNERS, min_size=1, max_size=2).map("/".join).filter(spec.is_repository)
FILES = st.lists(st.text("ab cÄ0.-_~(", min_size=1, max_size=12), min_size=1, max_size=3).map(
    "/".join
)
BACKENDS = st.none() | st.sampled_from(sorted(set(spec.BACKENDS.values())))
OTHERS = st.sampled_from(sorted(spec.PROVIDERS - spec.BACKENDS.keys()))
SPECS = st.one_of(
    st.builds(ModelSpec, name=WORDS, variant=st.none() | WORDS, backend=BACKENDS),
    st.builds(
        ModelSpec,
        name=st.lists(WORDS | st.sampled_from(sorted(spec.PROVIDERS)), min_size=1, max_size=4).map(
            "/".join
        ),
        variant=st.none() | WORDS,
        backend=st.just("ollama"),
    ),
    st.builds(
        ModelSpec,
        name=REPOSITORIES | st.sampled_from(["openai/x", "Ollama/x", "local/x", "gpt2"]),
        variant=st.none() | WORDS | FILES.filter(lambda file: spec.problem_of_file(file) is None),
        backend=st.sampled_from([None, "candle"]),
        kind=st.just("repository"),
    ),
    st.builds(
        ModelSpec,
        name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,40}", fullmatch=True),
        provider=OTHERS,
    ),
    st.builds(
        ModelSpec,
        name=st.from_regex(r"(/|~/|\./|\.\./|C:\\)[a-zÄ0-9@: ./]{0,20}", fullmatch=True).map(
            str.strip
        ),
        kind=st.just("path"),
    ),
)


@settings(max_examples=1000)
@given(SPECS)
def test_what_is_printed_is_read_back(given: ModelSpec) -> None:
    assert spec.parse(str(given)) == given
    if given.provider is None and given.backend is None:
        assert spec.parse(given.id) == given


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
        ("hf.co/org/model:Q4_0@ollama", "hf.co/org/model", "Q4_0", "ollama"),
        ("https://hf.co/org/model@ollama", "hf.co/org/model", None, "ollama"),
        ("org/model:7b@ollama", "org/model", "7b", "ollama"),
        ("ollama/org/model", "org/model", None, "ollama"),
        ("openai/model@ollama", "openai/model", None, "ollama"),
        ("hf.co", "hf.co", None, None),
        ("  phi-3  ", "phi-3", None, None),
    ],
)
def test_examples(text: str, name: str, variant: str | None, backend: str | None) -> None:
    assert spec.parse(text) == ModelSpec(name, variant, backend)


@pytest.mark.parametrize(
    ("text", "name", "variant", "backend"),
    [
        ("hf.co/org/model", "org/model", None, None),
        ("hf.co/org/model:Q4_0", "org/model", "Q4_0", None),
        ("org/model:Q4_0", "org/model", "Q4_0", None),
        ("org/model:sub/a b.gguf", "org/model", "sub/a b.gguf", None),
        ("HuggingFace.co/org/model@candle", "org/model", None, "candle"),
        ("candle/org/model:x.gguf", "org/model", "x.gguf", "candle"),
        ("candle/hf.co/org/model", "org/model", None, "candle"),
        ("https://huggingface.co/org/model/", "org/model", None, None),
        ("https://huggingface.co/org/model/tree/main", "org/model", None, None),
        ("https://hf.co/org/m/blob/main/s/x.gguf", "org/m", "s/x.gguf", None),
        ("hf.co/org/m/resolve/main/x.gguf?download=true", "org/m", "x.gguf", None),
        # What a provider's name is worn by, too.
        ("hf.co/openai/x", "openai/x", None, None),
        ("openai/x@candle", "openai/x", None, "candle"),
        ("hf.co/gpt2", "gpt2", None, None),
    ],
)
def test_repositories(text: str, name: str, variant: str | None, backend: str | None) -> None:
    found = spec.parse(text)
    assert found == ModelSpec(name, variant, backend, kind="repository")
    assert str(found).startswith(f"hf.co/{name}")


def test_one_model_has_several_spellings() -> None:
    for spelling in ("local/x:7b@candle", "candle/x:7b", "local/x:7b", "x:7b@local", "x:7b@candle"):
        assert str(spec.parse(spelling)) == "x:7b@candle"
    for spelling in ("local/x@ollama", "ollama/x", "OLLAMA/x@ollama", "x@ollama"):
        assert str(spec.parse(spelling)) == "x@ollama"


@pytest.mark.parametrize(
    ("text", "provider", "name"),
    [
        ("openai/gpt-4o", "openai", "gpt-4o"),
        ("OpenAI/ft:gpt-4o:org::id", "openai", "ft:gpt-4o:org::id"),
        ("together/meta-llama/Llama-3", "together", "meta-llama/Llama-3"),
        ("microsoft/phi-2", None, "microsoft/phi-2"),
    ],
)
def test_only_known_providers_are_prefixes(text: str, provider: str | None, name: str) -> None:
    found = spec.parse(text)
    assert (found.provider, found.name) == (provider, name)


def test_two_backends_are_one_too_many() -> None:
    for text in ("ollama/x@candle", "candle/x@ollama"):
        with pytest.raises(InvalidModelSpec, match="names two backends") as caught:
            spec.parse(text)
        assert f"x@{text.rpartition('@')[2]}" in caught.value.hint


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
        "a//b",
        "a/../b",
        "a/b/c",
        "a/b:",
        "a/b:../c",
        "a/b:/c",
        "a/b:c\\d",
        "a/b:c:d",
        "a--b/c",
        "a..b/c",
        "a/b.git",
        "a/-b",
        "hf.co/",
        "hf.co/a/b/c",
        "hf.co/a/b/blob/main/../c",
        "hf.co/a/b/blob/other/c.gguf",
        "candle//etc/passwd",
        "local/~/x",
        "openai/",
        "ollama/../x",
        "\\\\host\\share",
        "a\x00b",
        "a\nb",
        "-rf",
        ".hidden",
        "modèle",
        "x" * 301,
        "a:b/c",
        "a~",
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
@example("candle/" + "a" * 90 + "/" + "b" * 90 + ":" + "c" * 111)
@example("/" + "a" * 5_000)
@example("/\ud800")
def test_any_text_is_a_spec_or_an_invalid_one(text: str) -> None:
    try:
        found = spec.parse(text)
    except InvalidModelSpec as error:
        assert len(str(error)) < 700
    else:
        assert spec.parse(str(found)) == found
        assert found.kind == "path" or not spec.is_path(text)


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
def test_a_path_is_a_model_as_it_stands(text: str) -> None:
    assert spec.is_path(text)
    assert spec.split_provider(text) == (None, text.strip())
    assert spec.parse(text) == ModelSpec(text.strip(), kind="path")


@pytest.mark.parametrize("text", ["/a\nb", "./\x00", "~/\ud800", "/" + "a" * 5_000])
def test_paths_are_text_on_one_line(text: str) -> None:
    with pytest.raises(InvalidModelSpec, match="not a path of a model") as caught:
        spec.parse(text)
    assert len(str(caught.value)) < 300 and "\x00" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["m", "m:7b", "org/m", ".hidden", "..m", "candle/m", "c:m", "", "a~/b"]
)
def test_what_is_no_path(text: str) -> None:
    assert not spec.is_path(text)


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


@pytest.mark.parametrize(
    ("file", "quantization"),
    [
        ("tinyllama-1.1b-chat-v1.0.Q4_K_M.gguf", "Q4_K_M"),
        ("qwen2-0_5b-instruct-q4_k_m.gguf", "Q4_K_M"),
        ("Llama-3.1-8B-Instruct-Q6_K_L-00001-of-00002.gguf", "Q6_K_L"),
        ("Q8_0/x-00001-of-00003.gguf", "Q8_0"),
        ("BF16/x-Q5_K_S.gguf", "Q5_K_S"),
        ("x-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("x-IQ3_XXS.gguf", "IQ3_XXS"),
        ("x.i1-IQ4_NL.gguf", "IQ4_NL"),
        ("x-Q4_0_4_8.gguf", "Q4_0_4_8"),
        ("Phi-3-mini-4k-instruct-q4.gguf", "Q4"),
        ("Phi-3-mini-4k-instruct-fp16.gguf", "F16"),
        ("x.BF16.gguf", "BF16"),
        ("x-TQ1_0.gguf", "TQ1_0"),
        ("gpt-oss-20b-MXFP4.gguf", "MXFP4"),
        ("Q5_K_M_imat.gguf", "Q5_K_M"),
        ("model.gguf", None),
        ("q2r4.gguf", None),
        ("faq4_0.gguf", None),
    ],
)
def test_a_files_name_tells_its_quantisation(file: str, quantization: str | None) -> None:
    assert spec.quantization_of(file) == quantization
