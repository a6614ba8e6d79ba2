import json
import math
import shutil
from pathlib import Path

import hypothesis
import pytest
import tokenizers
import torch
import transformers
from hypothesis import strategies
from safetensors.torch import load_file, save_file

from llmspell_jupyter.engine.backend import Failed, Finished, Reading, Token, Tokenized
from llmspell_jupyter.engine.backends._torch.tokenizer import Pieces, read_tokenizer
from llmspell_jupyter.engine.backends.torch_causal import BACKEND
from llmspell_jupyter.engine.text import TextAssembler
from llmspell_jupyter.errors import (
    BadModelFile,
    ContextOverflow,
    RequestError,
)
from llmspell_jupyter.models.folder import inspect_folder
from llmspell_jupyter.types import (
    EmbeddingRequest,
    GenerationRequest,
    LoadOptions,
    Message,
    ModelInfo,
    Sampling,
    TokenizeRequest,
)
from tests.support.tiny_transformers import write_tiny

KINDS = ["llama", "gpt2", "qwen2"]
PLAIN = Sampling(temperature=0, repeat_penalty=1.0)
PROMPTS = ["the sea is blue", "hello world, how are you", "größer 😀", "x"]


def info(path):
    return ModelInfo("a-model", "candle", path, "safetensors", size_bytes=0, modified_at=0)


def load(path, **options):
    return BACKEND.load(info(path), LoadOptions(**{"cpu_threads": 1} | options), lambda share: None)


def ask(text, **rest):
    rest = {"max_tokens": 24, "sampling": PLAIN} | rest
    if isinstance(text, str):
        return GenerationRequest("a-model", prompt=text, **rest)
    return GenerationRequest("a-model", messages=text, **rest)


def say(content):
    return (Message("user", content),)


def run(backend, request, stopped=lambda: False):
    backend.start("r", request, stopped)
    return collect(backend)["r"]


def collect(backend, events=()):
    by_request = {}
    for event in events:
        by_request.setdefault(event.request_id, []).append(event)
    while backend.active:
        for event in backend.step():
            by_request.setdefault(event.request_id, []).append(event)
    return by_request


def text(events):
    return "".join(event.text for event in events if isinstance(event, Token | Finished))


def tokenizer_of(path):
    return tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))


def pieces_of(path):
    inspected = inspect_folder(path)
    return Pieces(read_tokenizer(inspected), inspected)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {kind: write_tiny(kind, folder / kind) for kind in KINDS}


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def folder(folders, kind):
    return folders[kind]


@pytest.fixture(scope="module")
def theirs(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def backend(folder):
    return load(folder)


@pytest.fixture
def copy(folders, tmp_path):
    return Path(shutil.copytree(folders["llama"], tmp_path / "copy"))


def write(path, value):
    path.write_text(json.dumps(value))


def change(path, **values):
    write(path, json.loads(path.read_text()) | values)


# The same tokens as the library's


def generate(model, folder, prompt, count, **rest):
    """Text and tokens that ``generate`` gives for a plain prompt, greedily."""
    ids = tokenizer_of(folder).encode(prompt).ids
    with torch.inference_mode():
        out = model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            max_new_tokens=count,
            do_sample=False,
            pad_token_id=0,
            **rest,
        )
    return out[0, len(ids) :].tolist()


@pytest.mark.parametrize("batch_size", [512, 3])
def test_greedy_equals_generate(folder, theirs, batch_size):
    ours = load(folder, batch_size=batch_size)
    tokenizer = tokenizer_of(folder)
    kinds = set()
    for prompt in PROMPTS:
        expected = generate(theirs, folder, prompt, 40)
        events = run(ours, ask(prompt, max_tokens=40, logprobs=0))
        ends = [token for token in expected if token != theirs.config.eos_token_id]
        assert events[-1].usage["completion_tokens"] == len(ends)
        assert events[-1].reason == ("stop" if len(ends) < len(expected) else "length")
        pieces = [event.logprob.bytes for event in events if isinstance(event, Token)]
        mapped = pieces_of(folder)
        assert pieces == [tuple(mapped[token]) for token in ends]
        kinds |= set(ends)
        if "\ufffd" not in tokenizer.decode(ends):
            assert text(events) == tokenizer.decode(ends)
    assert len(kinds) > 20, "a model that says one thing proves little"


