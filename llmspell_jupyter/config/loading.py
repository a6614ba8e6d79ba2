"""From names, files and variables to one configuration.

Strongest first: what an administrator fixes, environment, profile, configuration file, discovered
file, default. Each key is decided for itself. Profile and configuration file together are an
error. When neither is named, the default profile is part of the default, so that a notebook
without any setting answers; a discovered file that starts from a profile itself replaces it.
"""

from __future__ import annotations

import os
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from llmspell_jupyter.config import environment, files, paths, profiles, redaction, variables
from llmspell_jupyter.config.layers import Given, Kind, Layer, Origin, nested, problem
from llmspell_jupyter.config.loaded import Loaded
from llmspell_jupyter.config.policy import Policy
from llmspell_jupyter.config.schema import Configuration
from llmspell_jupyter.config.schema.providers import ProviderType
from llmspell_jupyter.errors import ConfigError

# How two values must go together: the key to blame, the other, and what must hold.
_PAIRS: tuple[tuple[str, str, Callable[[Any, Any], bool], str], ...] = (
    (
        "rag.vector_storage.hnsw.ef_construction",
        "rag.vector_storage.hnsw.m",
        lambda ef, m: ef >= m,
        "at least",
    ),
    (
        "rag.chunking.overlap",
        "rag.chunking.chunk_size",
        lambda overlap, size: overlap < size,
        "less than",
    ),
)


def load(
    profile: str | None = None,
    config_file: str | Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    admin: Policy | None = None,
) -> Loaded:
    """Load a configuration.

    Args:
        profile: Name of a built-in profile, or an alias.
        config_file: A file; instead of a profile, never with one.
        environ: Environment variables; None takes those of this process. ``LLMSPELL_PROFILE`` and
            ``LLMSPELL_CONFIG`` count when neither profile nor file is given.
        cwd: Folder where the search for a file begins; None takes the working folder.
        admin: What an administrator fixes.

    Raises:
        UnknownProfile: There is no such profile; the error lists all.
        ConfigError: A file, a variable or a combination is wrong, or the profile is not allowed.
    """
    variables_ = os.environ if environ is None else environ
    chosen = _chosen(profile, config_file, variables_)
    policy = admin or Policy()
    given = list(_files(*chosen, cwd or Path.cwd(), variables_, policy))
    return _assembled(*_named(*chosen, given), given, variables_, policy)


def with_backend(
    loaded: Loaded, name: str, *, environ: Mapping[str, str] | None = None
) -> Loaded | None:
    """The configuration with the provider of this name as its built-in profile sets it up.

    Nothing else of that profile counts, and what the configuration says goes before it.

    Args:
        loaded: A configuration that lacks the provider.
        name: Name of a backend, such as ``ollama``.
        environ: Environment variables; None takes those of this process.

    Returns:
        None when no built-in profile of this name sets up such a provider.
    """
    wanted = profiles.canonical(name)
    if wanted not in profiles.names():
        return None
    start = f"providers.{wanted}."
    found = [
        Layer(
            each.origin, {key: given for key, given in each.values.items() if key.startswith(start)}
        )
        for each in profiles.layers(wanted, "default")
    ]
    if not any(each.values for each in found):
        return None
    return _with(loaded, [*_spoken_for(loaded), *found], environ)


def with_layer(loaded: Loaded, layer: Layer, *, environ: Mapping[str, str] | None = None) -> Loaded:
    """The configuration with one layer more, before all files.

    Raises:
        ConfigError: The values do not go together.
    """
    return _with(loaded, [layer, *_spoken_for(loaded)], environ)


def _spoken_for(loaded: Loaded) -> list[Layer]:
    """The layers that are files; what stands before them is made anew."""
    return [
        each for each in loaded.layers if each.origin.layer not in ("administrator", "environment")
    ]


def _with(loaded: Loaded, given: Sequence[Layer], environ: Mapping[str, str] | None) -> Loaded:
    return _assembled(
        loaded.name,
        loaded.path,
        given,
        os.environ if environ is None else environ,
        loaded.policy,
    )


def check_file(path: str | Path) -> Loaded:
    """Check a file by itself, with what it starts from: no variable and no other file counts.

    Raises:
        ConfigError: It is wrong; one line that begins with file and line.
    """
    layer = files.read(Path(path).expanduser(), "config file")
    given = [layer, *profiles.bases(layer, "config file")]
    values = _typed(_merge(given))
    return Loaded(
        name=Path(path).name,
        path=Path(path),
        configuration=_configuration(values),
        layers=tuple(given),
        values=types.MappingProxyType(values),
    )


