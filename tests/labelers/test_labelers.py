"""Labelers: what they show and say, whatever the order of the evidence and however hostile its text."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from autolabel.errors import ModelResponseError
from autolabel.hashing import content_id
from autolabel.labelers.base import Labeler, shown_firing, spread
from autolabel.labelers.explain import ChatExplainer, CompletionExplainer
from autolabel.labelers.lexical import LexicalLabeler, TokenLookup, word_shares
from autolabel.records import ChatReply, ChatRequest, Example, FeatureEvidence, Label, Purpose
from autolabel.scorers.rule import rule_value
from tests import planted
from tests.fakes import FakeLikelihood, FakeLLM

EVIDENCE = planted.evidence()


def window(tokens: Sequence[str], fires: Sequence[int] = (), n_context: int = 0, activation: float = 1.0) -> Example:
    """A train window of these tokens that fires at these positions."""
    return Example(
        window_id=content_id("window", list(tokens)),
        document_id="d",
        source_document_id="d",
        tile_index=0,
        split="train",
        kind="firing" if fires else "background",
        stratum="firing" if fires else "random",
        text="".join(tokens),
        token_starts=tuple(sum(map(len, tokens[:i])) for i in range(len(tokens))),
        n_context_tokens=n_context,
        positions=tuple(fires),
        activations=(activation,) * len(fires),
        max_activation=activation if fires else 0.0,
    )


def of(*examples: Example) -> FeatureEvidence:
    return FeatureEvidence("sae", "set", 7, "alive", 0.01, 5.0, examples)


async def outcome(labeler: Labeler, evidence: FeatureEvidence) -> Label:
    first, *_ = await labeler.fill(labeler.drafts(evidence), evidence)
    return first


def every_labeler() -> list[Labeler]:
    chat = FakeLLM(lambda request: "dogs")
    return [ChatExplainer(chat, 2, 12, 0.0), CompletionExplainer(FakeLikelihood(), 2, 0), LexicalLabeler(), TokenLookup()]


@pytest.mark.parametrize("labeler", every_labeler(), ids=lambda labeler: type(labeler).__name__)
async def test_drafts_are_fixed_by_the_evidence_and_show_train_windows_only(labeler: Labeler) -> None:
    drafts = labeler.drafts(EVIDENCE)
    assert drafts == labeler.drafts(EVIDENCE)
    assert len({draft.label_id for draft in drafts}) == len(drafts) == (2 if labeler.method == "explain" else 1)
    assert {(draft.status, draft.text) for draft in drafts} == {("failed", None)}
    train = {e.window_id for e in EVIDENCE.of("train")}
    assert all(set(draft.shown_window_ids) <= train for draft in drafts)
    assert all(len(set(draft.shown_window_ids)) == len(draft.shown_window_ids) for draft in drafts)
    filled = await labeler.fill(drafts, EVIDENCE)
    assert [label.label_id for label in filled] == [draft.label_id for draft in drafts]
    assert {label.status for label in filled} == {"ok"}
    assert labeler.drafts(replace(EVIDENCE, feature_index=9))[0].label_id != drafts[0].label_id


@pytest.mark.parametrize("labeler", every_labeler()[:2], ids=["chat", "completion"])
def test_what_is_shown_does_not_depend_on_the_order_of_the_uniform_sample(labeler: Labeler) -> None:
    strongest = [e for e in EVIDENCE.examples if e.kind == "strongest"]
    silent = [e for e in EVIDENCE.examples if e.kind not in ("strongest", "firing")]
    firing = [e for e in EVIDENCE.examples if e.kind == "firing"]
    random.Random(3).shuffle(firing)
    shuffled = replace(EVIDENCE, examples=(*strongest, *firing, *silent))
    assert labeler.drafts(shuffled) == labeler.drafts(EVIDENCE)


def test_only_the_lookup_is_a_baseline() -> None:
    assert [labeler.drafts(EVIDENCE)[0].origin for labeler in every_labeler()] == ["run", "run", "run", "baseline"]


@pytest.mark.parametrize("labeler", every_labeler()[:3], ids=lambda labeler: type(labeler).__name__)
async def test_without_a_firing_train_window_there_is_no_label(labeler: Labeler) -> None:
    evidence = replace(EVIDENCE, examples=tuple(e for e in EVIDENCE.examples if not (e.split == "train" and e.fires)))
    label = await outcome(labeler, evidence)
    assert (label.status, label.text, label.predicate) == ("failed", None, None)
    assert label.error == "no train window fires, so there is nothing to label it by"


def test_spread_takes_different_windows_each_turn() -> None:
    examples = [replace(window([f"w{i}"], [0]), max_activation=float(i)) for i in range(40)]
    turns = [{e.window_id for e in spread(examples, 10, turn)} for turn in range(4)]
    assert all(len(turn) == 10 for turn in turns)
    assert not turns[0] & turns[1]
    assert spread(examples, 60) == sorted(examples, key=lambda e: -e.max_activation)
    assert max(e.max_activation for e in spread(examples, 10)) == 39


@pytest.mark.parametrize("n", [4, 9, 12, 40])
def test_shown_windows_are_strongest_first_and_never_twice(n: int) -> None:
    for turn in range(3):
        shown = shown_firing(EVIDENCE, n, turn)
        assert len({e.window_id for e in shown}) == len(shown) <= n
        assert [e.max_activation for e in shown] == sorted((e.max_activation for e in shown), reverse=True)
        assert all(e.fires for e in shown)


async def test_all_drafts_are_asked_for_at_once() -> None:
    everyone_is_here = asyncio.Barrier(2)

    class Both(FakeLLM):
        async def chat(self, request: ChatRequest, purpose: Purpose) -> ChatReply:
            await everyone_is_here.wait()
            return await super().chat(request, purpose)

    labeler = ChatExplainer(Both(["one", "two"]), 2, 12, 0.0)
    filled = await asyncio.wait_for(labeler.fill(labeler.drafts(EVIDENCE), EVIDENCE), timeout=60)
    assert {label.text for label in filled} == {"one", "two"}


async def test_the_prompt_shows_firing_windows_marked_and_silent_ones_plain() -> None:
    llm = FakeLLM(lambda request: "dogs")
    await outcome(ChatExplainer(llm, 1, 12, 0.0), EVIDENCE)
    fires, silent = llm.requests[0].messages[-1].content.split("Does not fire:\n")
    lines = fires.splitlines()[1:]
    assert len(lines) == 12
    assert all("<<" in line and line.split(":")[0].isdigit() for line in lines)
    assert "<<" not in silent
    assert len(silent.removesuffix("\nLabel:").splitlines()) == 4


async def test_a_weakly_active_window_of_a_dense_feature_is_shown_as_silent() -> None:
    """A dense feature is active below its threshold too; such windows count as not firing."""
    weak = replace(window(["quiet", " words"], [1], activation=0.1), kind="background", stratum="random")
    llm = FakeLLM(lambda request: "dogs")
    await outcome(ChatExplainer(llm, 1, 12, 0.0), of(window(["loud", " words"], [0]), weak))
    fires, silent = llm.requests[0].messages[-1].content.split("Does not fire:\n")
    assert "quiet" not in fires
    assert "quiet words" in silent


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("I'm sorry, I can't do that.", "refused"),
        ("", "unparsable"),
        ("y" * 201, "unparsable"),
        ("10: the <<marked>> words", "unparsable"),
        (ModelResponseError("truncated", "cut off"), "truncated"),
        (ModelResponseError("failed", "no answer"), "failed"),
    ],
)
async def test_a_reply_that_is_no_label_is_a_failed_label(answer: str | Exception, status: str) -> None:
    llm = FakeLLM(lambda request: answer)
    label = await outcome(ChatExplainer(llm, 1, 12, 0.0), EVIDENCE)
    assert (label.status, label.text) == (status, None)
    assert label.error
    assert len(llm.requests) == (1 if status == "failed" else 3)


async def test_completion_shows_words_and_takes_the_line() -> None:
    model = FakeLikelihood(completions=["dogs and puppies"])
    label = await outcome(CompletionExplainer(model, 1, 0), EVIDENCE)
    assert label.text == "dogs and puppies"
    words = model.history[0][0].splitlines()[-2]
    assert words.startswith("Words: ")
    assert {word.casefold() for word in words.removeprefix("Words: ").split(", ")} <= set(planted.DOGS)
    assert (await outcome(CompletionExplainer(FakeLikelihood(completions=[""]), 1, 0), EVIDENCE)).status == "unparsable"


async def test_completion_without_a_word_fails_without_asking() -> None:
    model = FakeLikelihood()
    label = await outcome(CompletionExplainer(model, 1, 0), of(window(["a", "\n\n"], [1])))
    assert label.status == "failed"
    assert "white space" in (label.error or "")
    assert model.history == []


async def test_lexical_names_the_words() -> None:
    label = await outcome(LexicalLabeler(), EVIDENCE)
    assert label.text is not None
    assert label.text.startswith("the words ")
    assert all(f'"{word}"' in label.text for word in planted.DOGS)
    assert label.predicate is not None
    assert set(label.predicate["weights"]) == set(planted.DOGS)


async def test_lexical_puts_the_pieces_of_a_word_together() -> None:
    label = await outcome(LexicalLabeler(), of(*(window([f"{i}", " pro", "mised", " it"], [1, 2]) for i in range(5))))
    assert label.text == 'the word "promised"'


@pytest.mark.parametrize(
    ("token", "shown"),
    [(";", ";"), ("\n\n", "\\n\\n"), ("<<", "\\<\\<"), ("\u202e", "\\u{202E}"), (" ==", "=="), ("<|im_end|>", "\\<|im_end|\\>")],
)
async def test_lexical_names_characters_as_data(token: str, shown: str) -> None:
    windows = [window(["word", token, f" {i}"], [1]) for i in range(5)]
    label = await outcome(LexicalLabeler(), of(*windows))
    assert label.text == (f'the characters "{shown}"' if "im_end" not in token else label.text)
    assert "\n" not in (label.text or "")
    assert "<|im_end|>" not in (label.text or "")
    assert label.predicate is not None
    assert rule_value(label.predicate, windows[0]) > 0


async def test_lexical_falls_back_to_what_sets_the_tiles_apart() -> None:
    """The feature fires on another word in every window, each of which is about rain."""
    firing = [window([f"w{i}", " heavy", " rain", " again"], [0]) for i in range(30)]
    silent = [window([f"v{i}", " heavy", " sun", " again"]) for i in range(30)]
    evidence = of(*firing, *silent)
    label = await outcome(LexicalLabeler(), evidence)
    assert label.text == 'text with the word "rain"'
    assert label.predicate is not None
    assert rule_value(label.predicate, firing[0]) > 0 == rule_value(label.predicate, silent[0])


async def test_lexical_says_when_no_word_says_anything() -> None:
    firing = [window([f"w{i}", " same"], [0]) for i in range(30)]
    label = await outcome(LexicalLabeler(), of(*firing, *(window([f"v{i}", " same"]) for i in range(30))))
    assert (label.status, label.text, label.predicate) == ("failed", None, None)
    assert "no word" in (label.error or "")


async def test_token_lookup_is_the_mean_activation_over_all_occurrences_in_tiles() -> None:
    examples = [window(["dog", " dog"], [0], activation=4.0), window([" cat", " dog"], [0, 1], n_context=0, activation=1.0)]
    label = await outcome(TokenLookup(), of(*examples))
    assert label.predicate == {"kind": "tokens", "weights": {"dog": 1.0, " cat": 0.25, " dog": 0.125}}


def test_word_shares_add_up_and_do_not_depend_on_order() -> None:
    firing = list(EVIDENCE.of("train", "firing"))
    shares = word_shares(firing)
    assert sum(share for _, share in shares) == pytest.approx(1)
    assert [word for word, _ in shares] == [word for word, _ in word_shares(firing[::-1])]
