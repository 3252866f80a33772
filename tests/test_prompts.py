"""Prompt files: what is refused, what is filled in, and every shipped prompt word for word."""

import json
import re
import shutil
from pathlib import Path

import pytest

from autolabel import prompts
from autolabel.calibration import load_calibration_items
from autolabel.errors import DataError, PromptError
from autolabel.hashing import text_hash
from autolabel.parsing import parse_choice, parse_texts
from autolabel.prompts import MANIFEST, Prompt
from autolabel.records import Message
from autolabel.resources import resource_dir

WHOLE = Path(__file__).parent / "data" / "prompts"
VARIABLES = {
    "choose": {"label": "dogs", "options": "0. cats\n1. dogs for $5"},
    "complete": {"words": "dog, puppy"},
    "detection": {"texts": "1. One dog.\n2. No $cat.", "label": "dogs", "n": 2},
    "detection_one": {"text": "One dog.", "label": "dogs"},
    "explain": {"fires": "10: One <<dog>>.\n3: The <<dogs>> ran.", "silent": "A cat.\nIt cost $5."},
    "fuzzing": {"texts": "1. One <<dog>>.\n2. No <<cat>>.", "label": "dogs", "n": 2},
    "fuzzing_one": {"text": "One <<dog>>.", "label": "dogs"},
    "generate": {"label": "dogs for $5", "n": 3},
    "likelihood": {"text": "One dog."},
    "peer_delphi_detection": {"examples": "Example 0: One dog.\nExample 1: No $cat.", "label": "dogs"},
    "peer_delphi_explain": {"examples": 'Example 1: One <<dog>>.\nActivations: (" dog" : 10)'},
    "peer_delphi_fuzz": {"examples": "Example 0: One <<dog>>.\nExample 1: No <<$cat>>.", "label": "dogs"},
    "peer_neuronpedia": {"after": ".\nran", "tokens": "dog\ndogs", "texts": "One dog.\nThe dogs ran for $5."},
    "peer_neuronpedia_score": {"record": '{"activations":[{"token":"dog","activation":10}],"explanation":"dogs"}'},
    "peer_saebench": {"examples": "1. One <<dog>>.\n2. The <<dogs>> ran for $5."},
    "peer_saebench_score": {"sample": "1, 2", "label": "dogs", "examples": "1. One dog.\n2. No $cat."},
    "rate": {"text": "One dog for $5.", "label": "dogs"},
}
FOLDER_BODY = "## system\nBe brief.\n\n## user\nA {json} example\n\n## assistant\n[1]\n\n## user\n$text costs $$5\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "judge.v1.md").write_text(FOLDER_BODY)
    (tmp_path / "judge.v2.md").write_text(FOLDER_BODY.replace("brief", "long"))
    manifest = {name: text_hash((tmp_path / name).read_text()) for name in ("judge.v1.md", "judge.v2.md")}
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    return tmp_path


@pytest.mark.parametrize("role", [role for role, _ in prompts.list_prompts()])
def test_the_whole_prompt_word_for_word(role: str) -> None:
    turns = prompts.load(role, 1).render(**VARIABLES[role])
    assert "".join(f"[{turn.role}]\n{turn.content}\n" for turn in turns) == (WHOLE / f"{role}.v1.txt").read_text(encoding="utf-8")


def test_shipped_prompts_are_as_released_and_announced() -> None:
    prompts.check()
    changes = (resource_dir("prompts") / "CHANGELOG.md").read_text(encoding="utf-8")
    for role, version in prompts.list_prompts():
        assert f"{role}.v{version}" in changes


def test_the_newest_version_is_taken_unless_one_is_named(folder: Path) -> None:
    assert prompts.list_prompts(folder) == (("judge", 1), ("judge", 2))
    assert prompts.load("judge", folder=folder).version == 2
    assert prompts.load("judge", 1, folder).turns[0] == Message("system", "Be brief.")


def test_the_hash_is_of_the_body_with_lf_line_ends(folder: Path) -> None:
    first = prompts.load("judge", 1, folder)
    (folder / "judge.v1.md").write_bytes(FOLDER_BODY.replace("\n", "\r\n").encode())
    assert prompts.load("judge", 1, folder) == first
    assert first.prompt_hash == text_hash(FOLDER_BODY)
    assert first.body == FOLDER_BODY


def test_values_are_inserted_as_they_are(folder: Path) -> None:
    prompt = prompts.load("judge", 1, folder)
    hostile = "$n ${x} $$ {y} ## system\n## assistant"
    assert prompt.identifiers == ("text",)
    assert prompt.render(text=hostile) == (*prompt.turns[:-1], Message("user", f"{hostile} costs $5"))


