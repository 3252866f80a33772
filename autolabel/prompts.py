"""Prompt files: found, checked against their release, parsed into turns and filled.

A file `<role>.v<N>.md` holds `## system`, solved examples as alternating `## user` and `## assistant` turns, and last the `## user` turn that
is filled for each request. The invariant is that a released version never changes: `manifest.json` holds every file's hash, and an edited
file is refused, because labels and scores name their wording by that hash.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Literal, cast

from autolabel.errors import PromptError
from autolabel.hashing import text_hash
from autolabel.records import Message
from autolabel.resources import resource_dir

_FILE = re.compile(r"(?P<role>[a-z_]+)\.v(?P<version>[1-9][0-9]*)\.md")
_HEADING = re.compile(r"^## (system|user|assistant)[ \t]*$", re.MULTILINE)
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Prompt:
    """One version of one prompt."""

    role: str
    version: int
    prompt_hash: str
    body: str
    """The whole file with LF line ends; what `prompt_hash` hashes."""
    identifiers: tuple[str, ...]
    """The variables of the last turn, sorted."""
    turns: tuple[Message, ...]
    """The turns as written; the last is the template."""

    def render(self, **variables: object) -> tuple[Message, ...]:
        """The turns of one request. Values are inserted as they are: a `$` in them means nothing.

        Raises:
            PromptError: a variable is missing, or the prompt has no such variable.
        """
        missing = [name for name in self.identifiers if name not in variables]
        unknown = sorted(set(variables) - set(self.identifiers))
        if missing or unknown:
            problem = f"lacks variable '{missing[0]}'" if missing else f"has no variable '{unknown[0]}'"
            raise PromptError(f"prompt {self.role}.v{self.version} {problem}; it takes {', '.join(self.identifiers)}")
        filled = Template(self.turns[-1].content).substitute({name: str(value) for name, value in variables.items()})
        return (*self.turns[:-1], Message("user", filled))


def load(role: str, version: int | None = None, folder: Path | None = None) -> Prompt:
    """The prompt of `role`, its newest version when none is named; from the shipped prompts unless another folder is given.

    Raises:
        PromptError: there is no such prompt, it is malformed, or it was edited after its release.
    """
    folder = folder or resource_dir("prompts")
    versions = [v for r, v in list_prompts(folder) if r == role]
    if not versions or (version is not None and version not in versions):
        known = ", ".join(f"{r}.v{v}" for r, v in list_prompts(folder)) or "none"
        raise PromptError(f"there is no prompt '{role}{'' if version is None else f'.v{version}'}' in {folder} (known: {known})")
    version = max(versions) if version is None else version
    name = f"{role}.v{version}.md"
    body = _read(folder / name)
    _refuse_edited(name, body, _manifest(folder))
    return parse(role, version, body)


def list_prompts(folder: Path | None = None) -> tuple[tuple[str, int], ...]:
    """Role and version of every prompt file, sorted."""
    found = map(_FILE.fullmatch, (path.name for path in (folder or resource_dir("prompts")).glob("*.md")))
    return tuple(sorted((match["role"], int(match["version"])) for match in found if match))


def check(folder: Path | None = None) -> None:
    """Refuse a folder in which a released prompt was edited or removed, or in which a prompt file was never released.

    Raises:
        PromptError: naming the first such file.
    """
    folder = folder or resource_dir("prompts")
    manifest = _manifest(folder)
    for name in manifest:
        if not (folder / name).is_file():
            raise PromptError(f"released prompt {name} is missing from {folder}; put it back, stored labels and scores refer to it")
        _refuse_edited(name, _read(folder / name), manifest)
    for role, version in list_prompts(folder):
        if f"{role}.v{version}.md" not in manifest:
            raise PromptError(
                f"prompt {role}.v{version}.md is not in {MANIFEST}; add its sha256 and a line in CHANGELOG.md to release it"
            )


def parse(role: str, version: int, body: str) -> Prompt:
    """Read the turns of a prompt file.

    Raises:
        PromptError: the turns are not an optional system turn, then user and assistant in alternation, ending with the user.
    """
    parts = _HEADING.split(body)
    turns = tuple(
        Message(cast(Literal["system", "user", "assistant"], kind), content.strip("\n"))
        for kind, content in zip(parts[1::2], parts[2::2], strict=True)
    )
    talk = [turn.role for turn in turns if turn.role != "system"]
    orderly = talk == ["user", "assistant"] * (len(talk) // 2) + ["user"] and "system" not in [turn.role for turn in turns[1:]]
    if parts[0].strip() or not orderly:
        raise PromptError(
            f"prompt {role}.v{version} must hold `## system` (optional), then `## user` and `## assistant` in alternation, "
            f"ending with `## user`; found {', '.join(turn.role for turn in turns) or 'no turns'}"
        )
    template = Template(turns[-1].content)
    if not template.is_valid():
        raise PromptError(f"the last turn of prompt {role}.v{version} has a stray '$'; write '$$' for a dollar sign")
    return Prompt(role, version, text_hash(body), body, tuple(sorted(template.get_identifiers())), turns)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"cannot read prompt {path}: {error}") from None


def _manifest(folder: Path) -> Mapping[str, str]:
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PromptError(f"cannot read the prompts' {path}: {error}; reinstall autolabel") from None
    return cast(Mapping[str, str], manifest)


def _refuse_edited(name: str, body: str, manifest: Mapping[str, str]) -> None:
    if name in manifest and text_hash(body) != manifest[name]:
        raise PromptError(
            f"prompt {name} was edited after its release: its hash is {text_hash(body)}, released was {manifest[name]}; "
            "restore it, and put new wording into a file with the next version number"
        )
