"""A whole world for runs: a random model, an SAE of random directions, a text, and an LLM server inside the process.

Run as a program it makes one run whose server dies at a given request, for tests of what a killed run leaves behind.
"""

import asyncio
import json
import os
import random
import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import torch

from autolabel.calibration import load_calibration_items
from autolabel.config import LlmSettings, Settings, SubjectSettings, validated
from autolabel.evidence.sae import SparseCoder, native
from autolabel.evidence.subject import Subject
from autolabel.llm.capabilities import Capabilities
from autolabel.llm.connecting import connect
from autolabel.llm.endpoint import OpenAIChat
from autolabel.pipeline import running
from autolabel.pipeline.endpoints import budget_of
from autolabel.pipeline.models import Models
from autolabel.pipeline.running import Outcome, run_stages
from autolabel.rendering import marked_line, plain_line
from autolabel.store.run_store import RunStore
from tests.fakes import FakeEmbedder, tiny_model_and_tokenizer

WORDS = (
    *("the", "dog", "ran", "over", "hill", "and", "cat", "sat", "on", "mat", "boat", "rain", "harbour"),
    *("label", "says", "what", "text", "mentions", "she", "asked", "where", "is"),
)
D_SAE = 48
FIRING_SHARE = 0.93
"""Tiles in which a feature stays silent: few enough fire that most pairs of features seldom fire together."""
ALL = ("collect", "label", "score")
AFTER = ("label", "score")
"""What is run on a database that holds the evidence already."""


def texts(n: int = 300) -> list[str]:
    generator = random.Random(0)
    return [" ".join(generator.choices(WORDS, k=generator.randint(80, 170))) + f" {i}" for i in range(n)]


def build(folder: Path, d_sae: int = D_SAE) -> None:
    """Write `tiny-model`, `sae` of so many features and `texts.jsonl` into a folder."""
    subject = Subject.load(subject_settings(tiny_model_and_tokenizer(folder)))
    (folder / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts()))
    pieces = [subject.encode(text)[0][:96].tolist() for text in texts(80)]
    x = torch.cat([subject.activations(torch.tensor([piece]), "layers.1")[0] for piece in pieces])
    centre = x.median(dim=0).values
    directions = torch.nn.functional.normalize(torch.randn(d_sae, x.shape[1], generator=torch.Generator().manual_seed(0)), dim=1)
    largest = torch.stack([part.max(dim=0).values for part in ((x - centre) @ directions.T).split(32)])
    coder = SparseCoder(
        W_enc=directions.T.clone(),
        b_enc=-largest.quantile(FIRING_SHARE, dim=0),
        W_dec=directions,
        b_dec=centre,
        architecture="relu",
        k=None,
        hookpoint="layers.1",
        name="directions",
        format=native.FORMAT,
        subject_model="tiny",
    )
    native.save(folder / "sae", coder)


def subject_settings(model: Path) -> SubjectSettings:
    return SubjectSettings(model=str(model), dtype="float32", device="cpu", context_tokens=96, batch_contexts=4)


def content(folder: Path, db: Path, features: str = "0-4", **changes: Any) -> dict[str, Any]:
    """Settings as a file holds them; `changes` replace whole tables."""
    return {
        "db": str(db),
        "subject": subject_settings(folder / "tiny-model").model_dump(),
        "sae": {"path": str(folder / "sae")},
        "corpus": {"sources": [{"path": str(folder / "texts.jsonl")}], "document_tokens": 200},
        "evidence": {
            "background_train": 150,
            "background_validation": 150,
            "background_test": 200,
            "exam_validation": 12,
        },
        "llm": {"base_url": "http://llm.test/v1", "model": "fake", "max_concurrency": 1, "tiles_per_prompt": 30, "patience_s": 0.5},
        "score": {"nulls": 2},
        "select": {"features": features},
    } | changes


def settings(folder: Path, db: Path, **changes: Any) -> Settings:
    return validated(content(folder, db, **changes), Settings, "test")


class Quiet:
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.stages: list[tuple[str, int]] = []

    def stage(self, name: str, total: int) -> None:
        self.stages.append((name, total))

    def advance(self, done: int) -> None: ...

    def say(self, text: str) -> None:
        self.said.append(text)