def test_log_probabilities_equal_the_model(folder, theirs, backend):
    prompt = "the sea is"
    ids = tokenizer_of(folder).encode(prompt).ids
    answer = generate(theirs, folder, prompt, 6)
    with torch.inference_mode():
        rows = theirs(torch.tensor([ids + answer])).logits[0].log_softmax(-1)
    events = run(backend, ask(prompt, max_tokens=6, logprobs=3))
    told = [event.logprob for event in events if isinstance(event, Token)]
    for place, (token, each) in enumerate(zip(answer, told, strict=False)):
        row = rows[len(ids) + place - 1]
        assert each.logprob == pytest.approx(float(row[token]), abs=1e-4)
        assert [top.logprob for top in each.top] == pytest.approx(
            row.topk(3).values.tolist(), abs=1e-4
        )


def test_forbidden_tokens_equal_generate(folder, theirs, backend):
    first = generate(theirs, folder, "the sea", 8)
    expected = generate(theirs, folder, "the sea", 8, suppress_tokens=first[:3])
    banned = Sampling(
        temperature=0,
        repeat_penalty=1.0,
        logit_bias=tuple((token, -math.inf) for token in first[:3]),
    )
    events = run(backend, ask("the sea", max_tokens=8, sampling=banned, logprobs=0))
    mapped = pieces_of(folder)
    ends = [token for token in expected if token != theirs.config.eos_token_id]
    assert [event.logprob.bytes for event in events if isinstance(event, Token)] == [
        tuple(mapped[token]) for token in ends
    ]


# Text


@hypothesis.settings(max_examples=60)
@hypothesis.given(data=strategies.data())
def test_pieces_make_the_text_of_the_whole(folders, data):
    kind = data.draw(strategies.sampled_from(KINDS))
    mapped, tokenizer, size = PIECES.setdefault(kind, _pieces(folders[kind]))
    words = data.draw(strategies.lists(strategies.text(max_size=12), max_size=6))
    tokens = data.draw(strategies.lists(strategies.integers(0, size - 1), max_size=12))
    # Text that is there, and any tokens that happen to be text.
    for ids in (tokenizer.encode(" ".join(words), add_special_tokens=False).ids, tokens):
        whole = tokenizer.decode(ids)
        if "\ufffd" in whole:
            continue
        streamed = b"".join(mapped[token] for token in ids).decode()
        assert (
            streamed[: mapped.leading_spaces].strip(" ") + streamed[mapped.leading_spaces :]
            == whole
        )


PIECES = {}


def _pieces(path):
    tokenizer = tokenizer_of(path)
    return pieces_of(path), tokenizer, tokenizer.get_vocab_size()


@pytest.mark.parametrize("name", ["▁the", "▁", "e"])
def test_an_answer_does_not_begin_with_the_space_of_its_first_word(folders, name):
    tokenizer = tokenizer_of(folders["llama"])
    token = tokenizer.token_to_id(name)
    always = Sampling(temperature=0, repeat_penalty=1.0, logit_bias=((token, 1000.0),))
    events = run(load(folders["llama"]), ask("x", max_tokens=3, sampling=always))
    assert text(events) == tokenizer.decode([token] * 3)


def test_stop_string_over_token_borders(backend):
    whole = run(backend, ask("hello world"))
    pieces = [event.text for event in whole if isinstance(event, Token)]
    start = next(place for place in range(2, len(pieces) - 2) if all(pieces[place : place + 3]))
    stop = pieces[start][1:] + pieces[start + 1] + pieces[start + 2][:1]
    events = run(backend, ask("hello world", stop=("\0never", stop)))
    assert text(events) == text(whole)[: text(whole).index(stop)]
    assert events[-1].reason == "stop"


def test_characters_arrive_whole(folders):
    """The model is made to write an emoji, byte by byte."""
    backend = load(folders["gpt2"])
    ids = tokenizer_of(folders["gpt2"]).encode("😀ü").ids
    source = run(backend, TokenizeRequest("m", prompt="😀ü"))[0].ids
    assert list(source) == ids and len(ids) > 4
    assembler = TextAssembler()
    mapped = pieces_of(folders["gpt2"])
    shown = [assembler.push(mapped[token]) for token in ids]
    assert "".join(shown) == "😀ü" and shown[0] == ""


