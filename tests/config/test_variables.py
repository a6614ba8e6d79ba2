"""Environment variables: one for each key, read as the key's type."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from llmspell_jupyter.config import environment, leaves, variables
from llmspell_jupyter.errors import ConfigError
from tests.config.conftest import Machine

# Every variable of rs-llmspell that stands for a key.
UPSTREAM = """
LLMSPELL_DEFAULT_ENGINE default_engine
LLMSPELL_MAX_CONCURRENT_SCRIPTS runtime.max_concurrent_scripts
LLMSPELL_SCRIPT_TIMEOUT_SECONDS runtime.script_timeout_seconds
LLMSPELL_ALLOW_FILE_ACCESS runtime.security.allow_file_access
LLMSPELL_ALLOW_NETWORK_ACCESS runtime.security.allow_network_access
LLMSPELL_ALLOW_PROCESS_SPAWN runtime.security.allow_process_spawn
LLMSPELL_MAX_MEMORY_BYTES runtime.security.max_memory_bytes
LLMSPELL_MAX_EXECUTION_TIME_MS runtime.security.max_execution_time_ms
LLMSPELL_STATE_ENABLED runtime.state_persistence.enabled
LLMSPELL_STATE_BACKEND runtime.state_persistence.backend_type
LLMSPELL_STATE_PATH runtime.state_persistence.schema_directory
LLMSPELL_STATE_MIGRATION_ENABLED runtime.state_persistence.migration_enabled
LLMSPELL_STATE_BACKUP_ENABLED runtime.state_persistence.backup_enabled
LLMSPELL_STATE_BACKUP_ON_MIGRATION runtime.state_persistence.backup_on_migration
LLMSPELL_STATE_BACKUP_DIR runtime.state_persistence.backup.backup_dir
LLMSPELL_STATE_MAX_SIZE_BYTES runtime.state_persistence.max_state_size_bytes
LLMSPELL_STORAGE_BASE_DIR storage.base_dir
LLMSPELL_STORAGE_DATABASE_PATH storage.database_path
LLMSPELL_STORAGE_SESSIONS_DIR storage.sessions_dir
OPENAI_API_KEY providers.openai.api_key
ANTHROPIC_API_KEY providers.anthropic.api_key
GEMINI_API_KEY providers.gemini.api_key
OPENROUTER_API_KEY providers.openrouter.api_key
GROQ_API_KEY providers.groq.api_key
XAI_API_KEY providers.xai.api_key
HFHUB_API_KEY providers.huggingface.api_key
LLMSPELL_PROVIDER_OPENAI_API_KEY providers.openai.api_key
LLMSPELL_PROVIDER_ANTHROPIC_API_KEY providers.anthropic.api_key
LLMSPELL_PROVIDER_GEMINI_API_KEY providers.gemini.api_key
LLMSPELL_PROVIDER_OPENAI_BASE_URL providers.openai.base_url
LLMSPELL_PROVIDER_ANTHROPIC_BASE_URL providers.anthropic.base_url
LLMSPELL_PROVIDER_OPENAI_MODEL providers.openai.default_model
LLMSPELL_PROVIDER_ANTHROPIC_MODEL providers.anthropic.default_model
LLMSPELL_PROVIDER_OPENAI_TIMEOUT providers.openai.timeout_seconds
LLMSPELL_PROVIDER_ANTHROPIC_TIMEOUT providers.anthropic.timeout_seconds
LLMSPELL_PROVIDER_OPENAI_MAX_RETRIES providers.openai.max_retries
LLMSPELL_PROVIDER_ANTHROPIC_MAX_RETRIES providers.anthropic.max_retries
LLMSPELL_TOOLS_ENABLED tools.enabled
LLMSPELL_TOOLS_RATE_LIMIT tools.rate_limit_per_minute
LLMSPELL_TOOLS_FILE_OPS_ENABLED tools.file_operations.enabled
LLMSPELL_TOOLS_MAX_FILE_SIZE tools.file_operations.max_file_size
LLMSPELL_TOOLS_ALLOWED_PATHS tools.file_operations.allowed_paths
LLMSPELL_TOOLS_NETWORK_TIMEOUT tools.network.timeout_seconds
LLMSPELL_TOOLS_NETWORK_MAX_RETRIES tools.network.max_retries
LLMSPELL_TOOLS_NETWORK_VERIFY_SSL tools.network.verify_ssl
LLMSPELL_TOOLS_WEB_USER_AGENT tools.web_tools.user_agent
LLMSPELL_TOOLS_WEB_ALLOWED_DOMAINS tools.web_tools.allowed_domains
LLMSPELL_TOOLS_WEB_BLOCKED_DOMAINS tools.web_tools.blocked_domains
LLMSPELL_TOOLS_WEB_MAX_REDIRECTS tools.web_tools.max_redirects
LLMSPELL_TOOLS_WEB_SCRAPING_DELAY tools.web_tools.scraping_delay_ms
LLMSPELL_TOOLS_MEDIA_MAX_SIZE tools.media.max_file_size
LLMSPELL_TOOLS_MEDIA_PROCESSING_TIMEOUT tools.media.processing_timeout_seconds
LLMSPELL_TOOLS_MEDIA_IMAGE_MAX_DIMENSIONS tools.media.image_max_dimensions
LLMSPELL_TOOLS_DB_CONNECTION_TIMEOUT tools.database.connection_timeout_seconds
LLMSPELL_TOOLS_DB_MAX_CONNECTIONS tools.database.max_connections
LLMSPELL_TOOLS_DB_ALLOWED_HOSTS tools.database.allowed_hosts
LLMSPELL_TOOLS_EMAIL_SMTP_HOST tools.email.smtp_host
LLMSPELL_TOOLS_EMAIL_SMTP_PORT tools.email.smtp_port
LLMSPELL_TOOLS_EMAIL_FROM_ADDRESS tools.email.from_address
LLMSPELL_TOOLS_EMAIL_RATE_LIMIT tools.email.rate_limit_per_minute
LLMSPELL_TOOLS_SYSTEM_ALLOW_PROCESS_EXEC tools.system.allow_process_execution
LLMSPELL_TOOLS_SYSTEM_ALLOWED_COMMANDS tools.system.allowed_commands
LLMSPELL_TOOLS_SYSTEM_MAX_OUTPUT_SIZE tools.system.max_output_size
LLMSPELL_TOOLS_DATA_MAX_CSV_SIZE tools.data.max_csv_size
LLMSPELL_TOOLS_DATA_MAX_JSON_DEPTH tools.data.max_json_depth
LLMSPELL_TOOLS_ACADEMIC_CITATION_API_KEY tools.academic.citation_api_key
WEATHER_API_KEY tools.weather.api_key
BRAVE_API_KEY tools.search.brave_api_key
TAVILY_API_KEY tools.search.tavily_api_key
SERPAPI_API_KEY tools.search.serpapi_api_key
SERPERDEV_API_KEY tools.search.serper_api_key
GITHUB_API_KEY tools.github.api_key
PUBMED_API_KEY tools.academic.pubmed_api_key
COREAC_API_KEY tools.academic.core_api_key
NEWSAPI_API_KEY tools.news.api_key
LLMSPELL_TOOLS_ACADEMIC_MAX_REFERENCES tools.academic.max_references
LLMSPELL_TOOLS_DOC_MAX_PDF_SIZE tools.document.max_pdf_size
LLMSPELL_TOOLS_DOC_EXTRACT_IMAGES tools.document.extract_images
LLMSPELL_TOOLS_SEARCH_ENGINE tools.search.default_engine
LLMSPELL_TOOLS_SEARCH_MAX_RESULTS tools.search.max_results
LLMSPELL_TOOLS_SEARCH_API_KEY tools.search.api_key
LLMSPELL_SESSIONS_ENABLED runtime.sessions.enabled
LLMSPELL_SESSIONS_MAX runtime.sessions.max_sessions
LLMSPELL_SESSIONS_TIMEOUT_SECONDS runtime.sessions.session_timeout_seconds
LLMSPELL_SESSIONS_BACKEND runtime.sessions.storage_backend
LLMSPELL_SESSIONS_MAX_ARTIFACTS runtime.sessions.max_artifacts_per_session
LLMSPELL_HOOKS_ENABLED hooks.enabled
LLMSPELL_HOOKS_RATE_LIMIT hooks.rate_limit_per_minute
LLMSPELL_MEMORY_ENABLED runtime.memory.enabled
LLMSPELL_MEMORY_CONSOLIDATION_PROVIDER_NAME runtime.memory.consolidation.provider_name
LLMSPELL_MEMORY_CONSOLIDATION_BATCH_SIZE runtime.memory.consolidation.batch_size
LLMSPELL_MEMORY_CONSOLIDATION_MAX_CONCURRENT runtime.memory.consolidation.max_concurrent
LLMSPELL_MEMORY_CONSOLIDATION_ACTIVE_SESSION_THRESHOLD_SECS runtime.memory.consolidation.active_session_threshold_secs
LLMSPELL_MEMORY_DAEMON_ENABLED runtime.memory.daemon.enabled
LLMSPELL_MEMORY_DAEMON_FAST_INTERVAL_SECS runtime.memory.daemon.fast_interval_secs
LLMSPELL_MEMORY_DAEMON_NORMAL_INTERVAL_SECS runtime.memory.daemon.normal_interval_secs
LLMSPELL_MEMORY_DAEMON_SLOW_INTERVAL_SECS runtime.memory.daemon.slow_interval_secs
LLMSPELL_MEMORY_DAEMON_QUEUE_THRESHOLD_FAST runtime.memory.daemon.queue_threshold_fast
LLMSPELL_MEMORY_DAEMON_QUEUE_THRESHOLD_SLOW runtime.memory.daemon.queue_threshold_slow
LLMSPELL_EVENTS_ENABLED events.enabled
LLMSPELL_EVENTS_BUFFER_SIZE events.buffer_size
LLMSPELL_EVENTS_EMIT_TIMING_EVENTS events.emit_timing_events
LLMSPELL_EVENTS_EMIT_STATE_EVENTS events.emit_state_events
LLMSPELL_EVENTS_EMIT_DEBUG_EVENTS events.emit_debug_events
LLMSPELL_EVENTS_MAX_EVENTS_PER_SECOND events.max_events_per_second
LLMSPELL_EVENTS_FILTERING_INCLUDE_TYPES events.filtering.include_types
LLMSPELL_EVENTS_FILTERING_EXCLUDE_TYPES events.filtering.exclude_types
LLMSPELL_EVENTS_FILTERING_INCLUDE_COMPONENTS events.filtering.include_components
LLMSPELL_EVENTS_FILTERING_EXCLUDE_COMPONENTS events.filtering.exclude_components
LLMSPELL_EVENTS_EXPORT_STDOUT events.export.stdout
LLMSPELL_EVENTS_EXPORT_FILE events.export.file
LLMSPELL_EVENTS_EXPORT_WEBHOOK events.export.webhook
LLMSPELL_EVENTS_EXPORT_PRETTY_JSON events.export.pretty_json
LLMSPELL_DEBUG debug.enabled
LLMSPELL_DEBUG_LEVEL debug.level
LLMSPELL_DEBUG_PERFORMANCE debug.performance.enabled
LLMSPELL_ENGINE default_engine
CANDLE_DEVICE providers.candle.device
OLLAMA_HOST providers.ollama.base_url
"""
PAIRS = [tuple(line.split()) for line in UPSTREAM.strip().splitlines()]

# A file that has every provider of the table.
PROVIDERS = "\n".join(
    f"[providers.{name}]"
    for name in (
        "openai",
        "anthropic",
        "gemini",
        "openrouter",
        "groq",
        "xai",
        "huggingface",
        "candle",
        "ollama",
    )
)


def _text(key: str) -> str:
    """A text that the key takes and that is not its default."""
    leaf = leaves.find(key)
    assert leaf is not None
    if leaf.type == "true or false":
        return "off" if leaf.default else "Yes"
    if leaf.type.startswith("one of "):
        words = leaf.type.removeprefix("one of ").split(", ")
        return words[-1].upper() if len(words) > 1 else words[0]
    if leaf.type in ("whole number", "number"):
        return str(int(leaf.default or 1) + 1)
    if key == "debug.module_filters.levels":
        return "name=debug"
    return "name=value" if leaf.type.startswith("table") else "some text"


def test_every_key_has_exactly_one_name() -> None:
    keys = [
        key.replace(leaves.ANY, name)
        for key in leaves.leaves()
        for name in (["candle", "my-own"] if leaves.ANY in key else [""])
    ]
    names = Counter(variables.name(key) for key in keys)
    assert set(names.values()) == {1}
    taken = {*variables.OTHERS, *variables.COMPOUND, variables.PROFILE, variables.CONFIG}
    assert not taken & names.keys()
    assert all(name.isidentifier() and name.isupper() for name in names)
    assert all(
        target in leaves.leaves() or leaves.find(target) or target == "runtime.memory"
        for target in (*variables.NAMES.values(), *variables.OTHERS.values())
    )


def test_the_table_has_no_name_that_follows_from_its_key() -> None:
    for name, key in variables.NAMES.items():
        assert name != f"LLMSPELL_{variables.capitals(key)}"


@pytest.mark.parametrize("name, key", PAIRS)
def test_names_of_rs_llmspell_act(machine: Machine, name: str, key: str) -> None:
    machine.environ[name] = _text(key)
    explained = machine.load(config_file=machine.file(PROVIDERS)).explain(key)
    assert (explained.set_by.layer, explained.set_by.variable) == ("environment", name)
    assert explained.variable == name or name in variables.OTHERS


@pytest.mark.parametrize("key", [key.replace(leaves.ANY, "candle") for key in leaves.leaves()])
def test_every_key_can_be_set(machine: Machine, key: str) -> None:
    machine.environ[variables.name(key)] = _text(key)
    machine.environ["LLMSPELL_RAG_CHUNKING_CHUNK_SIZE"] = "600"
    explained = machine.load("candle").explain(key)
    assert explained.set_by.layer == "environment"
    leaf = leaves.find(key)
    assert leaf is not None
    if leaf.type in ("whole number", "number") and key != "rag.chunking.chunk_size":
        assert explained.value == int(leaf.default or 1) + 1


@pytest.mark.parametrize(
    "name, text, key, value",
    [
        ("LLMSPELL_RAG_ENABLED", " TRUE ", "rag.enabled", True),
        ("LLMSPELL_RAG_ENABLED", "0", "rag.enabled", False),
        ("LLMSPELL_RAG_VECTOR_STORAGE_HNSW_METRIC", "inner_product", "rag.vector_storage.hnsw.metric", "innerproduct"),
        ("LLMSPELL_TOOLS_ALLOWED_PATHS", "/a, /b,", "tools.file_operations.allowed_paths", ["/a", "/b"]),
        ("LLMSPELL_MODEL_PATH", os.pathsep.join(["/a,b", "/c"]), "models.path", ["/a,b", "/c"]),
        ("LLMSPELL_TOOLS_HTTP_REQUEST_DEFAULT_HEADERS", "Accept=text/html,X-A=b=c", "tools.http_request.default_headers", {"Accept": "text/html", "X-A": "b=c"}),
        ("LLMSPELL_ENGINE_IDLE_SECONDS", "2.5", "engine.idle_seconds", 2.5),
        ("LLMSPELL_PROVIDERS_DEFAULT_PROVIDER", "local", "providers.default_provider", "candle"),
        ("OLLAMA_HOST", "0.0.0.0", "providers.ollama.base_url", "http://127.0.0.1:11434"),
        ("OLLAMA_HOST", ":1234", "providers.ollama.base_url", "http://127.0.0.1:1234"),
        ("OLLAMA_HOST", "gpu.example", "providers.ollama.base_url", "http://gpu.example:11434"),
        ("OLLAMA_HOST", "https://gpu.example/x/", "providers.ollama.base_url", "https://gpu.example/x"),
        ("OLLAMA_HOST", "[::1]", "providers.ollama.base_url", "http://[::1]:11434"),
        ("LLMSPELL_DEBUG_OUTPUT", "stdout,json,file:/x.log", "debug.output.file.path", "/x.log"),
        ("LLMSPELL_DEBUG_OUTPUT", "file:/x.log", "debug.output.stdout", False),
        ("LLMSPELL_DEBUG_MODULES", "+workflow.*,-agent.executor", "debug.module_filters.disabled", ["agent.executor"]),
    ],
)  # fmt: skip
def test_texts_become_values(
    machine: Machine, name: str, text: str, key: str, value: object
) -> None:
    machine.environ[name] = text
    explained = machine.load("ollama").explain(key)
    assert explained.value == value
    assert explained.set_by.variable == name


@pytest.mark.parametrize(
    "name, text, says",
    [
        ("LLMSPELL_RAG_EMBEDDING_BATCH_SIZE", "many", 'rag.embedding.batch_size is "many"; it can be a whole number from 1 to 65536.'),
        ("LLMSPELL_RAG_EMBEDDING_BATCH_SIZE", "-1", "rag.embedding.batch_size is -1; it can be a whole number from 1 to 65536."),
        ("LLMSPELL_RAG_EMBEDDING_BATCH_SIZE", "8.0", 'is "8.0"'),
        ("LLMSPELL_RAG_EMBEDDING_BATCH_SIZE", "9" * 5000, "it can be a whole number"),
        ("LLMSPELL_ENGINE_IDLE_SECONDS", "nan", "it can be a number from 0 to"),
        ("LLMSPELL_ENGINE_TRANSPORT", "pigeon", 'is "pigeon"; it can be one of auto, unix, tcp.'),
        ("LLMSPELL_RAG_ENABLED", "maybe", "it can be true or false"),
        ("LLMSPELL_DEBUG_OUTPUT", "paper", 'debug.output.format is "paper"; it can be one of text, json'),
        ("LLMSPELL_TOOLS_HTTP_REQUEST_DEFAULT_HEADERS", "Bearer canary", "is not NAME=VALUE,...;"),
        ("LLMSPELL_PROVIDER_FOO_MODEL", "x", "there is no provider 'foo'; set LLMSPELL_PROVIDER_FOO_TYPE, too."),
        ("LLMSPELL_RAG_EMBEDDING_DEFAULT_PROVIDER", "x" * 5000, "it can be text"),
    ],
)  # fmt: skip
def test_a_wrong_text_is_one_line_that_names_the_variable(
    machine: Machine, name: str, text: str, says: str
) -> None:
    machine.environ[name] = text
    with pytest.raises(ConfigError) as error:
        machine.load()
    message = str(error.value)
    assert message.startswith(f"{name}: ")
    assert says in message
    assert len(message.splitlines()) == 1
    assert len(message) < 300
    assert "canary" not in message


def test_empty_is_not_set(machine: Machine) -> None:
    machine.environ |= {
        "LLMSPELL_RAG_EMBEDDING_BATCH_SIZE": "",
        "LLMSPELL_PROFILE": "",
        "LLMSPELL_TYPO": " ",
    }
    loaded = machine.load()
    assert loaded.explain("rag.embedding.batch_size").set_by.layer == "default"
    assert not loaded.notices


def test_variables_fill_providers_that_there_are(machine: Machine) -> None:
    machine.environ |= {
        "LLMSPELL_PROVIDER_OPENAI_TIMEOUT": "9",
        "OPENAI_API_KEY": "canary",
        "LLMSPELL_PROVIDER_MY_OWN_TEMPERATURE": "1",
    }
    assert list(machine.load("candle").configuration.providers.all()) == ["candle"]
    assert machine.load("providers").configuration.providers.named()["openai"].timeout_seconds == 9
    loaded = machine.load(config_file=machine.file('[providers.my-own]\ntype = "openai"\n'))
    assert loaded.configuration.providers.named()["my-own"].temperature == 1


@pytest.mark.parametrize(
    "given, name, kind",
    [
        ({"LLMSPELL_PROVIDER_OPENAI_MODEL": "gpt-4"}, "openai", "openai"),
        (
            {
                "LLMSPELL_PROVIDER_MINE_TYPE": "openai",
                "LLMSPELL_PROVIDER_MINE_BASE_URL": "http://x",
            },
            "mine",
            "openai",
        ),
        (
            {"LLMSPELL_PROVIDER_MY_OWN_TYPE": "ollama", "LLMSPELL_PROVIDER_MY_OWN_MODEL": "m"},
            "my_own",
            "ollama",
        ),
    ],
)
def test_a_model_or_a_type_makes_a_provider(
    machine: Machine, given: dict[str, str], name: str, kind: str
) -> None:
    machine.environ |= given
    found = machine.load("minimal").configuration.providers.named()
    assert list(found) == [name]
    assert found[name].provider_type == kind


def test_the_own_name_goes_before_that_of_others(machine: Machine) -> None:
    for order in (1, -1):
        pair = list(
            {"LLMSPELL_PROVIDER_OLLAMA_BASE_URL": "http://own", "OLLAMA_HOST": "other"}.items()
        )[::order]
        machine.environ = {"HOME": machine.environ["HOME"]} | dict(pair)
        assert machine.load("ollama").explain("providers.ollama.base_url").value == "http://own"


def test_unknown_variables_are_told(machine: Machine) -> None:
    machine.environ |= {
        "LLMSPELL_RAG_ENABELD": "true",
        "LLMSPELL_PROVIDER_OPENAI_TIMEOUT_SECONDS": "3",
        "LLMSPELL_PROVIDER_OPENAI_DEFAULT_MODEL": "x",
        "OTHER_PROGRAM": "x",
    }
    assert set(machine.load("providers").notices) == {
        "LLMSPELL_RAG_ENABELD is not a known variable; did you mean LLMSPELL_RAG_ENABLED?",
        "LLMSPELL_PROVIDER_OPENAI_TIMEOUT_SECONDS is not a known variable; did you mean LLMSPELL_PROVIDER_OPENAI_TIMEOUT?",
        "LLMSPELL_PROVIDER_OPENAI_DEFAULT_MODEL is not a known variable; did you mean LLMSPELL_PROVIDER_OPENAI_MODEL?",
    }


def test_the_engines_own_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (environment.idle_seconds(), environment.queue_limit(), environment.model_path()) == (
        1800,
        64,
        (),
    )
    assert environment.transport() == ("tcp" if os.name == "nt" else "unix")
    monkeypatch.setenv("LLMSPELL_ENGINE_IDLE_SECONDS", "0")
    monkeypatch.setenv("LLMSPELL_ENGINE_QUEUE_LIMIT", "7")
    monkeypatch.setenv("LLMSPELL_ENGINE_TRANSPORT", "TCP")
    monkeypatch.setenv("LLMSPELL_MODEL_PATH", os.pathsep.join(["~/a", "${HOME}/b"]))
    assert (environment.idle_seconds(), environment.queue_limit(), environment.transport()) == (
        0,
        7,
        "tcp",
    )
    assert [str(path) for path in environment.model_path()] == [
        str(Path.home() / "a"),
        str(Path.home() / "b"),
    ]
    monkeypatch.setenv("LLMSPELL_ENGINE_TRANSPORT", "pigeon")
    with pytest.raises(ConfigError, match=r"LLMSPELL_ENGINE_TRANSPORT: .* one of auto, unix, tcp"):
        environment.transport()
