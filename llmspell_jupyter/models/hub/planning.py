"""What would be fetched for a request: the files of one model of one commit."""

from __future__ import annotations

import json
import urllib.parse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmspell_jupyter.errors import BadModelFile, HashMismatch, InvalidModelSpec
from llmspell_jupyter.models import nearest, spec
from llmspell_jupyter.models.hub import files, problems
from llmspell_jupyter.models.hub.api import Api
from llmspell_jupyter.models.transfer.ranged import ranged
from llmspell_jupyter.types import ModelSpec, PullRequest, Sources

if TYPE_CHECKING:
    from llmspell_jupyter.models.catalog import CatalogModel

#: Longest that the questions before a download may take.
SECONDS = 20.0
_MOST_INDEX = 64 * 1024**2
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository.

    Attributes:
        path: Its path there, checked to stay below any folder that it is put into.
        size: In bytes.
        sha256: Hash that its bytes must have; None when nobody says it.
        oid: Git's hash that its bytes must have, of a file that is not in LFS; else None.
    """

    path: str
    size: int
    sha256: str | None
    oid: str | None

    @property
    def blob(self) -> str:
        """Its name in ``blobs`` of a store, as ``huggingface_hub`` makes it."""
        return self.oid or self.sha256 or ""


@dataclass(frozen=True, slots=True)
class Plan:
    """The files that make a model.

    Attributes:
        model: Id under which it will be listed.
        repository: ``owner/name``.
        commit: The commit that the files are of.
        ref: Branch or tag that was asked for, to be kept in ``refs``; None for a commit.
        files: What to fetch; the largest are the weights.
        license: SPDX identifier, lower-case, as its owner says; None when unknown.
        gated: Its owner wants an accepted licence, and this user's is accepted.
    """

    model: str
    repository: str
    commit: str
    ref: str | None
    files: tuple[RemoteFile, ...]
    license: str | None
    gated: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request names.

    Attributes:
        asked: A quantisation, a file or ``safetensors``; None leaves it open.
        wished: Quantisations that are taken if they are there.
    """

    repository: str
    entry: CatalogModel | None
    asked: str | None
    wished: tuple[str, ...]


def plan(request: PullRequest) -> Plan:
    """Find out what to fetch; asks the hub two or three short questions.

    Raises:
        InvalidModelSpec: The name does not follow the grammar, or nothing can be fetched for it.
        ModelNotFound: There is no such model, revision or quantisation; the error names what is.
        UnsafeFormat: The repository holds its weights as pickle only.
        UnsupportedModel: It holds no model of a kind that can be read.
        BadModelFile: Parts of the model are missing there.
        HashMismatch: The hub's files are not those of the lock file.
        Gated: Its owner wants a token or an accepted licence.
        Unreachable: The hub does not answer in 20 seconds, or no network may be asked.
        PullError: The hub answers something else.
    """
    meant, sources = wanted(request), request.sources
    revision, ref = _revision(request.revision)
    if sources.offline:
        raise problems.offline(meant.repository)
    api = Api(sources, SECONDS)
    info = api.model(meant.repository, revision)
    there = _files(info)
    repository, commit = _named(info, meant.repository), _commit(info, meant.repository)
    if request.locked:
        there = _locked(repository, request, there)
    model, paths, index = _choice(repository, meant, [*there])
    made = Plan(
        model=model,
        repository=repository,
        commit=commit,
        ref=ref,
        files=(),
        license=license_of(info) or (meant.entry.license if meant.entry else None),
        gated=bool(info.gated),
    )
    if made.gated:
        # Its files are listed for everybody; whether they are given to us shows at one of them.
        api.check(repository, _url(made, paths[0], sources))
    if request.locked:
        paths = [*there]
    elif index is not None:
        table = _index(made, there[index], sources)
        paths += files.shards(repository, table, [*there])
    for path in paths:
        spec.file_in(Path("snapshot"), path)
    return replace(made, files=tuple(there[path] for path in paths))


def file_url(made: Plan, file: RemoteFile, sources: Sources) -> str:
    """Address of a file at the plan's commit."""
    return _url(made, file.path, sources)


def wanted(request: PullRequest) -> Wanted:
    """What a request names; asks nobody.

    Raises:
        InvalidModelSpec: It does not follow the grammar, or names nothing of the hub's.
        ModelNotFound: No catalog has it.
    """
    from llmspell_jupyter.models import catalog

    named = spec.parse(request.model)
    lookup = request.lookup
    if named.provider or named.kind == "path" or named.backend == "ollama":
        who = named.provider or named.backend or "a path on this machine"
        raise InvalidModelSpec(
            f"{request.model!r} names {who}; from the hub nothing is fetched for it.",
            hint="Type: %model_available to see what can be fetched.",
            data={"model": request.model},
        )
    entry: CatalogModel | None
    if named.kind == "repository":
        entry, variant = catalog.of_repository(named.name, lookup), named.variant
        repository = named.name
    else:
        found = catalog.of_spec(named, lookup)
        if found is None:
            raise nearest.unknown(named, lookup)
        entry, variant = found
        repository = entry.repository
    asked = request.quantization or variant
    if entry is not None and asked is not None:
        asked = entry.offers(asked) or asked
    usual = entry.quantization if entry is not None else None
    return Wanted(repository, entry, asked, tuple(filter(None, (lookup.quantization, usual))))


