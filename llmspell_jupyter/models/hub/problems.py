"""Errors of the hub and of its library as errors of ours, without the token."""

from __future__ import annotations

import urllib.parse

from llmspell_jupyter.config.escaping import quoted
from llmspell_jupyter.errors import Gated, LLMSpellError, ModelNotFound, PullError, Unreachable
from llmspell_jupyter.types import Sources

_ONLINE = (
    "Type: %model_list to see the models that are here; HF_HUB_OFFLINE=0 (or models.offline = "
    "false in the profile) allows the network."
)
_TOKEN = (
    "A private one needs a token of its owner, from {endpoint}/settings/tokens, in HF_TOKEN or "
    "from: hf auth login"
)


def offline(what: str) -> Unreachable:
    """The error for what would need a network that must not be asked."""
    return Unreachable(
        f"{what} is not fetched: this profile works offline.",
        hint=_ONLINE,
        data={"offline": True},
    )


def mapped(error: Exception, sources: Sources, repository: str = "") -> LLMSpellError:
    """The error of ours that stands for one of ``huggingface_hub`` or of its transport.

    Args:
        error: What was raised.
        sources: Who was asked.
        repository: What was asked for; empty for a search.
    """
    if isinstance(error, LLMSpellError):
        return error
    # The library's transport has changed its package, and kept the names of its errors.
    kinds = {each.__name__ for each in type(error).__mro__}
    host = _host(sources)
    if "OfflineModeIsEnabled" in kinds:
        return offline(repository or "The hub")
    if "GatedRepoError" in kinds:
        return gated(sources, repository)
    if "RevisionNotFoundError" in kinds:
        return _missing(f"{repository} has no such revision.", sources, repository)
    if "EntryNotFoundError" in kinds:
        return _missing(f"{repository} lacks a file that it lists.", sources, repository)
    if "RepositoryNotFoundError" in kinds:
        return _missing(f"{host} shows no repository {repository}.", sources, repository)
    if "DisabledRepoError" in kinds:
        return PullError(
            f"{host} has disabled {repository}.",
            hint="Take another repository of the model: %model_available --search NAME",
            data={"repository": repository},
        )
    if "HFValidationError" in kinds:
        return _missing(f"{repository!r} is not the name of a repository.", sources, repository)
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int):
        return _status(status, error, sources, repository)
    if "TimeoutException" in kinds or isinstance(error, TimeoutError):
        return unreachable(sources, "it does not answer in time")
    if "ProxyError" in kinds:
        return unreachable(sources, "the proxy does not let us through; look at HTTPS_PROXY")
    if {"TransportError", "RequestError", "InvalidURL", "OSError"} & kinds:
        return unreachable(sources, _shown(error, sources))
    return PullError(
        f"{host} answers what cannot be read: {_shown(error, sources)}.",
        hint="Check that HF_ENDPOINT is the address of a hub, and try again later.",
        data={"endpoint": sources.endpoint, "cause": type(error).__name__},
    )


def unreachable(sources: Sources, why: str) -> Unreachable:
    """The error for a hub that does not answer."""
    return Unreachable(
        f"{_host(sources)} cannot be reached: {why.rstrip('.')}.",
        hint=(
            "Check the network, HTTPS_PROXY and HF_ENDPOINT, then type the same line again. "
            "%model_list shows the models that are here."
        ),
        data={"endpoint": sources.endpoint},
    )


def gated(sources: Sources, repository: str) -> Gated:
    """The error for a model whose owner wants to know who fetches it."""
    page = f"{sources.endpoint}/{repository}"
    if sources.token:
        hint = f"Accept its terms at {page} with the account of your token, then pull again."
    else:
        hint = (
            f"Accept its terms at {page}, make a token at {sources.endpoint}/settings/tokens and "
            "put it into HF_TOKEN (or type: hf auth login), then pull again."
        )
    return Gated(
        f"The owner of {repository} gives it to those who accept its terms"
        + (", and this token's account has not." if sources.token else ", and no token is set."),
        hint=hint,
        data={"repository": repository, "url": page, "token": bool(sources.token)},
    )


def _status(status: int, error: Exception, sources: Sources, repository: str) -> PullError:
    host = _host(sources)
    said = getattr(error, "server_message", None)
    why = f": {_shown(said, sources)}" if said else ""
    data = {"status": status, "repository": repository}
    if status in (401, 403) and sources.token:
        return Gated(
            f"{host} does not accept the token{why}.",
            hint=f"Look at it at {sources.endpoint}/settings/tokens, then set HF_TOKEN.",
            data=data,
        )
    if status in (401, 403):
        return Gated(
            f"{host} wants a token{why}.", hint=_TOKEN.format(endpoint=sources.endpoint), data=data
        )
    if status == 429:
        return PullError(
            f"{host} is asked too often from here (429).",
            hint="Wait some minutes and type the same line again; with a token in HF_TOKEN it "
            "allows more.",
            data=data,
        )
    if status >= 500:
        return Unreachable(
            f"{host} is out of order ({status}{why}).",
            hint="Wait a while and type the same line again.",
            data=data,
        )
    return PullError(
        f"{host} answers {status}{why}.",
        hint="Check HF_ENDPOINT and the name of the model, then type the same line again.",
        data=data,
    )


def _missing(message: str, sources: Sources, repository: str) -> ModelNotFound:
    name = repository.rpartition("/")[2]
    return ModelNotFound(
        message,
        hint=f"Type: %model_available --search {name}. " + _TOKEN.format(endpoint=sources.endpoint),
        data={"repository": repository},
    )


def _host(sources: Sources) -> str:
    return urllib.parse.urlsplit(sources.endpoint).netloc.rpartition("@")[2] or "The hub"


def _shown(said: object, sources: Sources) -> str:
    """What somebody else said, short, and without our token."""
    text = str(said) or type(said).__name__
    return quoted(text.replace(sources.token, "...") if sources.token else text)
