import json
from types import SimpleNamespace

import pytest
import sentencepiece
import transformers
from hypothesis import given
from hypothesis import strategies as st

from llmspell_jupyter.engine.backends._t5.tokenizer import load_tokenizer
from llmspell_jupyter.errors import BadModelFile
from tests.support.random_t5 import SENTINELS, write_json, write_spiece, write_tokenizer

SAMPLES = [
    "",
    " ",
    "hello world",
    "The quick  brown fox, twice",
    "The <extra_id_0> fox <extra_id_1>",
    "a<extra_id_2>b",
    "<extra_id_99><extra_id_98>",
    "<extra_id_500> is none",
    "Über den Wölken",
    "😀 \u65e5\u672c",
]


class Folder(SimpleNamespace):
    """A folder of tokenizer files only."""

    def file(self, name):
        return self.path / name if (self.path / name).exists() else None

    def json(self, name):
        return json.loads((self.path / name).read_text()) if self.file(name) else None


def load(path, size=40_000, **config):
    return load_tokenizer(
        Folder(path=path, config=config), SimpleNamespace(ends=(1,), vocab_size=size)
    )


def made(path):
    """Tokens to text, one after the other and whole."""
    ours = load(path)

    def streamed(tokens):
        return b"".join(map(ours.writer(), tokens)).decode()

    return ours, streamed


@pytest.fixture(scope="module", params=["bytes", "spiece", "json"])
def both(request, tmp_path_factory):
    """Ours and that of transformers, from the same files."""
    path = tmp_path_factory.mktemp(request.param)
    if request.param == "bytes":
        write_tokenizer(path, "bytes")
        return *made(path), transformers.ByT5Tokenizer()
    if request.param == "json":
        write_json(path)
        theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(path / "tokenizer.json"))
        theirs.backend_tokenizer.no_truncation()
        theirs.backend_tokenizer.no_padding()
        return *made(path), theirs
    # transformers splits at white space itself, so the file is to leave the text as it is.
    write_spiece(path, normalization_rule_name="identity")
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(path / "spiece.model"))
    vocabulary = [
        (pieces.id_to_piece(token), pieces.get_score(token))
        for token in range(pieces.get_piece_size())
    ]
    vocabulary += [(f"<extra_id_{number}>", 0.0) for number in reversed(range(SENTINELS))]
    return *made(path), transformers.T5Tokenizer(vocab=vocabulary)


@pytest.mark.parametrize("sample", SAMPLES)
def test_tokens_and_text_equal_those_of_transformers(both, sample):
    ours, streamed, theirs = both
    tokens = ours.encode(sample)
    assert tokens == theirs(sample).input_ids
    assert streamed(tokens) == theirs.decode(tokens, skip_special_tokens=True)


@given(st.lists(st.integers(0, 250), max_size=12))
def test_a_stream_is_the_whole_text(both, tokens):
    """Any tokens: whatever a model may write, not only what a text is made of."""
    ours, _, theirs = both
    data = b"".join(map(ours.writer(), tokens))
    whole = theirs.decode(tokens, skip_special_tokens=True)
    # For broken characters transformers has other signs, or none.
    assert data.decode("utf-8", "ignore").replace("\ufffd", "") == whole.replace("\ufffd", "")


def test_pieces_have_their_spaces_and_special_tokens_their_names(both):
    ours, _, _ = both
    assert [ours.piece(token) for token in (0, 1, 2)] == [b"<pad>", b"</s>", b"<unk>"]
    tokens = ours.encode("the the fox <extra_id_7>")
    assert b"".join(map(ours.piece, tokens)).strip().replace(b" <", b"<") in (
        b"the the fox<extra_id_7></s>",
        b"the the fox <extra_id_7></s>",
    )
    # The weights have more rows than the tokenizer has tokens.
    assert ours.piece(ours.size + 5) == b""
    assert ours.writer()(ours.size + 5) == b""


def test_characters_of_several_tokens_come_whole(tmp_path):
    write_spiece(tmp_path, byte_fallback=True, vocab_size=400)
    ours, streamed = made(tmp_path)
    tokens = ours.encode("fox \u65e5")
    assert len(tokens) > 4
    assert streamed(tokens[:-1]) == "fox \u65e5"


def test_the_text_is_that_of_sentencepiece(tmp_path):
    """With the normalisation that T5's own file has."""
    write_spiece(tmp_path)
    ours, streamed = made(tmp_path)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "spiece.model"))
    for sample in ("the \ufb01ne\nfox", " two  spaces ", "the queen and the king."):
        tokens = pieces.encode(sample)
        assert ours.encode(sample) == [*tokens, 1]
        assert streamed(tokens) == pieces.decode(tokens).replace(" \u2047 ", "")


def test_nothing_is_cut_or_filled_up_because_a_file_says_so(tmp_path):
    write_json(tmp_path)
    said = json.loads((tmp_path / "tokenizer.json").read_text())
    assert said["truncation"] and said["padding"]
    ours = load(tmp_path)
    assert len(ours.encode("fox " * 50)) == 51
    assert len(ours.encode("fox")) == 2


def test_sentinels_among_the_pieces_keep_their_places(tmp_path):
    write_spiece(tmp_path, user_defined_symbols=["<extra_id_0>", "<extra_id_1>"])
    (tmp_path / "tokenizer_config.json").write_text('{"extra_ids": 2}')
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "spiece.model"))
    tokens = load(tmp_path).encode("<extra_id_1><extra_id_0>")
    assert tokens == [*map(pieces.piece_to_id, ("<extra_id_1>", "<extra_id_0>")), 1]


@pytest.mark.parametrize(
    ("name", "data", "cause"),
    [
        ("tokenizer.json", b"{", "EOF"),
        ("tokenizer.json", b'{"version": "1.0", "model": {"type": "None"}}', "has no tokenizer"),
        ("spiece.model", b"\xff" * 100, "has no tokenizer"),
        ("tokenizer_config.json", b'{"tokenizer_class": "BartTokenizer"}', "neither"),
    ],
)
def test_damaged_files_are_refused(tmp_path, name, data, cause):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadModelFile, match=cause):
        load(tmp_path)


def test_a_tokenizer_that_is_larger_than_the_model(tmp_path):
    size = write_tokenizer(tmp_path, "json")
    assert load(tmp_path, size=size).size == size
    with pytest.raises(BadModelFile, match=f"knows {size} tokens, the model {size - 1}"):
        load(tmp_path, size=size - 1)


def test_bytes_are_asked_for_by_either_file(tmp_path):
    assert load(tmp_path, tokenizer_class="ByT5Tokenizer").encode("a") == [100, 1]
    # A small vocabulary has no room for sentinels.
    few = load(tmp_path, size=261, tokenizer_class="ByT5Tokenizer")
    assert few.encode("<extra_id_1>") == [260, 1]
    assert len(few.encode("<extra_id_2>")) == 13
