"""Text to tokens and back by a ``tokenizer.json``; nothing is cut or filled up."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from llmspell_jupyter.engine.backends._torch.pretrained import library
from llmspell_jupyter.errors import BadModelFile
from llmspell_jupyter.models.folder import ModelFolder
from llmspell_jupyter.models.problems import bad_file

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Tokenizer:
    """A model's tokenizer.

    Args:
        native: A ``tokenizers.Tokenizer``.

    Raises:
        BadModelFile: Its decoder is of a kind that is not known here.
    """

    def __init__(self, native: Any):
        # A file can ask for texts to be cut to a length, or to be filled up to it.
        native.no_truncation()
        native.no_padding()
        self._native = native
        self._special = {
            token for token, added in native.get_added_tokens_decoder().items() if added.special
        }

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """Tokens of a text; special tokens that it spells count as such.

        Args:
            text: The text.
            special: Add the tokens that the model wants around a text.
        """
        ids: list[int] = self._native.encode(text, add_special_tokens=special).ids
        return ids

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of each text, with those that the model wants around it."""
        encoded = self._native.encode_batch_fast(list(texts))
        return [each.ids for each in encoded]

    def id(self, token: str) -> int | None:
        """The id of a token; None when there is none of this name."""
        number: int | None = self._native.token_to_id(token)
        return number

    def name(self, token: int) -> str:
        """The name of a token; empty when there is none of this id."""
        return self._native.id_to_token(token) or ""

    def is_special(self, token: int) -> bool:
        """Whether it stands for no text, such as the end of a text."""
        return token in self._special

    @property
    def decoder(self) -> dict[str, Any] | None:
        """How the file says that names of tokens become text."""
        if self._native.decoder is None:
            return None
        said: dict[str, Any] = json.loads(self._native.decoder.__getstate__())
        return said


def read_tokenizer(folder: ModelFolder) -> Tokenizer:
    """The tokenizer of a folder: ``tokenizer.json``, or the WordPiece of a ``vocab.txt``.

    Raises:
        BackendMissing: The library tokenizers is not installed.
        BadModelFile: There is none, or it is damaged.
    """
    tokenizers = library("tokenizers")
    try:
        if path := folder.file("tokenizer.json"):
            return Tokenizer(tokenizers.Tokenizer.from_file(str(path)))
        if path := folder.file("vocab.txt"):
            return Tokenizer(_word_piece(tokenizers, folder, str(path)))
    except Exception as error:  # The library raises nothing more special.
        if isinstance(error, BadModelFile):
            raise
        raise bad_file(folder.path, f"its tokenizer cannot be read: {error}") from None
    raise bad_file(folder.path, "it has no tokenizer.json")


def _word_piece(tokenizers: Any, folder: ModelFolder, path: str) -> Any:
    said = folder.json("tokenizer_config.json") or {}
    word_piece = library("tokenizers.implementations").BertWordPieceTokenizer(
        path,
        lowercase=bool(said.get("do_lower_case", True)),
        strip_accents=said.get("strip_accents"),
        handle_chinese_chars=bool(said.get("tokenize_chinese_chars", True)),
    )
    return tokenizers.Tokenizer.from_str(word_piece.to_str())


class Pieces:
    """The bytes of tokens, so that those of an answer put one after the other are its text.

    Args:
        tokenizer: A tokenizer of bytes (GPT-2, LLaMA 3, Qwen) or of pieces in which ``▁`` stands
            for a space (LLaMA 2, Gemma, Mistral).
        folder: For errors.

    Raises:
        BadModelFile: It is of another kind.
    """

    def __init__(self, tokenizer: Tokenizer, folder: ModelFolder):
        self._tokenizer = tokenizer
        self._bytes: dict[str, int] | None = None
        self._replaced: list[tuple[str, str]] = []
        self._fallback = False
        #: Spaces that are left out at the beginning of an answer.
        self.leading_spaces = 0
        decoder = tokenizer.decoder or {"type": None}
        steps = decoder["decoders"] if decoder["type"] == "Sequence" else [decoder]
        for step in steps:
            if not self._take(step):
                raise bad_file(
                    folder.path,
                    f"its tokenizer makes text by {str(step.get('type'))[:40]!r}, which is not "
                    "known here",
                )

    def __getitem__(self, token: int) -> bytes:
        """The bytes of a token; those of special tokens are empty."""
        name = self._tokenizer.name(token)
        if self._tokenizer.is_special(token) or not name:
            return b""
        if self._bytes is not None:
            try:
                return bytes(self._bytes[letter] for letter in name)
            except KeyError:
                return name.encode()  # A token that was added as text.
        if self._fallback and (match := _BYTE.fullmatch(name)):
            return bytes.fromhex(match[1])
        for old, new in self._replaced:
            name = name.replace(old, new)
        return name.encode()

    def _take(self, step: dict[str, Any]) -> bool:
        kind = step.get("type")
        if kind == "ByteLevel":
            self._bytes = _byte_letters()
        elif kind == "ByteFallback":
            self._fallback = True
        elif kind == "Replace" and isinstance(step["pattern"].get("String"), str):
            self._replaced.append((step["pattern"]["String"], step["content"]))
        elif kind == "Metaspace":
            self._replaced.append((step["replacement"], " "))
            self.leading_spaces = int(step.get("prepend_scheme") != "never")
        elif kind == "Strip" and step["content"] == " " and not step["stop"]:
            self.leading_spaces = step["start"]
        else:
            return kind == "Fuse"
        return True


def _byte_letters() -> dict[str, int]:
    """The letters by which byte-level tokenizers write the 256 bytes.

    Printable characters of Latin-1 stand for themselves, the others in order from U+0100 on.
    """
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in plain]
    letters = {chr(byte): byte for byte in plain}
    return letters | {chr(0x100 + place): byte for place, byte in enumerate(others)}