def solved() -> dict[tuple[str, str], bool]:
    """The shipped solved examples, as judges are shown them."""
    items = [(case.label, e) for case in load_calibration_items() for e in case.examples]
    shown = {(label, plain_line(e)): e.fires for label, e in items}
    return shown | {(label, marked_line(e, e.mark_positions)): e.fires for label, e in items}


_SOLVED = solved()


def answer(prompt: str) -> str:
    """What a sensible LLM says: a marked word as label, and whether the label's word is in a text."""
    (asked,) = re.findall(r"^Label:(.*)$", prompt, re.MULTILINE)[-1:]
    if prompt.startswith("Fires:"):
        words = Counter(re.findall(r"\w+", " ".join(re.findall(r"<<(.*?)>>", prompt))))
        return f'the word "{min(words, key=lambda word: (-words[word], word)) if words else "nothing"}"'
    lines = re.findall(r"^\d+\. (.*)$", prompt, re.MULTILINE)
    return json.dumps([int(judged(asked.strip(), line)) for line in lines])


def judges_evidence(prompt: str) -> bool:
    """Whether a judge is asked about tiles of the corpus, not about the shipped solved examples."""
    (asked,) = re.findall(r"^Label:(.*)$", prompt, re.MULTILINE)[-1:]
    return not any((asked.strip(), line) in _SOLVED for line in re.findall(r"^\d+\. (.*)$", prompt, re.MULTILINE))


def judged(label: str, line: str) -> bool:
    known = _SOLVED.get((label, line))
    shown = " ".join(re.findall(r"<<(.*?)>>", line)) if "<<" in line else line
    return bool(set(re.findall(r'"([^"]+)"', label)) & set(re.findall(r"\w+", shown))) if known is None else known


@dataclass
class Server:
    """Answers chat completions without token probabilities and keeps the bodies of the requests it answered."""

    answer: Callable[[str], str | httpx2.Response | Exception] = answer
    die_at: int | None = None
    die: Callable[[], Exception] = field(default=lambda: httpx2.ConnectError("the server died"))
    answered: list[str] = field(default_factory=list)
    log: Path | None = None

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/models"):
            return httpx2.Response(200, json={"data": []})
        if self.die_at is not None and len(self.answered) >= self.die_at:
            raise self.die()
        found = self.answer(json.loads(request.content)["messages"][-1]["content"])
        if isinstance(found, Exception):
            raise found
        body = request.content.decode()
        self.answered.append(body)
        if self.log is not None:
            with self.log.open("a") as out:
                out.write(body + "\n")
        return found if isinstance(found, httpx2.Response) else completion(found)

    @property
    def explains(self) -> list[str]:
        return [body for body in self.answered if json.loads(body)["messages"][-1]["content"].startswith("Fires:")]


def completion(text: str, finish: str = "stop") -> httpx2.Response:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "finish_reason": finish, "message": message}
    return httpx2.Response(200, json={"id": "c", "object": "chat.completion", "created": 0, "model": "served", "choices": [choice]})


def load_models(server: Callable[[httpx2.Request], httpx2.Response]) -> Callable[[Settings, RunStore], Models]:
    """Models over `server`, whose abilities are known, so that none are probed; their backoff takes no time."""

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(0)

    def load(settings: Settings, store: RunStore) -> Models:
        budget = budget_of(settings, store)

        def connected(llm: LlmSettings | None) -> OpenAIChat | None:
            client = httpx2.AsyncClient(transport=httpx2.MockTransport(server))
            can = Capabilities()
            return llm and connect(llm, store, budget=budget, can=can, http_client=client, sleep=sleep)

        chat = connected(settings.llm)
        return Models(chat, connected(settings.judge) or chat, None, FakeEmbedder(d=512))

    return load


def run(
    settings: Settings,
    server: Server,
    stages: tuple[Any, ...] = AFTER,
    watcher: Quiet | None = None,
    retry_failed: bool = False,
) -> Outcome:
    real = running.load_models
    running.load_models = load_models(server)
    try:
        return run_stages(settings, stages, watcher or Quiet(), command="test", force=True, retry_failed=retry_failed)
    finally:
        running.load_models = real


def _exit() -> Exception:
    os._exit(9)


if __name__ == "__main__":
    folder, db, log, at = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    run(settings(folder, db), Server(die_at=at, die=_exit, log=log))
