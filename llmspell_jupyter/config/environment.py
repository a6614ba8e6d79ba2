"""Environment variables. No other module reads one."""

from __future__ import annotations

import functools
import os
import types
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, cast, get_args

from llmspell_jupyter.config import conversion, leaves, redaction, variables
from llmspell_jupyter.config.layers import Given, Layer, Origin, check, plain, problem, wrong_value
from llmspell_jupyter.config.schema import SecretText
from llmspell_jupyter.config.schema.providers import ProviderType
from llmspell_jupyter.types import Sources

# What an engine that this process starts is told; it has no profile of its own.
_ENGINE_KEYS = (
    "engine.idle_seconds",
    "engine.transport",
    "engine.queue_limit",
    "engine.client_queue_limit",
    "engine.memory_limit_bytes",
    "engine.model_ttl_seconds",
    "models.path",
    "models.pinned",
    "models.hub_cache",
    "models.shared",
    "models.catalogs",
    "models.ollama_store",
    "models.hub_endpoint",
    "models.offline",
    "models.download_hosts",
    "models.download_bytes_per_second",
)
# Names under which huggingface_hub and rs-llmspell look for a token, after the key's own.
_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HFHUB_API_KEY")
# Looking for the nearest name takes some milliseconds.
_MOST_NOTICES = 5

# What profiles and administrators say beside the variables: as variables, and the hub's token.
_for_engine: dict[str, str] = {}
_hub_token: list[SecretText] = []


def layer(environ: Mapping[str, str], providers: Mapping[str, object]) -> Layer:
    """What the variables say.

    Args:
        environ: The variables; empty ones count as not set.
        providers: Names of the providers that other layers have. A variable fills one of these;
            only one with a model or a type makes a new one.

    Raises:
        ConfigError: A value is of the wrong type or out of range; one line that names the
            variable.
    """
    values: dict[str, Given] = {}
    unknown: list[str] = []
    names = [*providers, *_made(environ, _capitals(providers))]
    for variable, key, text in _assigned(environ, _capitals(names), unknown):
        origin = Origin("environment", variable=variable)
        # The key's own name goes before those of other programs.
        if key not in values or variable not in variables.OTHERS:
            values[key] = Given(_value(origin, key, text), origin)
    check(values)
    return Layer(
        Origin("environment"),
        types.MappingProxyType(values),
        notices=tuple(_notice(each, tuple(names)) for each in unknown[:_MOST_NOTICES]),
    )


