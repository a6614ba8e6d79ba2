"""Profiles and configuration from a cell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kernels import Notebook, notebook


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def book(home: Path) -> Iterator[Notebook]:
    """A kernel in a folder of its own, with one key from a variable and one secret."""
    variables = {"LLMSPELL_RAG_EMBEDDING_BATCH_SIZE": "7", "OPENAI_API_KEY": "sk-canary"}
    with notebook(HOME=str(home), **variables) as made:
        made.good(f"%cd -q {home}")
        yield made


def test_a_switch_says_what_changed_and_keeps_lua(book: Notebook) -> None:
    book.good("%llmspell_profile candle")
    book.good("%%lua\nkept = 'yes'")
    said = book.good("%llmspell_profile minimal").stdout
    assert said.startswith("Profile minimal · no provider")
    assert 'providers.default_provider: "candle" -> none' in said
    assert book.value("%lua kept") == "'yes'"
    assert "engines.lua" in said or "stdlib" in said
    book.good("%llmspell_profile local")


def test_a_change_of_the_sandbox_level_starts_lua_anew(book: Notebook, home: Path) -> None:
    (home / "open.toml").write_text(
        'extends = "candle"\n[engines.lua]\nsecurity_level = "Privileged"\n'
    )
    book.good("%llmspell_profile candle")
    book.good("%%lua\nkept = 'yes'")
    said = book.good("%llmspell_profile -c open.toml").stdout
    assert said.startswith("Profile open.toml · provider candle")
    assert "Lua globals are forgotten" in said
    assert book.value("repr(get_ipython().run_line_magic('lua', 'kept'))") == "'None'"
    book.good("%llmspell_profile candle")


def test_profiles_are_listed_shown_and_compared(book: Notebook) -> None:
    listing = book.good("%llmspell_profile --list").stdout
    for name in ("minimal", "development", "ollama", "rag-production, rag-prod", "sessions"):
        assert name in listing
    assert "[providers.candle]" in book.good("%llmspell_profile --show").stdout
    difference = book.good("%llmspell_profile --diff rag-dev rag-prod").stdout
    assert "rag.embedding.batch_size: 4 -> 32" in difference
    assert book.run("%llmspell_profile --diff rag-dev wizard").error == "UnknownProfile"


def test_every_value_says_where_it_comes_from(book: Notebook) -> None:
    book.good("%llmspell_profile rag-prod")
    said = book.good("%llmspell_config explain rag.embedding.batch_size").stdout
    assert said.startswith("rag.embedding.batch_size = 7\n")
    assert "Set by    environment LLMSPELL_RAG_EMBEDDING_BATCH_SIZE" in said
    assert "Not used  32: profile rag-production" in said
    assert "rag-production.toml:" in said
    assert "Not yet in force" in said
    book.good("%llmspell_profile candle")


def test_values_are_shown_without_secrets(book: Notebook) -> None:
    book.good("%llmspell_profile providers")
    shown = book.good("%llmspell_config show providers.openai").stdout
    assert 'api_key_env = "OPENAI_API_KEY"' in shown
    as_json = book.good("%llmspell_config show providers --format json").stdout
    assert "sk-canary" not in shown + as_json
    asked = book.run("%%lua\nAgent.builder():build():execute('x')")
    assert asked.error == "ProviderError"
    assert "not yet in force" in asked.traceback
    book.good("%llmspell_profile candle")


def test_files_are_validated(book: Notebook, home: Path) -> None:
    (home / "good.toml").write_text('extends = "minimal"\n[rag]\nenabled = true\n')
    said = book.good("%llmspell_config validate good.toml").stdout
    assert said.startswith("good.toml is valid.")
    assert "Not yet in force: rag.enabled" in said
    (home / "bad.toml").write_text("[rag.embedding]\nbatch_sise = 4\n")
    output = book.run("%llmspell_config validate bad.toml")
    assert output.error == "ConfigError"
    assert "bad.toml:2: " in output.traceback
    assert "rag.embedding.batch_size" in output.traceback


def test_quotes_are_around_what_they_quote(book: Notebook, home: Path) -> None:
    (home / "my file.toml").write_text('extends = "minimal"\n')
    valid = "my file.toml is valid."
    assert book.good('%llmspell_config validate "my file.toml"').stdout.startswith(valid)
    for line in ('-c "my file.toml"', '--config="my file.toml"', "'minimal'"):
        assert " · no provider" in book.good(f"%llmspell_profile {line}").stdout
    book.good('%llmspell_profile "candle"')
    unclosed = book.run('%llmspell_config validate "my file.toml')
    assert "UsageError" in unclosed.stderr and "quotation mark" in unclosed.stderr


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("%llmspell_config explain", "explain KEY"),
        ("%llmspell_config explain rag.embeding.batch", "rag.embedding.batch_size"),
        ("%llmspell_config show ragg", "rag"),
        ("%llmspell_profile candle -c x.toml", "cannot be used together"),
        ("%llmspell_profile -c nowhere.toml", "nowhere.toml"),
    ],
)
def test_mistakes(book: Notebook, cell: str, says: str) -> None:
    output = book.run(cell)
    assert output.error in ("ConfigError", "RequestError")
    assert says in output.traceback
    assert "Traceback" not in output.traceback


def test_a_backend_that_is_not_configured(book: Notebook) -> None:
    book.good("%llmspell_profile minimal")
    output = book.run("%%lua\nAgent.builder():model('x@ollama'):build()")
    assert "Backend 'ollama' not configured. To use ollama models:" in output.traceback
    assert " 1. Use the builtin profile: %llmspell_profile ollama" in output.traceback
    assert " 2. Or configure ollama provider in your config file" in output.traceback
    unknown = book.run("%%lua\nAgent.builder():provider('wizard'):model('x'):build()")
    assert "no matching builtin profile found" in unknown.traceback
    assert "model:variant@backend" in unknown.traceback
    book.good("%llmspell_profile candle")


def test_auto_profile_brings_the_backend_and_says_so(book: Notebook, home: Path) -> None:
    (home / "auto.toml").write_text('extends = "minimal"\nauto_profile = true\n')
    book.good("%llmspell_profile -c auto.toml")
    output = book.good("%%lua\nprint(Agent.builder():model('echo@candle'):build():complete('hi'))")
    assert output.stdout == "candle is taken from its built-in profile (auto_profile).\nhi\n"
    assert book.good("%%lua\nAgent.builder():model('echo@candle'):build()").stdout == ""
    book.good("%llmspell_profile candle")


def test_ipython_shows_and_sets_the_profile(book: Notebook) -> None:
    book.good("%llmspell_profile")
    assert "LLMSpell.profile" in book.good("%config LLMSpell").stdout
    book.good("%config LLMSpell.profile = 'minimal'")
    assert book.good("%llmspell_profile").stdout.startswith("Profile minimal")
    wrong = book.run("%config LLMSpell.profile = 'wizard'")
    assert "Unknown builtin profile 'wizard'" in wrong.stderr + wrong.traceback
    assert book.good("%config LLMSpell.profile").stdout.strip().strip("'") in ("minimal", "")
    assert book.good("%llmspell_profile").stdout.startswith("Profile minimal")
    book.good("%config LLMSpell.profile = 'candle'")


def test_ipython_knows_the_settings_from_the_start() -> None:
    with notebook() as fresh:
        fresh.good("%config LLMSpell.profile = 'minimal'")
        assert fresh.good("%llmspell_profile").stdout.startswith("Profile minimal")
        fresh.good("%reload_ext llmspell_jupyter")
        assert fresh.good("%config").stdout.count("LLMSpell") == 1


def test_a_slip_in_a_variable_is_shown() -> None:
    with notebook(LLMSPELL_ENGINE_QUEUE_LIMITS="3") as fresh:
        assert "LLMSPELL_ENGINE_QUEUE_LIMIT" in fresh.good("%llmspell_profile").stdout


def test_a_configuration_file_of_ipython_counts(tmp_path: Path) -> None:
    folder = tmp_path / "profile_default"
    folder.mkdir()
    (folder / "ipython_kernel_config.py").write_text("c.LLMSpell.profile = 'minimal'\n")
    with notebook(IPYTHONDIR=str(tmp_path)) as made:
        assert made.good("%llmspell_profile").stdout.startswith("Profile minimal")