def test_ends_that_the_folder_names(copy):
    backend = load(copy)
    whole = run(backend, ask("the sea"))
    model = transformers.AutoModelForCausalLM.from_pretrained(copy).eval()
    tokens = generate(model, copy, "the sea", 24)
    place = next(at for at in range(3, 24) if tokens[at] not in tokens[:at])
    change(copy / "generation_config.json", eos_token_id=[499, tokens[place]])
    events = run(load(copy), ask("the sea"))
    assert (events[-1].reason, events[-1].usage["completion_tokens"]) == ("stop", place)
    assert text(whole).startswith(text(events)[:-1])
    (copy / "generation_config.json").unlink()
    change(copy / "config.json", eos_token_id=tokens[place])
    assert run(load(copy), ask("the sea"))[-1].usage["completion_tokens"] == place


# Conversations


def test_a_conversation_is_rendered_by_the_template(folder, backend):
    messages = (Message("system", "be kind"), Message("user", "hello"))
    expected = "<s>system: be kind\nuser: hello\nassistant:"
    ids = run(backend, TokenizeRequest("m", messages=messages))[0].ids
    assert list(ids) == tokenizer_of(folder).encode(expected, add_special_tokens=False).ids
    assert text(run(backend, ask(messages, persona="not used"))) == text(
        run(backend, ask(messages))
    )
    with_persona = run(backend, ask(say("hello"), persona="be kind"))
    assert with_persona[-1].usage["prompt_tokens"] == len(ids)


def test_the_template_of_a_file_of_its_own(copy):
    (copy / "chat_template.jinja").write_text("{{ eos_token }}{{ messages[0].content }}")
    ids = run(load(copy), TokenizeRequest("m", messages=say("hello")))[0].ids
    expected = tokenizer_of(copy).encode("</s>hello", add_special_tokens=False).ids
    assert list(ids) == expected and ids[0] == 2


def test_several_templates_and_none(copy):
    said = [{"name": "tools", "template": "x"}, {"name": "default", "template": "the sea"}]
    change(copy / "tokenizer_config.json", chat_template=said)
    expected = tokenizer_of(copy).encode("the sea", add_special_tokens=False).ids
    assert list(run(load(copy), TokenizeRequest("m", messages=say("a")))[0].ids) == expected
    change(copy / "tokenizer_config.json", chat_template=None)
    backend = load(copy)
    with pytest.raises(RequestError, match="has no chat template"):
        backend.start("r", ask(say("a")), lambda: False)
    assert run(backend, ask("a"))


def test_a_template_that_does_not_end(copy):
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    change(copy / "tokenizer_config.json", chat_template=loop)
    with pytest.raises(RequestError, match="ran for more than 1 s"):
        load(copy).start("r", ask(say("a")), lambda: False)


# Sampling


def test_a_seed_repeats_and_a_drawn_one_is_reported(backend):
    def write_with(seed):
        return run(backend, ask("the sea", sampling=Sampling(temperature=1.0, seed=seed)))

    first = write_with(None)
    again = write_with(first[-1].usage["seed"])
    assert text(again) == text(first)
    assert again[-1].usage["seed"] == first[-1].usage["seed"]
    assert len({text(write_with(seed)) for seed in range(4)}) == 4


def test_controls_that_are_not_there_are_refused(backend):
    for rest in (
        {"sampling": Sampling(mirostat=1)},
        {"sampling": Sampling(num_beams=4)},
        {"json_schema": {}},
        {"grammar": "root ::= x"},
    ):
        with pytest.raises(RequestError, match="torch has no such control"):
            backend.start("r", ask("a", **rest), lambda: False)
    with pytest.raises(RequestError, match="logit_bias names token 9,999"):
        backend.start("r", ask("a", sampling=Sampling(logit_bias=((9_999, 1.0),))), lambda: False)
    with pytest.raises(RequestError, match="does not make vectors"):
        backend.start("r", EmbeddingRequest("m", ("a",)), lambda: False)
    assert backend.active == 0


# Context


def test_the_longest_prompt_and_one_more(folders):
    backend = load(folders["gpt2"], context_size=32)
    fitting = "\x01" * 32
    events = run(backend, ask(fitting))
    assert (events[-1].usage["prompt_tokens"], events[-1].usage["completion_tokens"]) == (32, 1)
    assert events[-1].reason == "length"
    with pytest.raises(ContextOverflow, match="1 more than the context of 32") as caught:
        backend.start("r", ask(fitting + "\x01"), lambda: False)
    assert caught.value.data["ledger"]["prompt"] == 33
    assert "this model takes up to 256" in caught.value.hint
    messages = (
        Message("system", "\x01" * 9),
        Message("user", "\x01" * 11),
        Message("user", "\x01" * 7),
    )
    with pytest.raises(ContextOverflow) as caught:
        backend.start("r", ask(messages), lambda: False)
    parts = caught.value.data["ledger"]
    assert (parts["system"], parts["history"], parts["prompt"]) == (9, 11, 7)
    assert backend.active == 0