def chosen(environ: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Profile and configuration file that variables name, for when nothing else does."""
    return (environ.get(variables.PROFILE) or None), (environ.get(variables.CONFIG) or None)


def idle_seconds() -> float:
    """``LLMSPELL_ENGINE_IDLE_SECONDS``: 0 or more; 0 never ends it. Default 1800."""
    return float(_now("engine.idle_seconds"))


def transport() -> Literal["unix", "tcp"]:
    """``LLMSPELL_ENGINE_TRANSPORT``: ``unix`` wherever there are Unix sockets, else ``tcp``."""
    value = _now("engine.transport")
    if value == "unix" and os.name == "nt":
        raise wrong_value(_origin("engine.transport"), "engine.transport", value)
    if value == "auto":
        return "tcp" if os.name == "nt" else "unix"
    return cast('Literal["unix", "tcp"]', value)


def queue_limit() -> int:
    """``LLMSPELL_ENGINE_QUEUE_LIMIT``: requests that may wait for one model. Default 64."""
    return int(_now("engine.queue_limit"))


def client_queue_limit() -> int:
    """``LLMSPELL_ENGINE_CLIENT_QUEUE_LIMIT``: those of one client that may wait. Default 32."""
    return int(_now("engine.client_queue_limit"))


def memory_limit_bytes() -> int:
    """``LLMSPELL_ENGINE_MEMORY_LIMIT_BYTES``: most for all models; 0, the default, is all."""
    return int(_now("engine.memory_limit_bytes"))


def model_ttl_seconds() -> float:
    """``LLMSPELL_ENGINE_MODEL_TTL_SECONDS``: 0 or more; 0 keeps models. Default 900."""
    return float(_now("engine.model_ttl_seconds"))


def pinned() -> tuple[str, ...]:
    """``LLMSPELL_MODELS_PINNED``: models that stay once loaded, separated by commas."""
    return tuple(_now("models.pinned"))


def model_path() -> tuple[Path, ...]:
    """``LLMSPELL_MODEL_PATH``: folders to search for models first, separated like ``PATH``."""
    return tuple(redaction.resolve_path(each) for each in _now("models.path"))


def hub_caches() -> tuple[Path, ...]:
    """Stores laid out as the Hugging Face cache: the user's own first, then those only read.

    ``LLMSPELL_MODELS_HUB_CACHE`` or ``HF_HUB_CACHE``, else ``hub`` in ``HF_HOME``; then
    ``LLMSPELL_MODELS_SHARED``, separated like ``PATH``.
    """
    own = _now("models.hub_cache")
    cache = redaction.resolve_path(own) if own else _hugging_face() / "hub"
    shared = (redaction.resolve_path(each) for each in _now("models.shared"))
    return tuple(dict.fromkeys(each.absolute() for each in (cache, *shared)))


def catalogs() -> tuple[Path, ...]:
    """``LLMSPELL_MODELS_CATALOGS``: files of further models, separated like ``PATH``."""
    return tuple(redaction.resolve_path(each).absolute() for each in _now("models.catalogs"))


def ollama_store() -> Path:
    """``OLLAMA_MODELS``: folder of Ollama's files, by default ``~/.ollama/models``."""
    own = _now("models.ollama_store")
    return (redaction.resolve_path(own) if own else Path.home() / ".ollama" / "models").absolute()


def sources(ollama_url: str = "") -> Sources:
    """Where models are fetched from.

    ``HF_ENDPOINT``, ``HF_TOKEN``, ``HF_HUB_OFFLINE`` and ``OLLAMA_HOST`` act as everywhere.

    Args:
        ollama_url: Address of the Ollama server that a profile names; empty takes the variable's.
    """
    usual = Sources()
    url = ollama_url or conversion.address(os.environ.get("OLLAMA_HOST", "").strip() or "127.0.0.1")
    return Sources(
        endpoint=str(_now("models.hub_endpoint")).rstrip("/") or usual.endpoint,
        token=_token(),
        offline=bool(_now("models.offline")),
        hosts=tuple(_now("models.download_hosts")),
        bytes_per_second=int(_now("models.download_bytes_per_second")),
        ollama_url=url.rstrip("/"),
    )


def proxy(url: str) -> str | None:
    """The proxy through which an address is reached, as ``HTTPS_PROXY`` and the like say."""
    parts = urllib.parse.urlsplit(url)
    if urllib.request.proxy_bypass(parts.netloc):
        return None
    known = urllib.request.getproxies()
    return known.get(parts.scheme) or known.get("all")


def owner_pid() -> int:
    """Process on whose behalf this one runs: the Jupyter server of a kernel, else itself."""
    server = os.environ.get("JPY_PARENT_PID", "")
    number = int(server) if server.isascii() and server.isdecimal() else 0
    return number if number > 1 else os.getpid()


def use(values: Mapping[str, Given]) -> None:
    """Take these settings into force here and in engines that this process starts from now on.

    Args:
        values: Settings in force; those that a variable set reach an engine as they are.
    """
    _for_engine.clear()
    _hub_token.clear()
    token = values.get("models.hub_token")
    if token is not None and token.origin.layer != "environment" and token.value is not None:
        _hub_token.append(token.value)
    for key in _ENGINE_KEYS:
        given = values.get(key)
        if given is not None and given.origin.layer not in ("environment", "default"):
            leaf = leaves.find(key)
            assert leaf is not None, key
            _for_engine[variables.name(key)] = conversion.written(leaf, given.value)


def for_engine() -> dict[str, str]:
    """Variables for the process of an engine.

    Libraries of the hub send its owner no statistics from there, unless the user asks for it.
    """
    return {"HF_HUB_DISABLE_TELEMETRY": "1"} | os.environ | _for_engine


def _assigned(
    environ: Mapping[str, str], known: Mapping[str, str], unknown: list[str]
) -> Iterator[tuple[str, str, str]]:
    """Variables that are set, with the key and the text of each."""
    names = variables.by_name()
    for variable, text in environ.items():
        if not text.strip():
            continue
        if key := names.get(variable) or variables.OTHERS.get(variable):
            # The key of an account is of no use without the account.
            if not key.startswith("providers.") or key.count(".") == 1 or _in(key, known):
                yield variable, key, text.strip()
        elif variable.startswith(variables.PROVIDER_PREFIX):
            provider, field = _split(variable, known)
            if provider:
                yield variable, f"providers.{provider}.{field}", text.strip()
            elif not field:
                unknown.append(variable)
        elif variable in variables.COMPOUND:
            for key, part in conversion.parts(variable, text):
                yield variable, key, part
        elif variable.startswith("LLMSPELL_") and variable not in (
            variables.PROFILE,
            variables.CONFIG,
        ):
            unknown.append(variable)


def _made(environ: Mapping[str, str], known: Mapping[str, str]) -> Iterator[str]:
    """Names of providers that variables make: those whose model or type one gives."""
    for variable, text in environ.items():
        if not variable.startswith(variables.PROVIDER_PREFIX) or not text.strip():
            continue
        for end in ("_MODEL", "_TYPE"):
            name = variable.removeprefix(variables.PROVIDER_PREFIX).removesuffix(end)
            if variable.endswith(end) and name and _split(variable, known) == ("", end[1:]):
                provider = name.lower()
                typed = environ.get(f"{variables.PROVIDER_PREFIX}{name}_TYPE", "").strip()
                if not typed and provider not in get_args(ProviderType):
                    raise problem(
                        Origin("environment", variable=variable),
                        f"providers.{provider}",
                        f"there is no provider {redaction.printable(provider)!r}; "
                        f"set {variables.PROVIDER_PREFIX}{name}_TYPE, too.",
                    )
                yield provider


def _split(variable: str, known: Mapping[str, str]) -> tuple[str, str]:
    """Provider and field of a variable; no provider when it is not known."""
    rest = variable.removeprefix(variables.PROVIDER_PREFIX)
    found = ""
    if rest.endswith(("_DEFAULT_MODEL", "_PROVIDER_TYPE")):
        # Names that follow from the key, which the shorter ones of rs-llmspell replace.
        return "", ""
    for end, field in variables.provider_fields().items():
        if rest.endswith(f"_{end}"):
            if provider := known.get(rest.removesuffix(f"_{end}")):
                return provider, field
            found = found or end
    return "", found


def _in(key: str, known: Mapping[str, str]) -> bool:
    return key.split(".")[1] in known.values()


def _value(origin: Origin, key: str, text: str) -> Any:
    """The text of a variable as a value of the key's type, range unchecked."""
    leaf = leaves.find(key)
    assert leaf is not None, key
    if leaf.secret:
        # Only the reference enters the configuration; the secret is read when it is used.
        return SecretText(f"${{{origin.variable}}}")
    if origin.variable == "OLLAMA_HOST":
        return conversion.address(text)
    try:
        return conversion.converted(leaf, str(plain(key, text)))
    except ValueError:
        # Headers may hold anything; their text is not quoted.
        quoted = (
            "not NAME=VALUE,..." if leaf.type.startswith("table") else redaction.shown(key, text)
        )
        raise wrong_value(origin, key, text, quoted=quoted) from None


def _capitals(providers: Iterable[str]) -> dict[str, str]:
    """Names of providers as variables write them, with the names themselves."""
    return {variables.capitals(each): each for each in providers}


@functools.lru_cache(maxsize=64)
def _notice(variable: str, providers: tuple[str, ...]) -> str:
    shown = redaction.printable(variable, 80)
    fields = variables.provider_fields().values()
    of_providers = [
        variables.name(f"providers.{each}.{field}") for each in providers for field in fields
    ]
    near = leaves.close(variable, [*of_providers, *variables.by_name(), *variables.OTHERS])
    return f"{shown} is not a known variable" + (f"; did you mean {near}?" if near else ".")


def _origin(key: str) -> Origin:
    return Origin("environment", variable=variables.name(key))


def _now(key: str) -> Any:
    """The value of a key that one variable, a profile or an administrator sets, or its default."""
    leaf = leaves.find(key)
    assert leaf is not None, key
    others = (other for other, each in variables.OTHERS.items() if each == key)
    for name in (variables.name(key), *others):
        text = (_for_engine.get(name) or os.environ.get(name, "")).strip()
        if text:
            origin = Origin("environment", variable=name)
            value = _value(origin, key, text)
            check({key: Given(value, origin)})
            return value
    return leaf.default


def _hugging_face() -> Path:
    """Folder of Hugging Face's libraries, found as they find it."""
    if own := os.environ.get("HF_HOME", "").strip():
        return redaction.resolve_path(own)
    cache = os.environ.get("XDG_CACHE_HOME", "").strip()
    return (redaction.resolve_path(cache) if cache else Path.home() / ".cache") / "huggingface"


def _token() -> str | None:
    """The token for the hub: of a variable, of the profile, or of ``hf auth login``."""
    given = os.environ.get(variables.name("models.hub_token"), "").strip()
    if not given and _hub_token:
        given = redaction.resolve(_hub_token[0].get_secret_value()).strip()
    named = (os.environ.get(name, "").strip() for name in _TOKENS)
    if found := given or next(filter(None, named), ""):
        return found
    path = os.environ.get("HF_TOKEN_PATH", "").strip()
    try:
        saved = redaction.resolve_path(path) if path else _hugging_face() / "token"
        return saved.read_text("utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None
