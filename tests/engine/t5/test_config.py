import json

import pytest

from llmspell_jupyter.engine.backends._t5.config import read_config
from llmspell_jupyter.engine.backends._t5.tensors import check_tensors
from llmspell_jupyter.errors import BadModelFile
from llmspell_jupyter.models.folder import inspect_folder
from tests.support.random_t5 import write_random_t5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_random_t5(tmp_path_factory.mktemp("t5") / "a-t5", feed_forward="gated-gelu")


def changed(folder, tmp_path, **values):
    """The same model with other values in its configuration; None takes one out."""
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text()) | values
    config = {key: value for key, value in config.items() if value is not None}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return inspect_folder(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("vocab_size", 0),
        ("d_model", 2.5),
        ("d_kv", True),
        ("num_heads", -4),
        ("num_layers", 2**40),
        ("relative_attention_num_buckets", 1),
        ("relative_attention_max_distance", 8),
        ("layer_norm_epsilon", 2),
        ("feed_forward_proj", "tanh-gelu"),
        ("pad_token_id", 384),
        ("eos_token_id", [1, 999]),
        ("decoder_start_token_id", -1),
    ],
)
def test_values_that_make_no_sense_are_named(folder, tmp_path, key, value):
    with pytest.raises(BadModelFile, match=key):
        read_config(changed(folder, tmp_path, **{key: value}))


def test_a_missing_size_is_named_and_the_rest_is_as_in_the_first_t5(folder, tmp_path):
    with pytest.raises(BadModelFile, match="vocab_size is None"):
        read_config(changed(folder, tmp_path, vocab_size=None))
    config = read_config(
        changed(folder, tmp_path, num_decoder_layers=None, feed_forward_proj=None, d_ff=None)
    )
    assert config.decoder_layers == config.encoder_layers == 3
    assert (config.activation, config.gated, config.d_ff) == ("relu", False, 2048)


def test_the_generation_file_decides_how_an_answer_begins(folder, tmp_path):
    model = changed(folder, tmp_path, decoder_start_token_id=None, eos_token_id=[1, 7])
    assert read_config(model).start == 0
    assert read_config(model).ends == (1, 7)
    (tmp_path / "generation_config.json").write_text('{"decoder_start_token_id": 5}')
    assert read_config(model).start == 5


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        ({"num_layers": 4}, r"lacks encoder\.block\.3\.layer\.0.* and 4 more"),
        ({"num_decoder_layers": 1}, r"holds decoder\.block\.1.* which such a model does not have"),
        ({"d_ff": 80}, r"DenseReluDense\.wi_0\.weight has the shape \(96, 64\).* it is \(80, 64\)"),
        ({"feed_forward_proj": "relu"}, r"lacks decoder\.block\.0\.layer\.2\.DenseReluDense\.wi\."),
        ({"vocab_size": 380}, r"shared\.weight has the shape \(384, 64\)"),
        ({"model_type": "umt5"}, r"lacks decoder\.block\.1.*relative_attention_bias"),
    ],
)
def test_weights_of_another_model_are_named(folder, tmp_path, values, cause):
    model = changed(folder, tmp_path, **values)
    with pytest.raises(BadModelFile, match=cause):
        check_tensors(model, read_config(model))


def test_the_weights_of_the_model_itself(folder):
    model = inspect_folder(folder)
    check_tensors(model, read_config(model))