def test_full_context_ends_the_answer(folders):
    backend = load(folders["gpt2"], context_size=20)
    change_nothing = Sampling(temperature=0, repeat_penalty=1.0, logit_bias=((1, -math.inf),))
    usage = run(backend, ask("the sea", max_tokens=500, sampling=change_nothing))[-1].usage
    assert usage["prompt_tokens"] + usage["completion_tokens"] == 21


def test_no_larger_context_is_offered_than_the_model_has(folders):
    backend = load(folders["llama"], context_size=4096)
    assert backend.describe()["context_size"] == 256
    assert load(folders["llama"], context_size=0).describe()["context_size"] == 256


def test_empty_prompt(folders):
    for kind in KINDS:
        assert run(load(folders[kind]), ask("", max_tokens=2))[-1].usage["prompt_tokens"] == 1


# Steps


def test_usage_and_progress(folders):
    backend = load(folders["qwen2"], batch_size=16)
    events = run(backend, ask("\x01" * 50, max_tokens=4))
    readings = [(event.done, event.total) for event in events if isinstance(event, Reading)]
    assert readings == [(16, 50), (32, 50), (48, 50), (50, 50)]
    usage = events[-1].usage
    assert set(usage) >= {"prompt_tokens", "completion_tokens", "seed", "prompt_ms"}
    assert 0 < usage["prompt_ms"] <= usage["time_to_first_token_ms"]


def test_cancelled_between_slices(folders):
    backend = load(folders["qwen2"], batch_size=16)
    seen = []
    backend.start("r", ask("\x01" * 200), lambda: len(seen) >= 2)
    while backend.active:
        seen += backend.step()
    assert [type(event) for event in seen] == [Reading, Reading, Finished]
    assert seen[-1].reason == "cancelled"


def test_cancelled_while_answering_and_before(backend):
    whole = text(run(backend, ask("the sea")))
    seen = []
    backend.start("r", ask("the sea"), lambda: len(seen) >= 5)
    while backend.active:
        seen += backend.step()
    assert seen[-1].reason == "cancelled" and len(seen) == 6
    assert whole.startswith(text(seen))
    events = run(backend, ask("the sea"), stopped=lambda: True)
    assert [event.reason for event in events] == ["cancelled"]
    assert text(run(backend, ask("the sea"))) == whole


@pytest.mark.parametrize("max_concurrent", [1, 3])
def test_several_requests_each_get_their_own_answer(folders, max_concurrent):
    prompts = {str(place): prompt for place, prompt in enumerate([*PROMPTS, "\x01" * 99])}
    single = {
        name: text(run(load(folders["llama"]), ask(prompt))) for name, prompt in prompts.items()
    }
    backend = load(folders["llama"], max_concurrent=max_concurrent, batch_size=32)
    for name, prompt in prompts.items():
        backend.start(name, ask(prompt), lambda: False)
    backend.start("gone", ask("never"), lambda: True)
    answers = collect(backend)
    assert [event.reason for event in answers.pop("gone")] == ["cancelled"]
    assert {name: text(events) for name, events in answers.items()} == single


def test_answers_flow_beside_a_long_prompt(folders):
    backend = load(folders["llama"], max_concurrent=2)
    backend.start("short", ask("the sea", max_tokens=20), lambda: False)
    backend.step()
    backend.start("long", ask("\x01" * 200), lambda: False)
    kinds = [[type(event) for event in backend.step()] for _ in range(3)]
    assert kinds == [[Token, Reading]] * 3


def test_tokenize(folder, backend):
    assert run(backend, TokenizeRequest("m", prompt="the sea")) == [
        Tokenized("r", tuple(tokenizer_of(folder).encode("the sea").ids))
    ]


# Loading


def test_what_ran_where(kind, backend):
    facts = backend.describe()
    assert facts["engine_backend"] == "torch"
    assert (facts["device"], facts["architecture"], facts["quantization"]) == ("cpu", kind, "F32")
    assert facts["threads"] == 1 and facts["device_reason"]


