import gguf
import numpy as np
import pytest
import torch
from gguf.scripts.gguf_new_metadata import copy_with_new_metadata

from llmspell_jupyter.engine.backend import Embedded, Finished, Reading, Token
from llmspell_jupyter.errors import ContextOverflow, RequestError
from llmspell_jupyter.types import EmbeddingRequest, TokenizeRequest
from tests.support.bert_gguf import tiny_bert, write_bert_gguf
from tests.support.llama import ask, events_of, say, text, vectors

TEXTS = ["the sea is blue", "hello world", "x", *("sea " * count for count in range(2, 60, 3))]


@pytest.fixture(scope="module")
def bert():
    return tiny_bert()


@pytest.fixture
def bert_file(tmp_path, bert):
    return write_bert_gguf(tmp_path / "bert.gguf", bert)


def embed(*texts, **rest):
    return EmbeddingRequest("a-model", texts, **rest)


def expected(bert, ids, pooling):
    with torch.no_grad():
        states = bert(torch.tensor([ids])).last_hidden_state[0].numpy()
    vector = {"mean": states.mean(0), "cls": states[0], "last": states[-1]}[pooling]
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_bert_equals_transformers(load, tmp_path, bert, pooling):
    """By the pooling that the file names."""
    kind = gguf.PoolingType[pooling.upper()]
    backend = load(write_bert_gguf(tmp_path / "bert.gguf", bert, pooling=kind))
    for each in ("the sea is blue", "hello world, abc.", "x"):
        backend.start("t", TokenizeRequest("a-model", prompt=each), lambda: False)
        [tokenized] = backend.step()
        assert tokenized.ids[0] == 2 and tokenized.ids[-1] == 3
        [vector] = vectors(backend, each)
        assert vector == pytest.approx(expected(bert, tokenized.ids, pooling), abs=1e-3)
    assert events_of(backend, embed("x"))[-1].usage["pooling"] == pooling


def test_a_batch_and_each_alone_are_equal(load, tiny, bert_file):
    for backend, texts in ((tiny, TEXTS), (load(bert_file), [each[:60] for each in TEXTS])):
        together = vectors(backend, *texts)
        alone = np.concatenate([vectors(backend, each) for each in texts])
        assert np.abs(together - alone).max() < 1e-4
        assert np.linalg.norm(together, axis=1) == pytest.approx(1)


def test_slices_do_not_show(load, tiny_file):
    """A long text is read in slices and put together."""
    texts = ["a b c " * 20, "the sea " * 25]
    whole = vectors(load(tiny_file), *texts)
    assert vectors(load(tiny_file, batch_size=16), *texts) == pytest.approx(whole, abs=1e-4)


@pytest.mark.parametrize("kind", ["LAST", "CLS"])
def test_a_decoder_pools_as_its_file_says(load, tiny_file, tmp_path, kind):
    """Its text is longer than a batch, so the token that counts is in one slice of several."""
    path = tmp_path / "pooled.gguf"
    reader, writer = gguf.GGUFReader(tiny_file), gguf.GGUFWriter(str(path), "llama")
    writer.add_pooling_type(gguf.PoolingType[kind])
    copy_with_new_metadata(reader, writer, {}, [])
    whole, sliced = load(path), load(path, batch_size=16)
    long, longer = "the sea is blue and deep " * 5, "the sea is blue and deep " * 5 + "x"
    assert vectors(sliced, long) == pytest.approx(vectors(whole, long), abs=1e-4)
    ends_alike = np.allclose(vectors(sliced, long), vectors(sliced, longer), atol=1e-4)
    assert ends_alike == (kind == "CLS")
    assert events_of(sliced, embed(long))[-1].usage["pooling"] == kind.lower()