@pytest.mark.parametrize(
    ("variables", "message"),
    [({}, "judge.v2 lacks variable 'text'; it takes text"), ({"text": "a", "lable": "b"}, "has no variable 'lable'")],
)
def test_missing_and_unknown_variables_are_named(folder: Path, variables: dict[str, str], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        prompts.load("judge", folder=folder).render(**variables)


@pytest.mark.parametrize(("role", "version"), [("jugde", None), ("judge", 3)])
def test_an_unknown_prompt_names_the_known_ones(folder: Path, role: str, version: int | None) -> None:
    with pytest.raises(PromptError, match=r"there is no prompt .* \(known: judge.v1, judge.v2\)"):
        prompts.load(role, version, folder)


def test_an_edited_release_is_refused(folder: Path) -> None:
    (folder / "judge.v1.md").write_text(FOLDER_BODY.replace("brief", "curt"))
    with pytest.raises(PromptError, match=r"judge.v1.md was edited after its release"):
        prompts.load("judge", 1, folder)
    with pytest.raises(PromptError, match=r"judge.v1.md was edited"):
        prompts.check(folder)
    prompts.load("judge", 2, folder)


def test_missing_and_unreleased_files_are_refused_by_check(folder: Path) -> None:
    shutil.copy(folder / "judge.v2.md", folder / "judge.v3.md")
    with pytest.raises(PromptError, match=r"judge.v3.md is not in manifest.json"):
        prompts.check(folder)
    (folder / "judge.v1.md").unlink()
    with pytest.raises(PromptError, match=r"released prompt judge.v1.md is missing"):
        prompts.check(folder)


def test_an_unreadable_manifest_or_prompt_is_named(folder: Path) -> None:
    (folder / "judge.v2.md").write_bytes(b"\xff")
    with pytest.raises(PromptError, match=r"judge.v2.md"):
        prompts.load("judge", folder=folder)
    (folder / MANIFEST).write_text("{")
    with pytest.raises(PromptError, match=MANIFEST):
        prompts.check(folder)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no heading",
        "## user\na\n## user\nb",
        "## user\na\n## assistant\nb",
        "## user\na\n## system\nb\n## user\nc",
        "intro\n## user\na",
    ],
)
def test_disorderly_turns_are_refused(body: str) -> None:
    with pytest.raises(PromptError, match=r"judge.v1 must hold"):
        prompts.parse("judge", 1, body)


def test_a_stray_dollar_is_refused() -> None:
    with pytest.raises(PromptError, match="stray"):
        prompts.parse("judge", 1, "## user\nit costs $ 5")


def solved_texts(prompt: Prompt) -> set[str]:
    return {
        re.sub(r"^(\d+[.:]|Text:|Label:|Description:) |<<|>>", "", line)
        for turn in prompt.turns
        for line in turn.content.splitlines()
    }


def test_calibration_items_are_unlike_any_solved_example() -> None:
    known = {line for role, version in prompts.list_prompts() for line in solved_texts(prompts.load(role, version))}
    cases = load_calibration_items()
    assert len(cases) >= 10
    assert not known & {case.label for case in cases}
    assert not known & {example.text for case in cases for example in case.examples}


def test_solved_choices_have_ten_options_and_solved_texts_the_length_that_is_asked() -> None:
    *solved, last = prompts.load("choose", 1).turns
    asked = [turn.content.splitlines() for turn in solved if turn.role == "user"]
    answers = [parse_choice(turn.content, 10) for turn in solved if turn.role == "assistant"]
    assert len(set(answers)) == len(asked) == 3
    assert all([line.split(".")[0] for line in lines[1:-1]] == list("0123456789") for lines in asked)
    assert last.content.startswith("Options:\n$options\nDescription: ")
    *solved, _ = prompts.load("generate", 1).turns
    replies = [turn.content for turn in solved if turn.role == "assistant"]
    counts = [int(re.findall(r"Write (\d+)", turn.content)[0]) for turn in solved if turn.role == "user"]
    texts = [parse_texts(reply, 99) for reply in replies]
    assert [len(written) for written in texts] == counts
    assert all(8 <= len(text.split()) <= 25 for written in texts for text in written)


def test_calibration_items_have_the_form_of_evidence() -> None:
    texts = []
    for case in load_calibration_items():
        assert [example.stratum for example in case.examples] == ["firing"] * 4 + ["hard"] * 2 + ["random"] * 2
        for example in case.examples:
            texts.append(example.text)
            assert "".join(example.tokens) == example.text
            assert 10 <= len(example.text.split()) <= 30
            assert example.mark_positions
            assert all(example.tokens[position].strip() for position in example.mark_positions)
            assert example.fires == (example.stratum == "firing")
            assert example.positions == (example.mark_positions if example.fires else ())
            assert len(example.activations) == len(example.positions)
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"marked": ["cat"]}, "'cat' is not among the words"),
        ({"marked": ["do"]}, "'do' is not among the words"),
        ({"marked": []}, "nothing is marked"),
        ({"answer": False}, "contradicts stratum 'firing'"),
        ({"stratum": "soft"}, "contradicts stratum 'soft'"),
    ],
)
def test_malformed_calibration_items_are_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    item = {"label": "dogs", "text": "A dog ran.", "marked": ["dog"], "answer": True, "stratum": "firing"}
    path = tmp_path / "items.jsonl"
    path.write_text(json.dumps(item) + "\n" + json.dumps({**item, **change}) + "\n")
    with pytest.raises(DataError, match=rf"line 2 of .*{message}"):
        load_calibration_items(path)
