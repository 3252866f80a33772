"""What a sensible LLM answers to autolabel's prompts; a function of the request body alone, so that runs can be compared."""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

Answer = str | int | list[int]
"""A text, the one judgement that was asked for, or a judgement for each of several texts."""
Answerer = Callable[[Mapping[str, Any]], Answer]

_CALIBRATION = Path(__file__).parents[2] / "data" / "calibration.v1.jsonl"
_MARKED = re.compile(r"<<(.*?)>>")
_MARK = re.compile(r"<<|>>")
_LABEL = re.compile(r"^Label:(.*)$", re.MULTILINE)
_NUMBERED = re.compile(r"^\d+\. (.*)$", re.MULTILINE)
_SINGLE = re.compile(r"^Text: ?(.*)$", re.MULTILINE)
_QUOTED = re.compile(r'"([^"]+)"')
_WORD = re.compile(r"\w+")
_ARRAY = re.compile(r"\[[01](?:, ?[01])*\]")
_ESCAPED = re.compile(r"\\([\\<>])")


def answer(body: Mapping[str, Any]) -> Answer:
    """A label made of the commonest marked word, or whether the label's quoted word is in each text; else the array the prompt shows, or 1."""
    asked = [message["content"] for message in body["messages"] if message["role"] == "user"]
    prompt = asked[-1] if asked else ""
    if prompt.startswith("Fires:"):
        return _named(prompt)
    label = _LABEL.findall(prompt)
    if prompt.startswith("Texts:") and label:
        return [_fits(label[-1].strip(), line) for line in _NUMBERED.findall(prompt)]
    if prompt.startswith("Text:") and label:
        return _fits(label[-1].strip(), _SINGLE.findall(prompt)[0])
    shown = _ARRAY.findall(prompt)
    return list(json.loads(shown[-1])) if shown else 1


def _named(prompt: str) -> str:
    words = Counter(_WORD.findall(" ".join(_MARKED.findall(prompt))))
    return f'the word "{min(words, key=lambda word: (-words[word], word)) if words else "nothing"}"'


def _fits(label: str, line: str) -> int:
    known = _solved().get(label)
    if known is not None:
        text = _ESCAPED.sub(r"\1", _MARK.sub("", line))
        if text in known:
            return known[text]
    shown = " ".join(_MARKED.findall(line)) if "<<" in line else line
    named = [word for word in _QUOTED.findall(label) if word in shown]
    return int(bool(named) and not set(named).isdisjoint(_WORD.findall(shown)))


@cache
def _solved() -> dict[str, dict[str, int]]:
    """Label → text → answer: the shipped solved examples, so that a judge who answers from here is admitted."""
    found: dict[str, dict[str, int]] = {}
    for item in map(json.loads, _CALIBRATION.read_text(encoding="utf-8").splitlines()):
        found.setdefault(item["label"], {})[item["text"]] = int(item["answer"])
    return found
