"""The loopback hub is what the real client takes for the hub."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.support import hub_server
from tests.support.engines import wait_for

CONFIG = b'{"model_type": "llama"}'
WEIGHTS = hashlib.shake_256(b"weights").digest(300_001)
NAME = "acme/tiny"
FILE = f"{NAME}/model.safetensors"


@pytest.fixture(params=[False, True], ids=["one origin", "cdn"])
def hub(request: pytest.FixtureRequest) -> Iterator[hub_server.Hub]:
    with hub_server.hub(cdn=request.param) as made:
        files = {
            "config.json": CONFIG,
            "model.safetensors": WEIGHTS,
            "1_Pooling/config.json": b"{}",
        }
        made.add(NAME, files, license="apache-2.0", tags=("v1",))
        yield made


def _api(hub: hub_server.Hub, token: str | bool = False) -> huggingface_hub.HfApi:
    return huggingface_hub.HfApi(endpoint=hub.url, token=token)


def _get(
    hub: hub_server.Hub, path: str, headers: dict[str, str] | None = None, method: str = "GET"
) -> tuple[int, dict[str, str], bytes]:
    """One request, without following anything; from the CDN when a file lies there."""
    origin = hub.url
    for _ in range(3):
        connection = http.client.HTTPConnection(origin.split("//")[1], timeout=20)
        try:
            connection.request(method, path, headers=headers or {})
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            body = answer.read()
        finally:
            connection.close()
        target = found.get("location", "")
        if not target.startswith(("/", hub.cdn_url)):
            break
        origin = hub.cdn_url if target.startswith(hub.cdn_url) else origin
        path = target.removeprefix(hub.cdn_url)
    return answer.status, found, body


URL = f"/{NAME}/resolve/main/model.safetensors"


def test_model_info_names_files_with_their_hashes(hub: hub_server.Hub) -> None:
    info = _api(hub).model_info(NAME, files_metadata=True)
    assert info.sha == hub.repositories[NAME].branches["main"]
    assert info.card_data is not None
    assert info.card_data["license"] == "apache-2.0"
    assert info.siblings is not None
    found = {each.rfilename: each for each in info.siblings}
    assert found["config.json"].blob_id == (
        hashlib.sha1(b"blob %d\0" % len(CONFIG) + CONFIG).hexdigest()
    )
    weights = found["model.safetensors"].lfs
    assert weights is not None
    assert (weights.size, weights.sha256) == (len(WEIGHTS), hashlib.sha256(WEIGHTS).hexdigest())


def test_tree_is_paginated_and_recursive() -> None:
    with hub_server.hub(page=2) as hub:
        hub.add(NAME, {f"{folder}/{i}.json": b"{}" for folder in "ab" for i in range(3)})
        api = _api(hub)
        flat = [each.path for each in api.list_repo_tree(NAME)]
        assert flat == ["a", "b"]
        all_of_it = {each.path for each in api.list_repo_tree(NAME, recursive=True)}
        assert all_of_it == {"a", "b", *(f"{folder}/{i}.json" for folder in "ab" for i in range(3))}
        assert [each.path for each in api.list_repo_tree(NAME, "b")] == [
            f"b/{i}.json" for i in range(3)
        ]
        paths = api.get_paths_info(NAME, ["a/1.json", "b", "nothing"])
        assert [each.path for each in paths] == ["a/1.json", "b"]
        assert len(hub.requests) > 5


def test_refs_tags_and_commits(hub: hub_server.Hub) -> None:
    first = hub.repositories[NAME].branches["main"]
    second = hub.add(NAME, {"config.json": b"[]"})
    refs = _api(hub).list_repo_refs(NAME)
    assert [each.target_commit for each in refs.branches] == [second]
    assert [(each.name, each.target_commit) for each in refs.tags] == [("v1", first)]
    for revision, sha in (("v1", first), (first, first), ("main", second), (None, second)):
        assert _api(hub).model_info(NAME, revision=revision).sha == sha


def test_snapshot_download_makes_its_usual_tree(hub: hub_server.Hub, tmp_path: Path) -> None:
    folder = Path(huggingface_hub.snapshot_download(NAME, endpoint=hub.url, cache_dir=tmp_path))
    sha = hub.repositories[NAME].branches["main"]
    assert folder == tmp_path / "models--acme--tiny" / "snapshots" / sha
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert (folder / "1_Pooling" / "config.json").read_bytes() == b"{}"
    assert (folder.parents[1] / "refs" / "main").read_text() == sha
    blob = hashlib.sha256(WEIGHTS).hexdigest()
    assert (folder / "model.safetensors").readlink() == Path(f"../../blobs/{blob}")
    assert hub.bytes_served == len(WEIGHTS) + len(CONFIG) + 2


def test_hf_hub_download_of_one_file(hub: hub_server.Hub, tmp_path: Path) -> None:
    for name, content in (("config.json", CONFIG), ("model.safetensors", WEIGHTS)):
        path = huggingface_hub.hf_hub_download(
            NAME, name, endpoint=hub.url, cache_dir=tmp_path, revision="v1"
        )
        assert Path(path).read_bytes() == content


def test_files_on_disk_are_served(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(WEIGHTS)
    with hub_server.hub() as hub:
        hub.add("acme/disk", {"model.gguf": path})
        status, _, body = _get(hub, "/acme/disk/resolve/main/model.gguf", {"Range": "bytes=7-"})
        assert (status, body) == (206, WEIGHTS[7:])
        # It counts what it has sent, which may be here by then.
        wait_for(lambda: hub.served("acme/disk/model.gguf") == len(WEIGHTS) - 7)


def test_unknown_things_are_the_errors_of_the_real_client(hub: hub_server.Hub) -> None:
    api = _api(hub)
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("acme/none")
    with pytest.raises(RevisionNotFoundError):
        api.model_info(NAME, revision="none")
    with pytest.raises(RemoteEntryNotFoundError):
        huggingface_hub.get_hf_file_metadata(f"{hub.url}/{NAME}/resolve/main/none.json")


def test_gated_and_private_repositories(hub: hub_server.Hub) -> None:
    hub.add("acme/gated", {"config.json": CONFIG}, gated="manual")
    hub.add("acme/private", {"config.json": CONFIG}, private=True)
    hub.allow("hf_stranger")
    hub.allow("hf_friend", "acme/gated", "acme/private")
    assert _api(hub).model_info("acme/gated").gated == "manual"
    for token in (False, "hf_stranger"):
        with pytest.raises(GatedRepoError):
            _api(hub, token).auth_check("acme/gated")
        with pytest.raises(RepositoryNotFoundError):
            _api(hub, token).model_info("acme/private")
    _api(hub, "hf_friend").auth_check("acme/gated")
    assert _api(hub, "hf_friend").model_info("acme/private").private is True
    assert _api(hub, "hf_friend").whoami()["name"] == "user-2"
    with pytest.raises(HfHubHTTPError, match="Invalid credentials"):
        _api(hub, "hf_unknown").model_info(NAME)


def test_search_filters_and_limits(hub: hub_server.Hub) -> None:
    hub.add("acme/tiny-GGUF", {"a.gguf": b"GGUF"}, downloads=9, pipeline_tag="text-generation")
    api = _api(hub)
    assert [each.id for each in api.list_models(search="tiny")] == ["acme/tiny-GGUF", NAME]
    assert [each.id for each in api.list_models(search="TINY", filter="gguf")] == ["acme/tiny-GGUF"]
    assert [each.id for each in api.list_models(limit=1)] == ["acme/tiny-GGUF"]
    found = next(iter(api.list_models(search="tiny-gguf", full=True)))
    assert [each.rfilename for each in found.siblings or ()] == ["a.gguf"]


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-9", 0, 10), ("bytes=299990-", 299_990, 300_001), ("bytes=-5", 299_996, 300_001)],
)
def test_ranges(hub: hub_server.Hub, asked: str, start: int, end: int) -> None:
    status, headers, body = _get(hub, URL, {"Range": asked})
    assert (status, body) == (206, WEIGHTS[start:end])
    assert headers["content-range"] == f"bytes {start}-{end - 1}/{len(WEIGHTS)}"
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    assert _get(hub, URL, {"Range": asked, "If-Range": f'"{digest}"'})[0] == 206
    assert _get(hub, URL, {"Range": asked, "If-Range": '"other"'})[0] == 200
    assert _get(hub, URL, {"Range": "bytes=300001-"})[0] == 416


def test_a_token_does_not_reach_the_cdn_of_a_real_client(tmp_path: Path) -> None:
    with hub_server.hub(cdn=True) as hub:
        hub.add(NAME, {"model.safetensors": WEIGHTS})
        hub.allow("hf_secret")
        huggingface_hub.snapshot_download(
            NAME, endpoint=hub.url, cache_dir=tmp_path, token="hf_secret"
        )
        seen = {each.server: "authorization" in each.headers for each in hub.requests}
        assert seen == {"hub": True, "cdn": False}


# Faults


def _broken(hub: hub_server.Hub, headers: dict[str, str] | None = None) -> bytes:
    """What came before the connection broke."""
    try:
        return _get(hub, URL, headers)[2]
    except http.client.IncompleteRead as error:
        return error.partial


def test_drop_at_a_byte_concerns_the_part_that_holds_it(hub: hub_server.Hub) -> None:
    fault = hub.fault(FILE, "drop", at=1000, times=1)
    assert _broken(hub, {"Range": "bytes=2000-2999"}) == WEIGHTS[2000:3000]
    assert fault.happened == 0
    assert _broken(hub) == WEIGHTS[:1000]
    assert _broken(hub) == WEIGHTS


def test_wrong_bytes(hub: hub_server.Hub) -> None:
    hub.fault(FILE, "wrong", at=5, times=1)
    assert _broken(hub) == WEIGHTS[:5] + bytes([WEIGHTS[5] ^ 1]) + WEIGHTS[6:]
    assert _broken(hub) == WEIGHTS


def test_headers_that_lie(hub: hub_server.Hub) -> None:
    hub.fault(FILE, "no_range", times=1)
    status, _, body = _get(hub, URL, {"Range": "bytes=1-2"})
    assert (status, body) == (200, WEIGHTS)
    hub.fault(FILE, "range", by=3, times=1)
    status, headers, body = _get(hub, URL, {"Range": "bytes=1-2"})
    assert (headers["content-range"], body) == (f"bytes 4-5/{len(WEIGHTS)}", WEIGHTS[4:6])
    hub.fault(FILE, "length", by=10, times=1)
    assert _broken(hub) == WEIGHTS
    hub.mend(FILE)
    hub.fault(FILE, "etag", to="changed", times=2)
    assert '"changed"' in _get(hub, URL)[1]["etag"]


def test_statuses_with_retry_after(hub: hub_server.Hub) -> None:
    hub.fault(FILE, "status", status=429, retry_after=2, times=1)
    hub.fault(FILE, "status", status=502, times=1)
    status, headers, _ = _get(hub, URL)
    assert (status, headers["retry-after"]) == (429, "2")
    assert _get(hub, URL)[0] == 502
    assert _get(hub, URL)[0] == 200
    hub.fault(f"/api/models/{NAME}", "status", status=500, times=1)
    with pytest.raises(HfHubHTTPError):
        _api(hub).model_info(NAME)


def test_redirect_and_garbage(hub: hub_server.Hub) -> None:
    hub.fault(FILE, "redirect", to="http://169.254.169.254/", times=1)
    assert _get(hub, URL)[1]["location"] == "http://169.254.169.254/"
    hub.fault(FILE, "garbage", times=1)
    with pytest.raises(http.client.HTTPException):
        _get(hub, URL)


def test_signed_addresses_expire() -> None:
    with hub_server.hub(cdn=True) as hub:
        hub.add(NAME, {"model.safetensors": WEIGHTS})
        hub.fault(FILE, "expired", times=1)
        assert _get(hub, URL)[0] == 403
        assert _get(hub, URL)[0] == 200


def test_a_gzip_bomb_unpacks_to_its_size(hub: hub_server.Hub) -> None:
    hub.fault(FILE, "gzip", size=50 * 1024**2, times=1)
    _, headers, body = _get(hub, URL)
    assert headers["content-encoding"] == "gzip"
    assert len(body) < 1024**2
    unpacked = 0
    with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
        try:
            while piece := file.read(1024**2):
                unpacked += len(piece)
        except gzip.BadGzipFile:
            pass  # Its checksum is not that of what it unpacks to.
    assert unpacked >= 50 * 1024**2


@pytest.mark.parametrize("kind", ["stall", "silent"])
def test_a_stalled_answer_ends_with_the_client(hub: hub_server.Hub, kind: Any) -> None:
    how = {"after": 1000} if kind == "stall" else {}
    hub.fault(FILE, kind, server="cdn" if hub.cdn else "hub", **how)
    first, rest = b"", b""
    origin = hub.url.split("//")[1]
    connection = http.client.HTTPConnection(origin, timeout=0.3)
    path = URL
    if hub.cdn:
        connection.request("HEAD", URL)
        target = connection.getresponse().getheader("location") or ""
        connection.close()
        connection = http.client.HTTPConnection(hub.cdn_url.split("//")[1], timeout=0.3)
        path = target.removeprefix(hub.cdn_url)
    with pytest.raises(TimeoutError):
        connection.request("GET", path)
        answer = connection.getresponse()
        first = answer.read(1000)
        rest = answer.read()
    connection.close()
    assert first == (WEIGHTS[:1000] if kind == "stall" else b"")
    assert rest == b""
    assert hub.served(FILE) == len(first)


def test_a_slow_drip_is_slow(hub: hub_server.Hub) -> None:
    hub.fault(FILE, "drip", bytes_per_second=1_000_000)
    began = time.monotonic()
    assert _broken(hub) == WEIGHTS
    assert time.monotonic() - began > 0.2
