"""The environment variable of every key. One table; no other module knows a name.

A key has one name: that of rs-llmspell where it has one (``NAMES``), else its path in capitals
with ``LLMSPELL_`` before it. Providers follow rs-llmspell's pattern, whatever they are called:
``LLMSPELL_PROVIDER_<NAME>_<FIELD>``. ``OTHERS`` are names that people have set already, for other
programs; the key's own name goes before them.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from functools import cache

from llmspell_jupyter.config import leaves

#: Names that do not follow from the key.
NAMES: Mapping[str, str] = types.MappingProxyType(
    {
        # Scripts
        "LLMSPELL_MAX_CONCURRENT_SCRIPTS": "runtime.max_concurrent_scripts",
        "LLMSPELL_SCRIPT_TIMEOUT_SECONDS": "runtime.script_timeout_seconds",
        "LLMSPELL_ALLOW_FILE_ACCESS": "runtime.security.allow_file_access",
        "LLMSPELL_ALLOW_NETWORK_ACCESS": "runtime.security.allow_network_access",
        "LLMSPELL_ALLOW_PROCESS_SPAWN": "runtime.security.allow_process_spawn",
        "LLMSPELL_MAX_MEMORY_BYTES": "runtime.security.max_memory_bytes",
        "LLMSPELL_MAX_EXECUTION_TIME_MS": "runtime.security.max_execution_time_ms",
        # State and sessions
        "LLMSPELL_STATE_ENABLED": "runtime.state_persistence.enabled",
        "LLMSPELL_STATE_BACKEND": "runtime.state_persistence.backend_type",
        "LLMSPELL_STATE_PATH": "runtime.state_persistence.schema_directory",
        "LLMSPELL_STATE_MIGRATION_ENABLED": "runtime.state_persistence.migration_enabled",
        "LLMSPELL_STATE_BACKUP_ENABLED": "runtime.state_persistence.backup_enabled",
        "LLMSPELL_STATE_BACKUP_ON_MIGRATION": "runtime.state_persistence.backup_on_migration",
        "LLMSPELL_STATE_BACKUP_DIR": "runtime.state_persistence.backup.backup_dir",
        "LLMSPELL_STATE_MAX_SIZE_BYTES": "runtime.state_persistence.max_state_size_bytes",
        "LLMSPELL_SESSIONS_ENABLED": "runtime.sessions.enabled",
        "LLMSPELL_SESSIONS_MAX": "runtime.sessions.max_sessions",
        "LLMSPELL_SESSIONS_TIMEOUT_SECONDS": "runtime.sessions.session_timeout_seconds",
        "LLMSPELL_SESSIONS_BACKEND": "runtime.sessions.storage_backend",
        "LLMSPELL_SESSIONS_MAX_ARTIFACTS": "runtime.sessions.max_artifacts_per_session",
        "LLMSPELL_HOOKS_RATE_LIMIT": "hooks.rate_limit_per_minute",
        # Debugging
        "LLMSPELL_DEBUG": "debug.enabled",
        "LLMSPELL_DEBUG_PERFORMANCE": "debug.performance.enabled",
        # Tools
        "LLMSPELL_TOOLS_RATE_LIMIT": "tools.rate_limit_per_minute",
        "LLMSPELL_TOOLS_FILE_OPS_ENABLED": "tools.file_operations.enabled",
        "LLMSPELL_TOOLS_MAX_FILE_SIZE": "tools.file_operations.max_file_size",
        "LLMSPELL_TOOLS_ALLOWED_PATHS": "tools.file_operations.allowed_paths",
        "LLMSPELL_TOOLS_NETWORK_TIMEOUT": "tools.network.timeout_seconds",
        "LLMSPELL_TOOLS_WEB_USER_AGENT": "tools.web_tools.user_agent",
        "LLMSPELL_TOOLS_WEB_ALLOWED_DOMAINS": "tools.web_tools.allowed_domains",
        "LLMSPELL_TOOLS_WEB_BLOCKED_DOMAINS": "tools.web_tools.blocked_domains",
        "LLMSPELL_TOOLS_WEB_MAX_REDIRECTS": "tools.web_tools.max_redirects",
        "LLMSPELL_TOOLS_WEB_SCRAPING_DELAY": "tools.web_tools.scraping_delay_ms",
        "LLMSPELL_TOOLS_MEDIA_MAX_SIZE": "tools.media.max_file_size",
        "LLMSPELL_TOOLS_MEDIA_PROCESSING_TIMEOUT": "tools.media.processing_timeout_seconds",
        "LLMSPELL_TOOLS_DB_CONNECTION_TIMEOUT": "tools.database.connection_timeout_seconds",
        "LLMSPELL_TOOLS_DB_MAX_CONNECTIONS": "tools.database.max_connections",
        "LLMSPELL_TOOLS_DB_ALLOWED_HOSTS": "tools.database.allowed_hosts",
        "LLMSPELL_TOOLS_EMAIL_RATE_LIMIT": "tools.email.rate_limit_per_minute",
        "LLMSPELL_TOOLS_SYSTEM_ALLOW_PROCESS_EXEC": "tools.system.allow_process_execution",
        "LLMSPELL_TOOLS_DOC_MAX_PDF_SIZE": "tools.document.max_pdf_size",
        "LLMSPELL_TOOLS_DOC_EXTRACT_IMAGES": "tools.document.extract_images",
        "LLMSPELL_TOOLS_SEARCH_ENGINE": "tools.search.default_engine",
        "WEATHER_API_KEY": "tools.weather.api_key",
        "BRAVE_API_KEY": "tools.search.brave_api_key",
        "TAVILY_API_KEY": "tools.search.tavily_api_key",
        "SERPAPI_API_KEY": "tools.search.serpapi_api_key",
        "SERPERDEV_API_KEY": "tools.search.serper_api_key",
        "GITHUB_API_KEY": "tools.github.api_key",
        "PUBMED_API_KEY": "tools.academic.pubmed_api_key",
        "COREAC_API_KEY": "tools.academic.core_api_key",
        "NEWSAPI_API_KEY": "tools.news.api_key",
        # Memory; the rest of that table follows from this beginning.
        "LLMSPELL_MEMORY": "runtime.memory",
        # This package
        "LLMSPELL_MODEL_PATH": "models.path",
        "LLMSPELL_RENDER": "notebook.render",
    }
)

#: Names of other programs, and second names of rs-llmspell.
OTHERS: Mapping[str, str] = types.MappingProxyType(
    {
        "LLMSPELL_ENGINE": "default_engine",
        "CANDLE_DEVICE": "providers.candle.device",
        "OLLAMA_HOST": "providers.ollama.base_url",
        "OPENAI_API_KEY": "providers.openai.api_key",
        "ANTHROPIC_API_KEY": "providers.anthropic.api_key",
        "GEMINI_API_KEY": "providers.gemini.api_key",
        "OPENROUTER_API_KEY": "providers.openrouter.api_key",
        "GROQ_API_KEY": "providers.groq.api_key",
        "XAI_API_KEY": "providers.xai.api_key",
        "HFHUB_API_KEY": "providers.huggingface.api_key",
        "HF_ENDPOINT": "models.hub_endpoint",
        "HF_TOKEN": "models.hub_token",
        "HF_HUB_CACHE": "models.hub_cache",
        "HF_HUB_OFFLINE": "models.offline",
        "OLLAMA_MODELS": "models.ollama_store",
    }
)

#: Names that set several keys at once, as rs-llmspell reads them.
COMPOUND = ("LLMSPELL_DEBUG_OUTPUT", "LLMSPELL_DEBUG_MODULES")

#: The variables that stand for ``--profile`` and ``--config``.
PROFILE = "LLMSPELL_PROFILE"
CONFIG = "LLMSPELL_CONFIG"

PROVIDER_PREFIX = "LLMSPELL_PROVIDER_"

#: Fields of a provider whose names are shorter in a variable.
SHORT_FIELDS = types.MappingProxyType(
    {"provider_type": "TYPE", "default_model": "MODEL", "timeout_seconds": "TIMEOUT"}
)


def name(key: str) -> str:
    """The variable of a key, such as ``LLMSPELL_RAG_ENABLED`` of ``rag.enabled``."""
    if found := _by_key().get(key):
        return found
    parts = key.split(".")
    if leaves.pattern(key).startswith("providers.*."):
        field = ".".join(parts[2:])
        return f"{PROVIDER_PREFIX}{capitals(parts[1])}_{SHORT_FIELDS.get(field, capitals(field))}"
    for beginning, table in NAMES.items():
        if key.startswith(f"{table}."):
            return f"{beginning}_{capitals(key.removeprefix(f'{table}.'))}"
    return f"LLMSPELL_{capitals(key)}"


def capitals(text: str) -> str:
    """A key or the name of a provider as a part of a variable's name."""
    return text.upper().replace(".", "_").replace("-", "_")


@cache
def by_name() -> Mapping[str, str]:
    """Keys by variable, those of providers left out, whose names depend on the provider's."""
    keys = [key for key in leaves.leaves() if leaves.ANY not in key]
    return types.MappingProxyType({name(key): key for key in keys})


@cache
def provider_fields() -> Mapping[str, str]:
    """Fields of a provider by the end of their variable, the longest first."""
    start = f"providers.{leaves.ANY}."
    fields = [key.removeprefix(start) for key in leaves.leaves() if key.startswith(start)]
    ends = {SHORT_FIELDS.get(field, capitals(field)): field for field in fields}
    return types.MappingProxyType(dict(sorted(ends.items(), key=lambda pair: -len(pair[0]))))


@cache
def _by_key() -> Mapping[str, str]:
    return {key: name for name, key in NAMES.items()}
