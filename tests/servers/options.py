"""What the server can be told to do: one list for tests in the same process, for the command line, and for starting it from a test."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_type_hints


class About(NamedTuple):
    """What an option means, how its text is read, and what it may be."""

    text: str
    read: Callable[[str], Any] = str
    choices: tuple[str, ...] | None = None


def _pair(text: str) -> tuple[float, float]:
    first, second = map(float, text.split(","))
    return first, second


@dataclass(frozen=True)
class Options:
    """The server's options; `latency` is `--latency` on the command line, and so on."""

    port: Annotated[int, About("port on 127.0.0.1; 0 takes a free one", int)] = 0
    latency: Annotated[float, About("seconds from a request to its answer; refusals (400, 401, 404, 429) come at once", float)] = (
        0.0
    )
    seed: Annotated[int, About("seed of everything that is drawn", int)] = 0
    faults: Annotated[
        str, About("shares of faults, and refused parameters: 429=0.05,hang=0.01,sticky_500=0.01,refuse_param=logprobs+seed")
    ] = ""
    retry_after: Annotated[tuple[float, float], About("seconds that 429_retry_after asks to wait: from,to", _pair)] = (0.05, 0.2)
    log: Annotated[Path | None, About("file that gets one JSON line for each chat request when it ends", Path)] = None
    model: Annotated[str | None, About("the only model there is; any name is served when absent")] = None
    unique_labels: Annotated[bool, About("end each label with four digits of the request's hash")] = True
    reasoning: Annotated[int, About("words of thinking before each answer", int)] = 0
    hide_reasoning: Annotated[bool, About("count the thinking, but do not show it")] = False
    cached_tokens: Annotated[bool, About("say how many tokens of a prompt stand in lines with which an earlier prompt began")] = (
        False
    )
    context: Annotated[int, About("longest prompt, in tokens", int)] = 131_072
    tokenize: Annotated[bool, About("serve /tokenize")] = True
    template: Annotated[bool, About("serve /apply-template")] = False
    key: Annotated[str | None, About("the only API key that is accepted; any is when absent")] = None
    echo_key: Annotated[bool, About("repeat the API key in headers, in errors and in some replies")] = False
    rate_limit: Annotated[float | None, About("requests a second; one second's worth may come at once", float)] = None
    token_limit: Annotated[
        float | None,
        About("tokens a second, of prompts and of the longest replies they allow; one second's worth may come at once", float),
    ] = None
    headers: Annotated[bool, About("state the limits and what is left of them in x-ratelimit-* headers")] = False
    max_concurrent: Annotated[int | None, About("requests in flight; more are answered 429", int)] = None
    down_between: Annotated[tuple[float, float] | None, About("seconds after the start: unreachable from,to", _pair)] = None
    batch_seconds: Annotated[float, About("seconds from the creation of a batch to its end", float)] = 1.0
    batch_fail: Annotated[float, About("share of a batch's items that fail", float)] = 0.0
    batch_state: Annotated[str, About("how batches end", choices=("completed", "failed", "expired"))] = "completed"
    batch_store: Annotated[Path | None, About("folder in which files and batches outlive the server", Path)] = None


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Options from the command line."""
    parser = argparse.ArgumentParser(
        description="An LLM server for tests, on 127.0.0.1, whose every answer and fault can be repeated."
    )
    for name, default, about in _known():
        if isinstance(default, bool):
            parser.add_argument(_flag(name), action=argparse.BooleanOptionalAction, default=default, help=about.text)
        else:
            parser.add_argument(_flag(name), type=about.read, default=default, help=about.text, choices=about.choices)
    return Options(**vars(parser.parse_args(arguments)))


def flags(options: Options) -> list[str]:
    """The command line that `parse` reads as these options."""
    found: list[str] = []
    for name, default, _ in _known():
        value = getattr(options, name)
        if value == default:
            continue
        if isinstance(value, bool):
            found.append(_flag(name if value else f"no_{name}"))
        else:
            found.append(f"{_flag(name)}={','.join(map(str, value)) if isinstance(value, tuple) else value}")
    return found


def _known() -> Iterator[tuple[str, Any, About]]:
    hints = get_type_hints(Options, include_extras=True)
    for option in fields(Options):
        yield option.name, option.default, get_args(hints[option.name])[1]


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
