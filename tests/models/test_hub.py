"""What a request would fetch from the hub, asked of a real one on this machine."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import logging
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmspell_jupyter.errors import (
    BadModelFile,
    Gated,
    HashMismatch,
    InvalidModelSpec,
    LLMSpellError,
    ModelNotFound,
    PullError,
    Refused,
    Unreachable,
    UnsafeFormat,
    UnsupportedModel,
)
from llmspell_jupyter.models import hub as our_hub
from llmspell_jupyter.models.hub import files, planning, problems, searching
from llmspell_jupyter.types import Lookup, PullRequest, Sources
from tests.support import hub_server

GGUF = "acme/tiny-GGUF"
TOKEN = "hf_never_shown_anywhere_0123"
KINDS = ("Q2_K", "Q4_K_M", "Q5_K_M", "Q8_0")
CONFIG = b'{"model_type": "t5"}'


@pytest.fixture
def hub() -> Iterator[hub_server.Hub]:
    with hub_server.hub() as made:
        content = {f"tiny.{kind}.gguf": f"GGUF {kind}".encode() for kind in KINDS}
        extra = {"mmproj-F16.gguf": b"GGUF", "tiny.imatrix.gguf": b"GGUF", "README.md": b"Words"}
        made.add(GGUF, content | extra, license="Apache-2.0", tags=("v1",), downloads=5)
        yield made


def _plan(hub: hub_server.Hub, model: str, token: str | None = None, **how: Any) -> our_hub.Plan:
    sources = how.pop("sources", hub.sources(token))
    return our_hub.plan(PullRequest(model, sources=sources, **how))


def _paths(plan: our_hub.Plan) -> list[str]:
    return [each.path for each in plan.files]


@pytest.fixture
def lookup(tmp_path: Path) -> Lookup:
    """A catalog with names for repositories of the hub here."""
    path = tmp_path / "catalog.toml"
    path.write_text(
        f"""
[[model]]
name = "tiny"
aliases = ["tiny-old"]
repository = "{GGUF}"
license = "mit"
quantization = "Q5_K_M"
file = "tiny.{{}}.gguf"
files = {{ Q5_K_M = 11, Q8_0 = 9 }}

[[model]]
name = "sized:1b"
repository = "acme/sized"
quantization = "Q8_0"
files = {{ Q8_0 = [{{ path = "right-q8_0.gguf", size = 5 }}] }}