def _assembled(
    name: str, path: Path, given: Sequence[Layer], environ: Mapping[str, str], policy: Policy
) -> Loaded:
    spoken = environment.layer(environ, _provider_names(_merge(given)))
    fixed = policy.layer(_merge([spoken, *given]))
    layers = [fixed, spoken, *given]
    values = _typed(_merge(layers))
    return Loaded(
        name=name,
        path=path,
        configuration=_configuration(values),
        layers=tuple(each for each in layers if each.values),
        values=types.MappingProxyType(values),
        notices=(*fixed.notices, *spoken.notices),
        policy=policy,
    )


def _chosen(
    profile: str | None, config_file: str | Path | None, environ: Mapping[str, str]
) -> tuple[str | None, Path | None]:
    named = ("the profile", "the file")
    if profile is None and config_file is None:
        profile, config_file = environment.chosen(environ)
        named = (variables.PROFILE, variables.CONFIG)
    if profile is not None and config_file is not None:
        shown = redaction.printable(profile)
        raise ConfigError(
            f"Profile and configuration file cannot be used together: {named[0]} is '{shown}', "
            f"{named[1]} is '{redaction.printable(str(config_file), 200)}'.",
            hint=f'A file that starts from a profile says so: extends = "{shown}"',
            data={"profile": profile, "config_file": str(config_file)},
        )
    return profile, None if config_file is None else Path(config_file).expanduser()


def _files(
    profile: str | None,
    config_file: Path | None,
    cwd: Path,
    environ: Mapping[str, str],
    policy: Policy,
) -> Iterator[Layer]:
    """The layers that are files, the strongest first."""
    if profile is not None:
        if profiles.canonical(profile) not in profiles.names():
            raise profiles.unknown(profile)
        policy.check_profile(profiles.canonical(profile))
        yield from profiles.layers(profile)
    elif config_file is not None:
        yield from _file(config_file, "config file", policy)
    found = next((each for each in paths.configuration_files(cwd, environ) if each.is_file()), None)
    extends = False
    if found is not None:
        layers = list(_file(found, "discovered file", policy))
        extends = layers[0].extends is not None
        yield from layers
    if profile is None and config_file is None and not extends:
        yield from profiles.layers(_default(policy), "default")


def _file(path: Path, kind: Kind, policy: Policy) -> Iterator[Layer]:
    layer = files.read(path, kind)
    yield layer
    for base in profiles.bases(layer, kind):
        policy.check_profile(base.origin.name)
        yield base


def _default(policy: Policy) -> str:
    if policy.profiles and profiles.DEFAULT not in policy.profiles:
        return policy.profiles[0]
    return profiles.DEFAULT


def _named(
    profile: str | None, config_file: Path | None, given: Sequence[Layer]
) -> tuple[str, Path]:
    """Name and file of what is loaded: the profile, else the file, else what it starts from."""
    if config_file is not None:
        return config_file.name, config_file
    named = [each.origin for each in given if each.origin.name]
    if profile is not None:
        return profiles.canonical(profile), named[0].path or Path()
    return named[0].name, named[0].path or Path()


def _merge(layers: Sequence[Layer]) -> dict[str, Given]:
    merged: dict[str, Given] = {}
    for layer in reversed(layers):
        merged.update(layer.values)
    return merged


def _provider_names(values: Mapping[str, Given]) -> dict[str, Given]:
    """The providers that values are about, each with one of its values."""
    return {
        key.split(".")[1]: given
        for key, given in values.items()
        if key.startswith("providers.") and key.count(".") > 1
    }


def _typed(values: dict[str, Given]) -> dict[str, Given]:
    """The values with the type of each provider that is called like one."""
    capitals: dict[str, str] = {}
    for name, given in _provider_names(values).items():
        if capitals.setdefault(variables.capitals(name), name) != name:
            other = capitals[variables.capitals(name)]
            raise problem(
                given.origin,
                f"providers.{name}",
                f"providers.{name} and providers.{other} would have the same variables.",
            )
        key = f"providers.{name}.provider_type"
        if key not in values:
            kinds = get_args(ProviderType)
            if name not in kinds:
                raise problem(
                    given.origin, key, f"{key} is missing; it can be one of {', '.join(kinds)}."
                )
            values[key] = Given(name, Origin("default"))
    return values


def _configuration(values: Mapping[str, Given]) -> Configuration:
    # Every value has been checked where it was read.
    configuration = Configuration.model_validate(nested(values))
    for key, other, holds, words in _PAIRS:
        one, two = _value(configuration, key), _value(configuration, other)
        if not holds(one, two):
            given = values.get(key) or values[other]
            raise problem(
                given.origin, key, f"{key} is {one}; it must be {words} {other}, which is {two}."
            )
    return configuration


def _value(configuration: Configuration, key: str) -> Any:
    found: Any = configuration
    for part in key.split("."):
        found = getattr(found, part)
    return found
