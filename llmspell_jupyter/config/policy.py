"""What an administrator fixes. No profile, file or variable of a user can loosen it.

A value that is fixed stays as it is, and whoever tried to change it is told who fixed it. What is
on a list of allowed things and what is not follows the same rule: a profile that asks for more
loads, without what is not allowed, and says so. Only a profile that is itself not allowed is an
error.
"""

from __future__ import annotations

import fnmatch
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from llmspell_jupyter.config import leaves, redaction
from llmspell_jupyter.config.layers import Given, Layer, Origin, check, problem, unknown_key
from llmspell_jupyter.config.schema.engines import SecurityLevel
from llmspell_jupyter.errors import ConfigError, ProviderError

_LEVELS = get_args(SecurityLevel)


@dataclass(frozen=True, slots=True)
class Policy:
    """What is fixed and what is allowed; ``None`` allows everything.

    Attributes:
        who: Who fixed it, as users are told: ``/etc/jupyter/jupyter_config.py``.
        fixed: Values by key; ``providers.*.base_url`` is that of every provider.
        profiles: Profiles that may be loaded.
        providers: Names of providers that may answer.
        models: Models that may answer; ``*`` stands for any text, as in ``smollm2:*``.
        devices: Devices that may compute.
        sandbox: How far the sandbox may open: ``Safe``, ``Privileged`` or ``Unrestricted``.

    Raises:
        ConfigError: A key is unknown or a value wrong; one line that names the administrator.
    """

    who: str = "the administrator"
    fixed: Mapping[str, Any] = field(default_factory=dict)
    profiles: Sequence[str] | None = None
    providers: Sequence[str] | None = None
    models: Sequence[str] | None = None
    devices: Sequence[str] | None = None
    sandbox: str | None = None

    def __post_init__(self) -> None:
        for name in ("profiles", "providers", "models", "devices"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, tuple(value))
        object.__setattr__(self, "fixed", types.MappingProxyType(dict(self.fixed)))
        sample = {}
        for key, value in self.fixed.items():
            if leaves.find(key) is None:
                raise unknown_key(self.origin, key)
            sample[key.replace(leaves.ANY, "any")] = Given(value, self.origin)
        check(sample)
        known = {
            "devices": leaves.leaves()["providers.*.device"],
            "sandbox": leaves.leaves()["engines.lua.security_level"],
        }
        for name, leaf in known.items():
            asked = getattr(self, name) or ()
            for each in (asked,) if isinstance(asked, str) else asked:
                if each not in get_args(leaf.annotation):
                    quoted = redaction.shown(name, each)
                    raise problem(self.origin, name, f"{name} has {quoted}; it can be {leaf.type}.")

    @property
    def origin(self) -> Origin:
        """The administrator as the origin of a value."""
        return Origin("administrator", self.who)

    def layer(self, values: Mapping[str, Given]) -> Layer:
        """What is fixed, for the providers that there are, and what users are told of it.

        Args:
            values: What all other layers give, merged.
        """
        fixed: dict[str, Given] = {}
        notices = []
        for key, value, why in (*self._fixed(values), *self._limits(values)):
            fixed.setdefault(key, Given(value, self.origin))
            given = values.get(key)
            if given is not None and not _same(given.value, value):
                notices.append(
                    f"{key} is {redaction.shown(key, value)}, {why} by {self.who}; "
                    f"what {given.origin} says is not in force."
                )
        return Layer(self.origin, types.MappingProxyType(fixed), notices=tuple(notices))

    def check_profile(self, name: str) -> None:
        """Refuse a profile that is not allowed.

        Raises:
            ConfigError: It is not on the list; the error names who made the list.
        """
        if self.profiles is not None and name not in self.profiles:
            raise ConfigError(
                f"Profile '{redaction.printable(name)}' is not allowed here; {self.who} allows "
                f"{', '.join(self.profiles) or 'none'}.",
                data={"profile": name, "allowed": list(self.profiles), "who": self.who},
            )

    def check_model(self, provider: str, model: str) -> None:
        """Refuse a model or provider that is not allowed.

        Raises:
            ProviderError: It is not on the list; the error names who made the list.
        """
        for kind, name, allowed in (
            ("Provider", provider, self.providers),
            ("Model", model, self.models),
        ):
            if allowed is not None and not _matches(name, allowed):
                raise ProviderError(
                    f"{kind} '{redaction.printable(name)}' is not allowed here; {self.who} allows "
                    f"{', '.join(allowed) or 'none'}.",
                    data={kind.lower(): name, "allowed": list(allowed), "who": self.who},
                )

    def _fixed(self, values: Mapping[str, Given]) -> Iterator[tuple[str, Any, str]]:
        providers = _providers(values)
        made = {key.split(".")[1] for key in self.fixed if key.endswith(".provider_type")}
        # A key for itself goes before the one for all providers.
        for key, value in sorted(self.fixed.items(), key=lambda pair: leaves.ANY in pair[0]):
            if leaves.ANY in key:
                for name in providers:
                    yield key.replace(leaves.ANY, name, 1), value, "fixed"
            elif leaves.pattern(key) == key or key.split(".")[1] in providers | made:
                yield key, value, "fixed"

    def _limits(self, values: Mapping[str, Given]) -> Iterator[tuple[str, Any, str]]:
        for name in sorted(_providers(values)):
            start = f"providers.{name}"
            if self.providers is not None and not _matches(name, self.providers):
                yield f"{start}.enabled", False, "as allowed providers are set"
            model = values.get(f"{start}.default_model")
            allowed = ("*",) if self.models is None else self.models
            if model is not None and not _matches(str(model.value), allowed):
                yield f"{start}.default_model", None, "as allowed models are set"
            if self.devices is not None:
                device = values.get(f"{start}.device")
                if (device.value if device else "auto") not in self.devices:
                    least = self.devices[0] if self.devices else "cpu"
                    yield f"{start}.device", least, "as allowed devices are set"
        if self.sandbox is not None:
            key = "engines.lua.security_level"
            level = values.get(key)
            if level is not None and _LEVELS.index(level.value) > _LEVELS.index(self.sandbox):
                yield key, self.sandbox, "limited"


def _providers(values: Mapping[str, Given]) -> set[str]:
    parts = (key.split(".") for key in values)
    return {each[1] for each in parts if each[0] == "providers" and len(each) > 2}


def _matches(name: str, allowed: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, each) for each in allowed)


def _same(one: Any, other: Any) -> bool:
    plain = (list(each) if isinstance(each, tuple) else each for each in (one, other))
    first, second = plain
    return type(first) is type(second) and bool(first == second)