[[model]]
name = "tiny-t5"
repository = "acme/t5"
format = "safetensors"
"""
    )
    return Lookup(catalogs=(str(path),))


# Which GGUF file


@pytest.mark.parametrize(
    ("spec", "how", "kind"),
    [
        (GGUF, {}, "Q4_K_M"),
        (f"hf.co/{GGUF}:Q8_0", {}, "Q8_0"),
        (f"{GGUF}:q5_k_m@candle", {}, "Q5_K_M"),
        (f"{GGUF}:Q8_0", {"quantization": "q2_k"}, "Q2_K"),
        (GGUF, {"lookup": Lookup(quantization="Q8_0")}, "Q8_0"),
        (GGUF, {"lookup": Lookup(quantization="IQ1_S")}, "Q4_K_M"),
        (f"{GGUF}:q5", {}, "Q5_K_M"),
        (f"hf.co/{GGUF}:tiny.Q2_K.gguf", {}, "Q2_K"),
    ],
)
def test_one_quantisation_is_chosen(
    hub: hub_server.Hub, spec: str, how: dict[str, Any], kind: str
) -> None:
    plan = _plan(hub, spec, **how)
    assert _paths(plan) == [f"tiny.{kind}.gguf"]
    assert plan.model == f"{GGUF}:{kind}"
    (file,) = plan.files
    content = f"GGUF {kind}".encode()
    assert (file.size, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert file.blob == file.sha256
    assert (plan.repository, plan.license, plan.gated) == (GGUF, "apache-2.0", False)


def test_an_absent_quantisation_names_those_that_are_there(hub: hub_server.Hub) -> None:
    with pytest.raises(ModelNotFound) as caught:
        _plan(hub, GGUF, quantization="Q6_K")
    assert "has no Q6_K; it has Q4_K_M, Q5_K_M, Q8_0, Q2_K" in caught.value.message
    assert caught.value.hint == f"Type: %model_pull hf.co/{GGUF}:Q4_K_M"


def test_all_parts_of_a_split_file_come(hub: hub_server.Hub) -> None:
    parts = [f"Q4_K_M/big-Q4_K_M-0000{part}-of-00003.gguf" for part in (1, 2, 3)]
    hub.add("acme/big", dict.fromkeys([*parts, "big-F16-00001-of-00002.gguf"], b"GGUF"))
    assert _paths(_plan(hub, "acme/big")) == parts
    assert _paths(_plan(hub, f"hf.co/acme/big:{parts[1]}")) == parts
    with pytest.raises(BadModelFile, match="1 of 2 parts"):
        _plan(hub, "acme/big:F16")


def test_several_files_of_one_quantisation_are_named(hub: hub_server.Hub) -> None:
    hub.add("acme/two", {"a-Q4_0.gguf": b"GGUF", "b-Q4_0.gguf": b"GGUF", "x/c-Q4_0.gguf": b"GGUF"})
    with pytest.raises(ModelNotFound) as caught:
        _plan(hub, "acme/two")
    assert "several models of that kind: a-Q4_0.gguf, b-Q4_0.gguf" in caught.value.message
    assert _paths(_plan(hub, "hf.co/acme/two:b-Q4_0.gguf")) == ["b-Q4_0.gguf"]
    hub.add("acme/nameless", {"model.gguf": b"GGUF"})
    plan = _plan(hub, "acme/nameless")
    assert (plan.model, _paths(plan)) == ("acme/nameless", ["model.gguf"])


def test_every_quantisation_has_a_place() -> None:
    kinds = [f"UD-{kind}" for kind in files.PREFERENCE] + list(files.PREFERENCE) + ["TQ1_0"]
    found = files.quantizations(f"m-{kind}.gguf" for kind in kinds)
    assert sorted(found) == sorted(set(kinds))
    assert found[:3] == ("Q4_K_M", "UD-Q4_K_M", "Q4_K_S")


# Safetensors

T5 = {
    **dict.fromkeys(("generation_config.json", "tokenizer.json", "modules.json"), b"{}"),
    **dict.fromkeys(("tokenizer_config.json", "special_tokens_map.json"), b"{}"),
    **dict.fromkeys(("1_Pooling/config.json", "chat_template.jinja", "vocab.txt"), b"{}"),
    "config.json": CONFIG,
    "spiece.model": b"pieces",
    "model.safetensors": b"weights",
}
OTHER = {
    **dict.fromkeys(("pytorch_model.bin", "tf_model.h5", "flax_model.msgpack"), b"x"),
    **dict.fromkeys(("onnx/model.onnx", "rust_model.ot", "README.md", "a/model.pt"), b"x"),
    "run.py": b"x",
}


def test_files_of_a_safetensors_model(hub: hub_server.Hub) -> None:
    hub.add("acme/t5", T5 | OTHER)
    plan = _plan(hub, "acme/t5")
    assert _paths(plan) == sorted(T5)
    assert plan.model == "acme/t5"
    small = next(each for each in plan.files if each.path == "config.json")
    oid = hashlib.sha1(b"blob %d\0" % len(CONFIG) + CONFIG).hexdigest()
    assert (small.sha256, small.oid, small.blob) == (None, oid, oid)
    with pytest.raises(ModelNotFound, match="has no Q4_K_M; it has safetensors"):
        _plan(hub, "acme/t5:Q4_K_M")
    assert _paths(_plan(hub, "acme/t5:F32")) == sorted(T5)


def _index(*names: str) -> bytes:
    table = {f"w{number}": name for number, name in enumerate(names)}
    return json.dumps({"metadata": {}, "weight_map": table}).encode()


def test_only_the_shards_that_the_index_names(hub: hub_server.Hub) -> None:
    shards = [f"model-0000{part}-of-00002.safetensors" for part in (1, 2)]
    content: dict[str, bytes | Path] = dict.fromkeys([*shards, "old.safetensors"], b"w")
    index = "model.safetensors.index.json"
    hub.add("acme/shards", content | {"config.json": CONFIG, index: _index(*shards)})
    plan = _plan(hub, "acme/shards")
    assert _paths(plan) == ["config.json", index, *shards]


@pytest.mark.parametrize("named", ["../x.safetensors", "/etc/passwd", "none.safetensors", "run.py"])
def test_an_index_names_nothing_else(hub: hub_server.Hub, named: str) -> None:
    content = {"config.json": CONFIG, "run.py": b"x", "model-1.safetensors": b"w"}
    hub.add("acme/bad", content | {"model.safetensors.index.json": _index(named)})
    with pytest.raises(BadModelFile, match="which is not there"):
        _plan(hub, "acme/bad")


@pytest.mark.parametrize("index", [b"no json", b"[]", b'{"weight_map": 1}', b"[" * 100_000])
def test_a_damaged_index(hub: hub_server.Hub, index: bytes) -> None:
    content = {"config.json": CONFIG, "a.safetensors": b"w", "b.safetensors": b"w"}
    hub.add("acme/bad", content | {"model.safetensors.index.json": index})
    with pytest.raises(BadModelFile):
        _plan(hub, "acme/bad")


def test_pickle_is_refused_before_anything_is_fetched(hub: hub_server.Hub) -> None:
    hub.add("acme/pickle", OTHER | {"config.json": CONFIG})
    with pytest.raises(UnsafeFormat, match=r"can run code") as caught:
        _plan(hub, "acme/pickle")
    assert "%model_available --search pickle" in caught.value.hint
    assert hub.bytes_served == 0


def test_what_is_no_model(hub: hub_server.Hub) -> None:
    hub.add("acme/words", {"README.md": b"x"})
    with pytest.raises(UnsupportedModel, match=r"it has README\.md"):
        _plan(hub, "acme/words")
    hub.add("acme/adapter", {"adapter_model.safetensors": b"x", "config.json": CONFIG})
    with pytest.raises(UnsupportedModel):
        _plan(hub, "acme/adapter")
    hub.add("acme/unsaid", {"model.safetensors": b"x"})
    with pytest.raises(UnsupportedModel, match=r"no config\.json"):
        _plan(hub, "acme/unsaid")


def test_gguf_goes_before_safetensors_unless_asked(hub: hub_server.Hub) -> None:
    hub.add("acme/both", T5 | {"both.Q8_0.gguf": b"GGUF"})
    assert _paths(_plan(hub, "acme/both")) == ["both.Q8_0.gguf"]
    for asked in ("safetensors", "model.safetensors"):
        plan = _plan(hub, "acme/both", quantization=asked)
        assert _paths(plan) == sorted(T5)
        assert plan.model == "acme/both"


# Names of the catalog


@pytest.mark.parametrize(
    ("name", "kind"),
    [("tiny", "Q4_K_M"), ("TINY:q8_0", "Q8_0"), ("tiny-old:q5", "Q5_K_M"), (GGUF, "Q4_K_M")],
)
def test_catalog_names(hub: hub_server.Hub, lookup: Lookup, name: str, kind: str) -> None:
    plan = _plan(hub, name, lookup=lookup)
    assert (plan.model, plan.repository) == (f"tiny:{kind}", GGUF)
    assert _paths(plan) == [f"tiny.{kind}.gguf"]


def test_a_catalog_says_which_of_several_files(hub: hub_server.Hub, lookup: Lookup) -> None:
    hub.add("acme/sized", {"other-q8_0.gguf": b"GGUF", "right-q8_0.gguf": b"GGUF"})
    plan = _plan(hub, "sized:1b", lookup=lookup)
    assert (plan.model, _paths(plan)) == ("sized:1b-Q8_0", ["right-q8_0.gguf"])
    hub.add("acme/t5", T5 | {"t5-q8_0.gguf": b"GGUF"})
    plan = _plan(hub, "tiny-t5", lookup=lookup)
    assert (plan.model, _paths(plan)) == ("tiny-t5", sorted(T5))


def test_an_unknown_name_asks_nobody(hub: hub_server.Hub, lookup: Lookup) -> None:
    with pytest.raises(ModelNotFound) as caught:
        _plan(hub, "tinny-t5", lookup=lookup)
    assert "Did you mean tiny-t5" in caught.value.hint
    for name in ("openai/gpt-4o", "llama3.1:8b@ollama", "/some/where"):
        with pytest.raises(InvalidModelSpec, match="nothing is fetched"):
            _plan(hub, name)
    assert hub.requests == []


# Revisions


def test_branches_tags_and_commits(hub: hub_server.Hub) -> None:
    first = hub.repositories[GGUF].tags["v1"]
    second = hub.add(GGUF, {"tiny.Q8_0.gguf": b"GGUF 2"})
    third = hub.add(GGUF, {"tiny.Q8_0.gguf": b"GGUF 3"}, branch="pr/7")
    for revision, commit, ref in (
        (None, second, "main"),
        ("main", second, "main"),
        ("v1", first, "v1"),
        ("pr/7", third, "pr/7"),
        (first, first, None),
        (first.upper(), first, None),
    ):
        plan = _plan(hub, GGUF, revision=revision)
        assert (plan.commit, plan.ref) == (commit, ref), revision
        url = our_hub.file_url(plan, plan.files[0], hub.sources())
        assert url == f"{hub.url}/{GGUF}/resolve/{commit}/{plan.files[0].path}"


def test_an_unknown_revision_names_those_that_are_there(hub: hub_server.Hub) -> None:
    with pytest.raises(ModelNotFound, match="has no revision 'v9'") as caught:
        _plan(hub, GGUF, revision="v9")
    assert caught.value.hint.startswith("It has main, v1")
    with pytest.raises(InvalidModelSpec):
        _plan(hub, GGUF, revision="../../x")


def test_addresses_are_quoted(hub: hub_server.Hub) -> None:
    hub.add("acme/odd", {"a b#%41-Q4_0.gguf": b"GGUF"})
    plan = _plan(hub, "acme/odd")
    url = our_hub.file_url(plan, plan.files[0], hub.sources())
    assert url.endswith("/a%20b%23%2541-Q4_0.gguf")


@pytest.mark.parametrize(
    "name",
    ["../../up-Q4_0.gguf", "/abs-Q4_0.gguf", "a\\..\\b-Q4_0.gguf", "C:/x-Q4_0.gguf", "nul.gguf"],
)
def test_names_that_lead_out_of_the_store(hub: hub_server.Hub, name: str) -> None:
    hub.add("acme/evil", {name: b"GGUF"})
    with pytest.raises(InvalidModelSpec, match="is not kept"):
        _plan(hub, "acme/evil")


# Locks


def test_a_lock_is_compared_before_anything_is_fetched(hub: hub_server.Hub) -> None:
    hub.add("acme/t5", T5)
    locked = {name: hashlib.sha256(content).hexdigest() for name, content in T5.items()}
    plan = _plan(hub, "acme/t5", locked=tuple(locked.items()))
    assert sorted(_paths(plan)) == sorted(T5)
    wrong = locked | {"model.safetensors": "0" * 64, "gone.json": "1" * 64}
    with pytest.raises(HashMismatch) as caught:
        _plan(hub, "acme/t5", locked=tuple(wrong.items()))
    assert [each["path"] for each in caught.value.data["files"]] == [
        "model.safetensors",
        "gone.json",
    ]
    assert hub.bytes_served == 0


def test_a_lock_takes_its_files_only(hub: hub_server.Hub) -> None:
    locked = (("tiny.Q8_0.gguf", hashlib.sha256(b"GGUF Q8_0").hexdigest()),)
    plan = _plan(hub, GGUF, locked=locked)
    assert (plan.model, _paths(plan)) == (f"{GGUF}:Q8_0", ["tiny.Q8_0.gguf"])


# Gates and tokens


def test_a_gated_model_says_what_to_do(hub: hub_server.Hub) -> None:
    hub.add("acme/gated", {"a-Q8_0.gguf": b"GGUF"}, gated="manual")
    hub.allow("hf_stranger")
    hub.allow(TOKEN, "acme/gated")
    with pytest.raises(Gated, match="no token is set") as caught:
        _plan(hub, "acme/gated")
    assert f"{hub.url}/acme/gated" in caught.value.hint
    assert "HF_TOKEN" in caught.value.hint
    with pytest.raises(Gated, match="this token's account has not") as caught:
        _plan(hub, "acme/gated", "hf_stranger")
    assert f"{hub.url}/acme/gated" in caught.value.hint
    plan = _plan(hub, "acme/gated", TOKEN)
    assert (plan.gated, _paths(plan)) == (True, ["a-Q8_0.gguf"])
    assert hub.bytes_served == 0


def test_private_missing_and_bad_tokens(hub: hub_server.Hub) -> None:
    hub.add("acme/private", {"a-Q8_0.gguf": b"GGUF"}, private=True)
    hub.allow(TOKEN, "acme/private")
    assert _paths(_plan(hub, "acme/private", TOKEN)) == ["a-Q8_0.gguf"]
    for name in ("acme/private", "acme/none"):
        with pytest.raises(ModelNotFound, match="shows no repository") as caught:
            _plan(hub, name)
        assert "HF_TOKEN" in caught.value.hint
    with pytest.raises(ModelNotFound) as caught:
        _plan(hub, "acme/tinny-GGUF")
    assert caught.value.hint.startswith(f"Did you mean {GGUF}? ")
    with pytest.raises(Gated, match="does not accept the token"):
        _plan(hub, GGUF, "hf_wrong")


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 400},
        {"kind": "garbage"},
        {"kind": "redirect", "to": "http://127.0.0.1:1/elsewhere"},
    ],
)
def test_the_token_is_shown_nowhere(
    hub: hub_server.Hub, caplog: pytest.LogCaptureFixture, fault: dict[str, Any]
) -> None:
    hub.allow(TOKEN)
    hub.fault(f"/api/models/{GGUF}", **fault)
    with caplog.at_level(logging.DEBUG), pytest.raises(LLMSpellError) as caught:
        _plan(hub, GGUF, TOKEN)
    ours = caught.value.__traceback__
    while ours is not None and "llmspell_jupyter" not in ours.tb_frame.f_code.co_filename:
        ours = ours.tb_next
    assert ours is not None
    caught.value.__traceback__ = ours
    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    seen = "".join(told.format())
    shown = [seen, caplog.text, repr(caught.value.to_wire()), repr(hub.sources(TOKEN))]
    assert not any(TOKEN in text for text in shown)
    assert hub.requests[-1].headers["authorization"] == f"Bearer {TOKEN}"


def test_a_server_that_repeats_the_token() -> None:
    sources = Sources(token=TOKEN)

    class Said(Exception):
        server_message = f"who is\n{TOKEN}?"
        response = type("Response", (), {"status_code": 400})

    error = problems.mapped(Said(), sources, "a/b")
    assert TOKEN not in str(error)
    assert "who is ...?" in str(error)


# Servers that do not answer well


def test_offline_is_an_error_at_once_and_nobody_is_asked(
    hub: hub_server.Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*_: Any) -> None:
        raise AssertionError("a connection was made")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    sources = hub.sources(offline=True)
    began = time.monotonic()
    with pytest.raises(Unreachable, match="works offline") as caught:
        _plan(hub, GGUF, sources=sources)
    with pytest.raises(Unreachable, match="works offline"):
        our_hub.search("tiny", sources)
    assert time.monotonic() - began < 1
    assert "%model_list" in caught.value.hint
    assert hub.requests == []


def test_a_hub_that_is_not_there(hub: hub_server.Hub) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        sources = Sources(endpoint=f"http://127.0.0.1:{free.getsockname()[1]}")
        with pytest.raises(Unreachable, match="cannot be reached") as caught:
            _plan(hub, GGUF, sources=sources)
    assert "HF_ENDPOINT" in caught.value.hint


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"kind": "status", "status": 429, "retry_after": 9}, PullError),
        ({"kind": "status", "status": 503}, Unreachable),
        ({"kind": "status", "status": 418}, PullError),
        ({"kind": "garbage"}, Unreachable),
        ({"kind": "redirect", "to": "http://127.0.0.1:1/"}, Refused),
        ({"kind": "redirect", "to": "http://169.254.169.254/"}, Refused),
        ({"kind": "redirect", "to": "file:///etc/passwd"}, Refused),
        ({"kind": "redirect", "to": f"/api/models/{GGUF}"}, PullError),
    ],
)
def test_bad_answers_are_named_errors(
    hub: hub_server.Hub, fault: dict[str, Any], expected: type[LLMSpellError]
) -> None:
    hub.fault(f"/api/models/{GGUF}", **fault)
    with pytest.raises(expected) as caught:
        _plan(hub, GGUF)
    assert type(caught.value) is expected
    assert caught.value.hint


@pytest.mark.parametrize("moved", ["/api/models/acme/other", "{url}/api/models/acme/other"])
def test_renamed_repositories_keep_the_name_that_was_asked_for(
    hub: hub_server.Hub, moved: str
) -> None:
    hub.add("acme/other", {"a-Q8_0.gguf": b"GGUF"})
    hub.fault("/api/models/acme/former", "redirect", to=moved.format(url=hub.url))
    plan = _plan(hub, "acme/former")
    assert (plan.model, plan.repository) == ("acme/former:Q8_0", "acme/former")


def test_a_silent_hub_is_given_up(hub: hub_server.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "SECONDS", 0.5)
    hub.fault(f"/api/models/{GGUF}", "silent")
    with pytest.raises(Unreachable, match="does not answer in time"):
        _plan(hub, GGUF)
    monkeypatch.setattr(searching, "SECONDS", 0.5)
    hub.fault("/api/models", "silent")
    with pytest.raises(Unreachable):
        our_hub.search("tiny", hub.sources())


def test_an_answer_that_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "SECONDS", 0.5)
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
                for _ in range(100):
                    connection.sendall(b" ")
                    ended.wait(0.05)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        sources = Sources(endpoint=f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(Unreachable, match="in time"):
            our_hub.plan(PullRequest("acme/tiny", sources=sources))
        ended.set()
        thread.join(10)


@pytest.mark.parametrize(
    ("body", "head"),
    [
        (b"<html>Sign in to this network</html>", b""),
        (b"[]", b""),
        (b'{"id": "a"}', b""),
        (b"[" * 100_000, b""),
        (b'{"id": "a/b", "sha": "../../up", "siblings": []}', b""),
        (b'{"id": "a/b", "sha": 7, "siblings": [{}]}', b""),
        (b"\x1f\x8b", b"Content-Encoding: gzip\r\n"),
    ],
)
def test_answers_that_are_no_model(body: bytes, head: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                length = b"Content-Length: %d\r\n" % len(body)
                connection.sendall(b"HTTP/1.1 200 OK\r\n" + head + length + b"\r\n" + body)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        sources = Sources(endpoint=f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises((PullError, BadModelFile)):
            our_hub.plan(PullRequest("acme/tiny", sources=sources))
        thread.join(10)


def test_every_error_of_the_library_has_one_of_ours() -> None:
    import httpx2
    import huggingface_hub.errors

    sources = Sources(token=TOKEN)
    response = httpx2.Response(418, request=httpx2.Request("GET", "https://huggingface.co/x"))
    found = 0
    for module in (huggingface_hub.errors, httpx2):
        for cls in vars(module).values():
            if not (inspect.isclass(cls) and issubclass(cls, Exception)):
                continue
            error = cls.__new__(cls)
            Exception.__init__(error, f"Bearer {TOKEN}")
            if issubclass(cls, huggingface_hub.errors.HfHubHTTPError):
                error.response = response
                error.server_message = None
            made = problems.mapped(error, sources, "acme/tiny")
            assert isinstance(made, (PullError, ModelNotFound)), cls
            assert made.hint
            assert TOKEN not in str(made), cls
            found += 1
    assert found > 60
    assert type(problems.mapped(httpx2.ConnectError("x"), sources)) is Unreachable
    assert type(problems.mapped(httpx2.ReadTimeout("x"), sources)) is Unreachable


# Search


def test_search_lists_what_runs_here(hub: hub_server.Hub) -> None:
    hub.add(
        "acme/tiny-t5",
        T5,
        downloads=90,
        pipeline_tag="translation",
        safetensors={"parameters": {"F32": 7}, "total": 7},
        config={"model_type": "t5"},
    )
    hub.add("acme/tiny-lora", {"adapter_model.safetensors": b"x", "config.json": CONFIG})
    hub.add("acme/tiny-bin", {"pytorch_model.bin": b"x", "config.json": CONFIG})
    hub.add("acme/tiny-picture", T5, pipeline_tag="text-to-image")
    hub.add(
        "acme/tiny-embed-GGUF",
        {"e-Q8_0.gguf": b"GGUF"},
        downloads=9,
        gated="auto",
        license="mit",
        pipeline_tag="sentence-similarity",
        gguf={"total": 33, "architecture": "bert", "context_length": 512},
    )
    found = our_hub.search("tiny", hub.sources())
    assert [each.id for each in found] == ["acme/tiny-embed-GGUF", GGUF, "acme/tiny-t5"]
    embed, gguf, t5 = found
    assert (embed.parameter_count, embed.architecture, embed.context_length) == (33, "bert", 512)
    assert (embed.tasks, embed.gated, embed.license) == (("embed",), True, "mit")
    assert (gguf.quantizations, gguf.downloads) == (("Q4_K_M", "Q5_K_M", "Q8_0", "Q2_K"), 5)
    assert (t5.parameter_count, t5.architecture, t5.tasks) == (7, "t5", ("generate",))
    assert {each.origin for each in found} == {"hub"}
    assert len(our_hub.search("tiny", hub.sources(), limit=1)) == 1
    assert our_hub.search("nothing of the kind", hub.sources()) == []