def test_a_decoder_takes_the_mean_and_says_so(tiny, smollm2_file):
    import llama_cpp

    plain = llama_cpp.Llama(
        str(smollm2_file),
        embedding=True,
        pooling_type=llama_cpp.LLAMA_POOLING_TYPE_MEAN,
        n_ctx=512,
        n_ubatch=512,
        verbose=False,
    )
    theirs = np.array(plain.embed("The sea is deep and blue."))
    plain.close()
    from tests.support import llama

    backend = llama.load(smollm2_file, context_size=256)
    [ours] = vectors(backend, "The sea is deep and blue.")
    backend.close()
    assert float(ours @ theirs / np.linalg.norm(theirs)) > 0.999
    assert events_of(tiny, embed("x"))[-1].usage["pooling"] == "mean"


def test_events_and_usage(tiny):
    events = events_of(tiny, embed("the sea", "hello"))
    *readings, last = events
    assert isinstance(last, Embedded) and len(last.vectors) == 2
    assert all(isinstance(event, Reading) for event in readings)
    total = last.usage["prompt_tokens"]
    assert (readings[-1].done, readings[-1].total) == (total, total)


def test_progress_over_many_texts(tiny):
    events = events_of(tiny, embed(*["the sea"] * 70))
    done = [event.done for event in events if isinstance(event, Reading)]
    assert len(done) == 3 and done == sorted(done)


def test_dimensions_are_cut_and_stretched(tiny):
    [whole] = vectors(tiny, "the sea")
    [short] = vectors(tiny, "the sea", dimensions=8)
    assert len(short) == 8
    assert short == pytest.approx(whole[:8] / np.linalg.norm(whole[:8]), abs=1e-6)
    with pytest.raises(RequestError, match="dimensions is 33; vectors of this model have 32"):
        tiny.start("r", embed("x", dimensions=33), lambda: False)


def test_a_text_that_is_too_long_is_not_cut(load, tiny_file, bert_file):
    for backend in (load(tiny_file, context_size=64), load(bert_file)):
        assert len(vectors(backend, "x" * 5)) == 1
        with pytest.raises(ContextOverflow, match="Nothing was cut"):
            backend.start("r", embed("x", "x " * 200), lambda: False)
        assert backend.active == 0


def test_a_longer_text_makes_the_context_grow(load, tmp_path):
    from tests.support.tiny_gguf import write_tiny_gguf

    backend = load(write_tiny_gguf(tmp_path / "long.gguf", context=2048), context_size=2048)
    before = vectors(backend, "the sea")
    assert vectors(backend, "\x01" * 1500).shape == (1, 32)
    assert vectors(backend, "the sea") == pytest.approx(before, abs=1e-4)


@pytest.mark.parametrize("asks", [0, 20])
def test_cancelled(tiny, asks):
    """Before it began, and in the middle of a batch."""
    asked = []

    def stopped():
        asked.append(None)
        return len(asked) > asks

    before = vectors(tiny, "the sea")
    events = events_of(tiny, embed("the sea " * 30, *["hello"] * 90), stopped)
    assert isinstance(events[-1], Finished) and events[-1].reason == "cancelled"
    assert len(asked) < 60
    assert (vectors(tiny, "the sea") == before).all()


def test_vectors_and_answers_do_not_disturb_each_other(tiny):
    single = text(events_of(tiny, ask("the sea")))
    alone = vectors(tiny, *TEXTS)
    tiny.start("a", ask("the sea"), lambda: False)
    events = []
    for _ in range(3):
        events += tiny.step()
    tiny.start("e", embed(*TEXTS), lambda: False)
    while tiny.active:
        events += tiny.step()
    answer = [event for event in events if event.request_id == "a"]
    assert text(event for event in answer if isinstance(event, Token | Finished)) == single
    assert (vectors(tiny, *TEXTS) == alone).all()


def test_an_embedding_model_writes_no_text(load, bert_file):
    backend = load(bert_file)
    assert backend.describe()["architecture"] == "bert"
    for request in (ask("x"), ask(say("x"))):
        with pytest.raises(RequestError, match="is an embedding model; it writes no text"):
            backend.start("r", request, lambda: False)


def test_a_reranker_makes_no_vectors(load, tmp_path, bert):
    backend = load(write_bert_gguf(tmp_path / "rank.gguf", bert, pooling=gguf.PoolingType.RANK))
    with pytest.raises(RequestError, match="ranks texts"):
        backend.start("r", embed("x"), lambda: False)
