"""Answers: requests that share one context of llama.cpp."""

from __future__ import annotations

import contextlib
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import Any

from llmspell_jupyter.engine.backend import Event, Failed, Finished, Reading, Token
from llmspell_jupyter.engine.backends._llama.batch import Batch
from llmspell_jupyter.engine.backends._llama.context import new_context, shared_size
from llmspell_jupyter.engine.backends._llama.crew import Crew
from llmspell_jupyter.engine.backends._llama.gbnf import check as check_grammar
from llmspell_jupyter.engine.backends._llama.json_schema import to_gbnf
from llmspell_jupyter.engine.backends._llama.logprobs import Logprobs
from llmspell_jupyter.engine.backends._llama.memory import Memory, common
from llmspell_jupyter.engine.backends._llama.model import (
    LoadedModel,
    chat_template,
    not_a_language_model,
)
from llmspell_jupyter.engine.backends._llama.pace import Pace
from llmspell_jupyter.engine.backends._llama.sampling import Sampler
from llmspell_jupyter.engine.limits import conversation, ledger, overflow
from llmspell_jupyter.engine.sequence import DecodeCalls, Sequence, Share
from llmspell_jupyter.engine.text import TextAssembler
from llmspell_jupyter.errors import EngineError, LLMSpellError, RequestError
from llmspell_jupyter.types import FinishReason, GenerationRequest, Message, Sampling

# What llama_decode answers when the abort callback said so.
_ABORTED = 2

# Sequences that are kept beside those that are written, for others to go on from.
_KEPT = 16

# A request waits for one that is being read if that saves it so many tokens at least.
_WORTH_WAITING = 32


