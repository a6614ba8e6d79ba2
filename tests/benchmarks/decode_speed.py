"""``%%lua`` answers at least as fast as llama-cpp-python's own class in a bare process."""

from __future__ import annotations

import json
import subprocess
import sys

from common import MODEL, QUESTION, RUNS, SYSTEM, agent, median, private_notebook, shown, verdict

TOKENS = 128

# Same model, context, batch, threads, prompt and sampling; speed without the first token.
PLAIN = """
import json, sys, time
from llama_cpp import Llama
given = json.loads(sys.stdin.readline())
model = Llama(verbose=False, **given["load"])
print("ready", flush=True)
for line in sys.stdin:
    model.reset()
    times, text = [], ""
    for chunk in model.create_chat_completion(stream=True, **given["ask"]):
        if "content" in chunk["choices"][0]["delta"]:
            times.append(time.perf_counter())
            text += chunk["choices"][0]["delta"]["content"]
    print(json.dumps([(len(times) - 1) / (times[-1] - times[0]), len(times), text]), flush=True)
"""


def run() -> bool:
    with private_notebook() as book:

        def ours(number: int) -> tuple[float, int, str]:
            cell = agent(f"speed{number}", max_tokens=TOKENS) + (
                f'local answer = agent:execute({{text = "{QUESTION}"}})\n'
                "return {answer.metadata.tokens_per_second, answer.metadata.completion_tokens, "
                "answer.text}"
            )
            book.good(cell)
            speed, tokens, text = json.loads(eval(book.value("__import__('json').dumps(list(_))")))
            return speed, tokens, text

        ours(0)
        facts = eval(
            book.value(
                "[(w, str(m.path)) for e in [__import__('llmspell_jupyter.engine.client')"
                ".engine.client.EngineClient()] for w in e.status()['workers']"
                f" for m in e.models() if m.id == '{MODEL}']"
            )
        )
        worker, path = facts[0]
        given = {
            "load": {
                "model_path": path,
                "n_ctx": worker["context_size"],
                "n_batch": 512,
                "n_threads": worker["threads"],
                "n_threads_batch": worker["threads_batch"],
                "last_n_tokens_size": 64,
            },
            "ask": {
                "messages": [
                    {"role": "system", "content": SYSTEM},
                    {"role": "user", "content": QUESTION},
                ],
                "temperature": 0,
                "repeat_penalty": 1.1,
                "max_tokens": TOKENS,
            },
        }
        with subprocess.Popen(
            [sys.executable, "-c", PLAIN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdin is not None and process.stdout is not None

            def say(line: str) -> str:
                assert process.stdin is not None and process.stdout is not None
                process.stdin.write(line + "\n")
                process.stdin.flush()
                return process.stdout.readline()

            assert say(json.dumps(given)).strip() == "ready"
            speeds: dict[str, list[float]] = {"%%lua": [], "llama_cpp.Llama": []}
            for number in range(1, RUNS + 2):
                speed, tokens, text = ours(number)
                plain_speed, plain_tokens, plain_text = json.loads(say("go"))
                assert min(tokens, plain_tokens) >= 64, (tokens, plain_tokens)
                if number == 1:
                    print(f"  {tokens} and {plain_tokens} tokens; same text: {text == plain_text}")
                    continue
                speeds["%%lua"].append(speed)
                speeds["llama_cpp.Llama"].append(plain_speed)
            process.stdin.close()
    print(f"  threads {worker['threads']} to answer, {worker['threads_batch']} to read")
    for name, values in speeds.items():
        print(f"  {name}: {shown(values, 'tokens/s')}")
    ratios = [a / b for a, b in zip(*speeds.values(), strict=True)]
    print(f"  ratio of each pair: {shown(ratios, 'x')}")
    return verdict("%%lua runs at", median(ratios), 1.0, "x llama_cpp.Llama", least=True)
