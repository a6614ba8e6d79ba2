"""What the administrator of this machine or environment says.

``llmspell_config.py`` or ``llmspell_config.json`` in the system's or the environment's Jupyter
configuration folder (``jupyter --paths`` lists them; never in a user's own), with traits of
``c.LLMSpell``: ``fixed`` (values by key), ``allowed_profiles``, ``allowed_providers``,
``allowed_models``, ``allowed_devices`` and ``sandbox``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jupyter_core.paths import ENV_CONFIG_PATH, SYSTEM_CONFIG_PATH
from traitlets.config.loader import (
    Config,
    ConfigFileNotFound,
    JSONFileConfigLoader,
    PyFileConfigLoader,
)

from llmspell_jupyter.config.policy import Policy
from llmspell_jupyter.errors import ConfigError

_NAME = "llmspell_config"
_LOADERS = {".json": JSONFileConfigLoader, ".py": PyFileConfigLoader}
_FIELDS = {
    "fixed": "fixed",
    "allowed_profiles": "profiles",
    "allowed_providers": "providers",
    "allowed_models": "models",
    "allowed_devices": "devices",
    "sandbox": "sandbox",
}


def policy(folders: Sequence[str] | None = None) -> Policy:
    """What the administrator's files fix and allow.

    Args:
        folders: Folders to look in, the strongest first; None takes the system's, then the
            environment's.

    Raises:
        ConfigError: A file cannot be read or says what is not known; one line that names it.
    """
    found = Config()
    who: list[str] = []
    for folder in reversed(folders or [*SYSTEM_CONFIG_PATH, *ENV_CONFIG_PATH]):
        for suffix, loader in _LOADERS.items():
            try:
                found.merge(loader(_NAME + suffix, folder).load_config())
            except ConfigFileNotFound:
                continue
            except Exception as error:
                path = Path(folder, _NAME + suffix)
                raise ConfigError(f"{path} cannot be read: {error}") from None
            who.insert(0, str(Path(folder, _NAME + suffix)))
    given = dict(found.LLMSpell) if "LLMSpell" in found else {}
    if unknown := given.keys() - _FIELDS.keys():
        names = ", ".join(_FIELDS)
        raise ConfigError(f"{who[0]}: LLMSpell has no {min(unknown)}; it has {names}.")
    fields = {_FIELDS[name]: value for name, value in given.items()}
    return Policy(who=" and ".join(who), **fields) if fields else Policy()