class Generator:
    """Writes answers with a loaded model.

    All requests share one context. A step decodes one batch: a token for each request that is
    being answered and a slice of one prompt, that of which least is left to read. Requests beyond
    the number that is written at a time, or beyond the room left in the context, wait inside.

    What a request leaves in the context stays there while there is room, so that the next one
    that begins alike reads only the rest.

    llama.cpp's results depend a little on what else is in the batch: where the two likeliest
    tokens are almost equally likely, a greedy answer can go on with either.
    """

    def __init__(self, model: LoadedModel):
        self._lib = lib = model.lib
        self._model = model
        self._vocabulary = model.vocabulary
        self._context_size = model.context_size
        self._most_sequences = model.options.max_concurrent
        self._batch = Batch(
            lib, max(self._most_sequences, min(model.options.batch_size, self._context_size))
        )
        # A recurrent model's memory cannot be cut back, not even by one token.
        self._goes_back = not lib.llama_model_is_recurrent(model.handle) and not (
            lib.llama_model_is_hybrid(model.handle)
        )
        # With a sliding window the beginning of a text is gone once it is long.
        keeps = self._goes_back and lib.llama_model_n_swa(model.handle) == 0
        ids = self._most_sequences
        if keeps:
            most = min(lib.llama_max_parallel_sequences(), self._batch.capacity)
            ids = max(ids, min(ids + _KEPT, most))
        self.shared_size = shared_size(model)
        self._context = new_context(
            model,
            # llama.cpp ends the process over more sequences than a batch has tokens, and a batch
            # has no more than the context.
            n_ctx=max(self.shared_size, self._batch.capacity),
            n_batch=self._batch.capacity,
            n_ubatch=self._batch.capacity,
            n_seq_max=ids,
            n_threads=model.threads,
            n_threads_batch=model.threads_batch,
        )
        self.flash_attention = model.log.said("Flash Attention", "enabled")
        memory = lib.llama_get_memory(self._context)
        if memory is None:
            lib.llama_batch_free(self._batch.handle)
            lib.llama_free(self._context)
            raise not_a_language_model(model.info, "it has no memory for a text to go on")
        self._memory = Memory(lib, memory, cells=self.shared_size, ids=ids, keeps=keeps)
        self._template = chat_template(lib, model.handle, self._vocabulary)
        self._logprobs = Logprobs(self._lib, self._vocabulary)
        self._abort = lib.ggml_abort_callback(self._reader_stopped)
        self._no_abort = lib.ggml_abort_callback()
        self._reader: Sequence | None = None
        self._readers = Crew(model.threads, model.threads_batch)
        self._writers = Crew(model.threads, model.threads_batch)
        self._pace = Pace(self._batch.capacity)
        self.calls = DecodeCalls()
        self._waiting: deque[Sequence] = deque()
        self._sequences: dict[int, Sequence] = {}

    def start(
        self,
        request_id: str,
        request: GenerationRequest,
        sampling: Sampling,
        stopped: Callable[[], bool],
    ) -> None:
        """Admit a checked request; it is tokenized here and read in the steps that follow.

        Args:
            request_id: Names the request in events.
            request: What to write.
            sampling: Its controls, settled.
            stopped: True once it is cancelled.

        Raises:
            RequestError: The grammar or schema cannot be followed, or there is no chat template.
            ContextOverflow: The prompt does not fit.
        """
        started = perf_counter()
        messages = conversation(request)
        prompt = self.tokens(messages, request.prompt)
        if len(prompt) > self._context_size:
            parts = ledger(messages, len(prompt), lambda text: len(self._vocabulary.tokenize(text)))
            raise overflow(len(prompt), self._context_size, self._model.trained_context, parts)
        # The last token of an answer is never decoded, so it needs no place in the context.
        most = min(request.max_tokens, self._context_size - len(prompt) + 1)
        seed = secrets.randbelow(2**32 - 1) if sampling.seed is None else sampling.seed
        sampler = Sampler(
            self._lib, self._vocabulary, sampling, seed, self._context_size, _grammar(request)
        )
        self._waiting.append(
            Sequence(
                request_id,
                stopped,
                prompt,
                most,
                seed,
                sampler,
                TextAssembler(request.stop),
                started,
                logprobs=request.logprobs,
            )
        )

    def tokens(self, messages: Iterable[Message] | None, prompt: str | None) -> list[int]:
        """Tokens of a plain prompt, or of messages in the form of the model's chat template.

        Raises:
            RequestError: The model has no chat template, or it fails.
        """
        if prompt is not None:
            return self._vocabulary.prompt(prompt)
        if self._template is None:
            raise RequestError(
                f"{self._model.info.id} has no chat template, so it cannot take messages.",
                hint="Give it a plain prompt; it is a model that continues text.",
                data={"field": "messages"},
            )
        tokens = self._vocabulary.tokenize(self._template.render(tuple(messages or ())))
        if not tokens:
            raise RequestError("The model's chat template made an empty prompt.")
        return tokens

    @property
    def active(self) -> int:
        """Number of requests admitted and not finished."""
        return len(self._waiting) + len(self._sequences)

    def step(self) -> list[Event]:
        """Decode one batch, and sample from it."""
        events: list[Event] = [*self._end_stopped()]
        self._seat_next()
        shares = self._fill_batch()
        return events + self._decode(shares) if shares else events

    def close(self) -> None:
        """Give back native memory; requests that are still active end without an event."""
        for sequence in (*self._waiting, *self._sequences.values()):
            sequence.sampler.free()
        self._waiting.clear()
        self._sequences.clear()
        self._lib.llama_batch_free(self._batch.handle)
        self._lib.llama_free(self._context)

    def _end_stopped(self) -> list[Event]:
        stopped = [each for each in (*self._waiting, *self._sequences.values()) if each.stopped()]
        return [self._finish(each, "cancelled") for each in stopped]

    def _seat_next(self) -> None:
        """Give a sequence to the requests that have room and find what they share with others."""
        while self._waiting and len(self._sequences) < self._most_sequences:
            sequence = self._waiting[0]
            if any(_is_being_read(sequence, other) for other in self._sequences.values()):
                return
            seat = self._memory.begin(sequence.prompt, sequence.reserved)
            if seat is None:
                return
            self._waiting.popleft()
            sequence.id, sequence.cached = seat
            sequence.position = sequence.cached
            self._sequences[sequence.id] = sequence

    def _fill_batch(self) -> list[Share]:
        batch = self._batch
        batch.clear()
        shares = []
        for sequence in self._sequences.values():
            if sequence.answering:
                row = batch.add(sequence.last, sequence.position, sequence.id, output=True)
                shares.append(Share(sequence, 1, row))
        reading = [each for each in self._sequences.values() if not each.answering]
        self._reader = min(reading, key=lambda each: each.unread, default=None)
        if self._reader is not None:
            room = batch.capacity - batch.size
            most = min(room, self._pace.slice(beside=bool(shares)))
            shares.append(self._add_slice(self._reader, most))
        return shares

    def _add_slice(self, reader: Sequence, most: int) -> Share:
        begin = reader.position
        end = min(begin + most, len(reader.prompt))
        row = -1
        for position in range(begin, end):
            last = position == len(reader.prompt) - 1
            row = self._batch.add(reader.prompt[position], position, reader.id, output=last)
        return Share(reader, end - begin, row)

    def _decode(self, shares: list[Share]) -> list[Event]:
        crew = self._crew(len(shares))
        threads = crew.threads if crew else self._model.threads
        # A batch of several answers counts as a prompt for llama.cpp, so both are set.
        self._lib.llama_set_n_threads(self._context, threads, threads)
        began = perf_counter()
        with self._abortable(beside=len(shares) > 1):
            code = self._lib.llama_decode(self._context, self._batch.handle)
        seconds = perf_counter() - began
        if self._reader is not None:
            self._reader.prompt_seconds += seconds
        if code == _ABORTED:
            return self._undo(shares)
        if code:
            return [self._fail(each.sequence, f"llama_decode returned {code}") for each in shares]
        self.calls.note(len(shares))
        if crew is not None:
            crew.note(self._batch.size, seconds)
        if self._reader is not None:
            self._pace.note(self._batch.size, seconds)
        for sequence in (share.sequence for share in shares):
            sequence.batched_steps += len(shares) > 1
        return [event for share in shares for event in self._advance(share)]

    def _crew(self, requests: int) -> Crew | None:
        """Who computes the batch; None for a single answer, which always leaves a core free."""
        if self._reader is not None:
            return self._readers
        return self._writers if requests > 1 else None

    @contextlib.contextmanager
    def _abortable(self, *, beside: bool) -> Iterator[None]:
        """The abort callback while a prompt is read; it would slow down answering."""
        # An abort takes back a step of the answers beside, too.
        if self._reader is None or (beside and not self._goes_back):
            yield
            return
        self._lib.llama_set_abort_callback(self._context, self._abort, None)
        try:
            yield
        finally:
            self._lib.llama_set_abort_callback(self._context, self._no_abort, None)

    def _reader_stopped(self, _: Any) -> bool:
        return self._reader is not None and self._reader.stopped()

    def _undo(self, shares: list[Share]) -> list[Event]:
        """Take the aborted batch back: parts of it may have reached the memory."""
        events = self._end_stopped()
        for sequence in (share.sequence for share in shares):
            if sequence.id in self._sequences and not self._memory.undo(sequence.id):
                events.append(self._fail(sequence, "a request beside it was cancelled"))
        return events

    def _advance(self, share: Share) -> list[Event]:
        sequence = share.sequence
        events: list[Event] = []
        if not sequence.answering:
            done, total = sequence.position + share.count, len(sequence.prompt)
            events.append(Reading(sequence.request_id, done, total, sequence.cached))
        begin = sequence.position
        sequence.position += share.count
        self._memory.add(
            sequence.id,
            [sequence.last] if sequence.answering else sequence.prompt[begin : sequence.position],
        )
        if sequence.position < len(sequence.prompt):
            return events
        # Once is enough: damaged weights are as damaged for every token.
        if not sequence.answering and not self._logprobs.are_numbers(self._context, share.row):
            return [*events, self._give_up(sequence, _damaged())]
        try:
            token = sequence.sampler.sample(self._context, share.row)
        except LLMSpellError as error:
            return [*events, self._give_up(sequence, error)]
        sequence.sampled()
        if self._lib.llama_vocab_is_eog(self._vocabulary.handle, token):
            return [*events, self._finish(sequence, "stop")]
        sequence.last = token
        sequence.tokens += 1
        text = sequence.text.push(self._vocabulary.piece(token))
        logprob = None
        if sequence.logprobs is not None:
            logprob = self._logprobs.of(self._context, share.row, token, sequence.logprobs)
        events.append(Token(sequence.request_id, text, sequence.tokens, logprob))
        if sequence.text.stopped:
            events.append(self._finish(sequence, "stop"))
        elif sequence.tokens == sequence.max_tokens:
            events.append(self._finish(sequence, "length"))
        return events

    def _finish(self, sequence: Sequence, reason: FinishReason) -> Finished:
        self._release(sequence)
        usage = sequence.usage() | {"batched_steps": sequence.batched_steps}
        return Finished(sequence.request_id, reason, sequence.text.finish(), usage)

    def _fail(self, sequence: Sequence, cause: str) -> Failed:
        error = EngineError(f"llama.cpp could not go on: {cause}.", hint="Run the cell again.")
        return self._give_up(sequence, error)

    def _give_up(self, sequence: Sequence, error: LLMSpellError) -> Failed:
        self._release(sequence, keep=False)
        return Failed(sequence.request_id, error)

    def _release(self, sequence: Sequence, *, keep: bool = True) -> None:
        sequence.sampler.free()
        if sequence.id < 0:
            self._waiting.remove(sequence)
            return
        del self._sequences[sequence.id]
        self._memory.end(sequence.id, keep=keep)


def _is_being_read(waiting: Sequence, other: Sequence) -> bool:
    """Whether another request is reading a beginning that this one shares."""
    if other.answering:
        return False
    shared = common(waiting.prompt, other.prompt, len(waiting.prompt) - 1)
    return shared - other.position >= _WORTH_WAITING


def _grammar(request: GenerationRequest) -> str | None:
    if request.json_schema is not None:
        return to_gbnf(request.json_schema)
    if request.grammar is not None:
        check_grammar(request.grammar)
    return request.grammar


def _damaged() -> EngineError:
    return EngineError(
        "The model computes what are no numbers (NaN); its weights are damaged.",
        hint="Fetch or copy the file again; %model_list shows the models on this machine.",
    )
