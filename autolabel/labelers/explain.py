"""`explain`: an LLM reads marked windows and says what they share.

Two ways to ask: a chat model gets instructions and solved examples as turns; a model too weak to follow instructions continues a list
of solved items. Either way it proposes several candidates from different windows, and validation text chooses between them.
"""

from collections.abc import Sequence

from autolabel import prompts
from autolabel.asking import ask, together
from autolabel.errors import ModelResponseError
from autolabel.labelers.base import NOTHING_TO_SHOW, draft, shown_firing, shown_silent, with_text, without_text
from autolabel.parsing import parse_label
from autolabel.records import ChatModel, ChatReply, ChatRequest, Example, FeatureEvidence, Label, LikelihoodModel, Purpose
from autolabel.rendering import graded_line, peak_word, plain_line

MAX_LABEL_TOKENS = 40
SILENT_SHOWN = 4
COMPLETION_WINDOWS = 9
COMPLETION_WORDS = 6
COMPLETION_TOKENS = 12
_NO_WORDS = ModelResponseError("failed", "it peaks on white space only, and this labeler is shown nothing but words")


class ChatExplainer:
    """`explain` with a chat model."""

    method = "explain"

    def __init__(self, model: ChatModel, candidates: int, shown_windows: int, temperature: float) -> None:
        self._model = model
        self._candidates = candidates
        self._shown_windows = shown_windows
        self._temperature = temperature
        self._prompt = prompts.load("explain")

    def drafts(self, evidence: FeatureEvidence) -> list[Label]:
        """One draft per candidate, each shown other windows; fewer where the windows run out."""
        found = {}
        for turn in range(self._candidates):
            label = draft(
                evidence,
                self.method,
                [self._temperature],
                [*shown_firing(evidence, self._shown_windows, turn), *shown_silent(evidence, SILENT_SHOWN)],
                prompt_hash=self._prompt.prompt_hash,
                model=self._model.model_id,
            )
            found[label.label_id] = label
        return list(found.values())

    async def fill(self, drafts: Sequence[Label], evidence: FeatureEvidence) -> list[Label]:
        """Ask for all drafts at once; a reply that cannot be used is asked for again, then recorded as what it was."""
        return await together(self._fill(label, evidence) for label in drafts)

    async def _fill(self, label: Label, evidence: FeatureEvidence) -> Label:
        shown = windows(evidence, label.shown_window_ids)
        firing = [graded_line(e, evidence.max_activation) for e in shown if e.fires]
        silent = [plain_line(e) for e in shown if not e.fires]
        if not firing:
            return without_text(label, NOTHING_TO_SHOW)
        request = ChatRequest(
            messages=self._prompt.render(fires="\n".join(firing), silent="\n".join(silent) or "(none)"),
            max_tokens=MAX_LABEL_TOKENS,
            temperature=self._temperature,
            prompt_hash=self._prompt.prompt_hash,
        )
        try:
            reply, text = await ask(self._model, request, Purpose("label", evidence.feature_index), _with_reply)
        except ModelResponseError as error:
            return without_text(label, error)
        return with_text(label, text, model_served=reply.model_served, request_hash=reply.request_hash)


def _with_reply(reply: ChatReply) -> tuple[ChatReply, str]:
    return reply, parse_label(reply.text)


class CompletionExplainer:
    """`explain` with a model that only continues text: it is shown the words on which the feature peaks."""

    method = "explain"

    def __init__(self, model: LikelihoodModel, candidates: int, seed: int) -> None:
        self._model = model
        self._candidates = candidates
        self._seed = seed
        self._prompt = prompts.load("complete")

    def drafts(self, evidence: FeatureEvidence) -> list[Label]:
        """One draft per candidate, each from other windows; fewer where the windows run out."""
        found = {}
        for turn in range(self._candidates):
            shown = shown_firing(evidence, COMPLETION_WINDOWS, turn)
            prompt_hash, model = self._prompt.prompt_hash, self._model.model_id
            label = draft(evidence, self.method, [self._seed], shown, prompt_hash=prompt_hash, model=model)
            found[label.label_id] = label
        return list(found.values())

    async def fill(self, drafts: Sequence[Label], evidence: FeatureEvidence) -> list[Label]:
        """Continue the list once for each draft; a continuation that is no label is unparsable."""
        return [self._fill(label, evidence) for label in drafts]

    def _fill(self, label: Label, evidence: FeatureEvidence) -> Label:
        shown = windows(evidence, label.shown_window_ids)
        words = list(dict.fromkeys(word for word in map(peak_word, shown) if word is not None))[:COMPLETION_WORDS]
        if not words:
            return without_text(label, _NO_WORDS if shown else NOTHING_TO_SHOW)
        prefix = self._prompt.render(words=", ".join(words))[-1].content.rstrip()
        (line,) = self._model.complete(prefix, 1, COMPLETION_TOKENS, self._seed, Purpose("label", evidence.feature_index))
        try:
            text = parse_label(line)
        except ModelResponseError as error:
            return without_text(label, error)
        return with_text(label, text, model_served=self._model.model_id)


def windows(evidence: FeatureEvidence, window_ids: Sequence[str]) -> list[Example]:
    """The train examples with these ids, in this order."""
    by_id = {example.window_id: example for example in evidence.of("train")}
    return [by_id[window_id] for window_id in window_ids]