def test_bfloat16_equals_generate(folder):
    ours = load(folder, dtype="bfloat16")
    assert ours.describe()["quantization"] == "BF16"
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    mapped = pieces_of(folder)
    expected = [mapped[token] for token in generate(model, folder, "the sea", 16)]
    events = run(ours, ask("the sea", max_tokens=16, logprobs=0))
    told = [bytes(event.logprob.bytes) for event in events if isinstance(event, Token)]
    assert told == expected[: len(told)] and len(told) > 8


def test_shards_and_a_bare_model(copy, folders):
    """In several files, and without the prefix of the model inside."""
    expected = text(run(load(folders["llama"]), ask("the sea")))
    weights = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    names = sorted(weights)
    halves = {"a.safetensors": names[:7], "b.safetensors": names[7:]}
    for name, part in halves.items():
        save_file({each: weights[each] for each in part}, copy / name)
    index = {each: name for name, part in halves.items() for each in part}
    write(copy / "model.safetensors.index.json", {"metadata": {}, "weight_map": index})
    assert text(run(load(copy), ask("the sea"))) == expected

    gpt2 = folders["gpt2"]
    bare = Path(shutil.copytree(gpt2, copy.parent / "bare"))
    weights = load_file(gpt2 / "model.safetensors")
    plain = {name.removeprefix("transformer."): each for name, each in weights.items()}
    plain |= {"h.0.attn.bias": torch.ones(1, 1, 4, 4), "h.0.attn.masked_bias": torch.tensor(-1e4)}
    save_file(plain, bare / "model.safetensors")
    assert text(run(load(bare), ask("the sea"))) == text(run(load(gpt2), ask("the sea")))


def test_experts_are_laid_out_as_the_library_wants_them(folders, tmp_path):
    """Files hold each expert alone; the model holds all in one tensor."""
    torch.manual_seed(0)
    config = transformers.Qwen2MoeConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        vocab_size=500,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_experts=4,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
        num_experts_per_tok=2,
        max_position_embeddings=64,
        eos_token_id=2,
    )
    model = transformers.Qwen2MoeForCausalLM(config).eval()
    model.save_pretrained(tmp_path)
    names = load_file(tmp_path / "model.safetensors")
    assert "model.layers.0.mlp.experts.3.up_proj.weight" in names
    shutil.copy(folders["llama"] / "tokenizer.json", tmp_path)
    expected = generate(model, tmp_path, "the sea", 12)
    events = run(load(tmp_path), ask("the sea", max_tokens=12, logprobs=0))
    mapped = pieces_of(tmp_path)
    told = [bytes(event.logprob.bytes) for event in events if isinstance(event, Token)]
    assert told == [mapped[token] for token in expected if token != 2]


@pytest.mark.parametrize("tied", [True, False])
def test_tied_and_untied_heads(tmp_path, tied):
    path = write_tiny("llama", tmp_path / "m", tie_word_embeddings=tied)
    assert ("lm_head.weight" in load_file(path / "model.safetensors")) is not tied
    model = transformers.AutoModelForCausalLM.from_pretrained(path).eval()
    expected = tokenizer_of(path).decode(generate(model, path, "the sea", 20))
    if "\ufffd" not in expected:
        assert text(run(load(path), ask("the sea", max_tokens=20))) == expected
    if not tied:
        weights = load_file(path / "model.safetensors")
        del weights["lm_head.weight"]
        save_file(weights, path / "model.safetensors")
        with pytest.raises(BadModelFile, match=r"lack lm_head\.weight"):
            load(path)


def test_damaged_weights_are_an_error_of_the_request(copy):
    weights = load_file(copy / "model.safetensors")
    weights["model.norm.weight"].fill_(float("nan"))
    save_file(weights, copy / "model.safetensors")
    backend = load(copy)
    events = run(backend, ask("a"))
    assert isinstance(events[-1], Failed)
    assert "largest logit is nan" in events[-1].error.message
    assert backend.active == 0


def test_a_decoder_that_is_not_known(copy):
    said = json.loads((copy / "tokenizer.json").read_text())
    write(
        copy / "tokenizer.json",
        said
        | {
            "decoder": {
                "type": "CTC",
                "pad_token": "<pad>",
                "word_delimiter_token": "|",
                "cleanup": True,
            }
        },
    )
    with pytest.raises(BadModelFile, match="makes text by 'CTC'"):
        load(copy)