def _choice(repository: str, meant: Wanted, paths: list[str]) -> tuple[str, list[str], str | None]:
    """The id of the model, its files, and the index that names its further files, if any does."""
    entry, asked = meant.entry, meant.asked
    known = {
        file.path: kind
        for kind, listed in (entry.files.items() if entry and entry.format == "GGUF" else ())
        for file in listed
    }
    offered = files.gguf_offered(paths, asked, known)
    as_gguf = (entry is None or entry.format == "GGUF") and bool(offered)
    if as_gguf and not files.means_safetensors(asked, paths):
        model = files.choose_gguf(repository, paths, asked, meant.wished, known)
        return _id(entry, repository, model.quantization), [*model.paths], None
    chosen, index = files.choose_safetensors(repository, paths, asked)
    return _id(entry, repository, None), chosen, index


def _id(entry: CatalogModel | None, repository: str, quantization: str | None) -> str:
    """The id under which the store will list the model."""
    if entry is not None:
        return entry.id(quantization)
    return ModelSpec(repository, quantization, kind="repository").id


def _index(made: Plan, index: RemoteFile, sources: Sources) -> Any:
    """The file that says which shards there are; it is needed to know what to fetch."""
    if 0 < index.size <= _MOST_INDEX:
        text = ranged(file_url(made, index, sources), sources, 0, index.size)
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            pass  # Not JSON.
    raise BadModelFile(
        f"{index.path} of {made.repository} cannot be read.",
        hint="Take another repository of the model.",
        data={"repository": made.repository, "files": [index.path]},
    )


def _locked(
    repository: str, request: PullRequest, there: dict[str, RemoteFile]
) -> dict[str, RemoteFile]:
    """The files of a lock, as far as the hub tells that they are the same.

    Raises:
        HashMismatch: Some are not; it names them.
    """
    wrong, kept = [], {}
    for path, sha256 in request.locked:
        file = there.get(path)
        if file is None or (file.oid is None and file.sha256 != sha256.lower()):
            found = None if file is None else file.sha256
            wrong.append({"path": path, "expected": sha256, "found": found})
        else:
            # The hub tells no SHA-256 of small files; theirs is checked once they are here.
            kept[path] = file
    if wrong:
        names = ", ".join(ascii(str(each["path"]))[1:-1] for each in wrong[:8])
        raise HashMismatch(
            f"{repository} does not have the files that are locked: {names}.",
            hint="Nothing was fetched. Pull the model without --locked, then type: %model_lock",
            data={"repository": repository, "files": wrong},
        )
    return kept


def _files(info: Any) -> dict[str, RemoteFile]:
    """What a repository holds, by path; files without a size or a sound hash are no files."""
    found = {}
    for each in info.siblings or ():
        path, size = each.rfilename, each.size
        if not isinstance(path, str) or not isinstance(size, int) or size < 0:
            continue
        if each.lfs is not None:
            sha256, oid = _hash(each.lfs.sha256, 64), None
            size = each.lfs.size
        else:
            sha256, oid = None, _hash(each.blob_id, 40)
        if sha256 or oid:
            found[path] = RemoteFile(path, size, sha256, oid)
    return found


def _hash(text: Any, length: int) -> str | None:
    """A hash, which becomes a file's name, if it is one."""
    if isinstance(text, str) and len(text) == length and set(text) <= _HEX:
        return text
    return None


def _named(info: Any, asked: str) -> str:
    """The repository as its owner writes it, where only the case differs."""
    return info.id if str(info.id).lower() == asked.lower() else asked


def _commit(info: Any, repository: str) -> str:
    if not isinstance(info.sha, str) or not spec.is_commit(info.sha):
        raise BadModelFile(
            f"{repository} has no commit to fetch.",
            hint="Take another repository of the model.",
            data={"repository": repository},
        )
    return spec.commit(info.sha)


def _revision(named: str | None) -> tuple[str | None, str | None]:
    """What the hub is asked for, and what is kept in ``refs``.

    Raises:
        InvalidModelSpec: It could not be a file's name.
    """
    if named is None:
        return None, "main"
    if spec.is_commit(named):
        return spec.commit(named), None
    spec.file_in(Path("refs"), named)
    return named, named


def license_of(info: Any) -> str | None:
    """The licence that a repository's card names, lower-case; None when it names none."""
    tags = [each for each in info.tags or () if isinstance(each, str)]
    named = [each.partition(":")[2] for each in tags if each.startswith("license:")]
    card = info.card_data
    said = card.get("license_name") if card and named[:1] in ([], ["other"]) else None
    found = said or (card.get("license") if card else None) or next(iter(named), None)
    found = found[0] if isinstance(found, list) and found else found
    if not isinstance(found, str) or not found.isprintable() or not 0 < len(found) <= 80:
        return None
    return found.lower()


def _url(made: Plan, path: str, sources: Sources) -> str:
    place = urllib.parse.quote(path)
    return f"{sources.endpoint}/{made.repository}/resolve/{made.commit}/{place}"
