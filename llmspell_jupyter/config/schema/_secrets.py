"""What is a secret, and what stands in its place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import Secret

#: What stands in every output where a secret would stand.
REDACTED = "<REDACTED>"

# api_key and GITHUB_TOKEN are secrets; max_tokens, api_key_env and cache_size are not.
_SECRET_NAME = re.compile(
    r"(?:^|[_.-])(?:key|apikey|token|password|passwd|passphrase|secret|credentials?|authorization"
    r"|cookie)$",
    re.IGNORECASE,
)
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+(?=@)")


class SecretText(Secret[str]):
    """Text that no output shows; ``get_secret_value()`` is for whoever needs it."""

    def _display(self) -> str:
        return REDACTED


def is_secret(name: str) -> bool:
    """Whether what stands under this name must not be shown, going by its last word."""
    return _SECRET_NAME.search(name) is not None


def redact(name: str, value: Any) -> Any:
    """The value as it may be shown: JSON values, secrets replaced at any depth.

    Args:
        name: Its key, or the last part of it.
        value: A value of a file or of a configuration.
    """
    if isinstance(value, Secret) or (is_secret(name) and value not in (None, "")):
        return REDACTED
    if isinstance(value, Mapping):
        return {str(key): redact(str(key), each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [redact(name, each) for each in value]
    if isinstance(value, str):
        return _CREDENTIALS.sub(REDACTED, value)
    return value
