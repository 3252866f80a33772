"""The benchmark from end to end on a small text, with models that are scripted: tables, the database, a rerun, recorded replies."""

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pytest

from autolabel.calls import Attempt, Usage, chat_request_hash, likelihood_request_hash, reply_from_json, reply_to_json
from autolabel.config import TruthSettings
from autolabel.errors import ConfigError, DataError
from autolabel.hashing import content_id
from autolabel.records import ChatReply, ChatRequest, Continuation, Purpose
from autolabel.store.connection import Database
from autolabel.store.maintenance import check, diff
from autolabel.store.run_store import RunStore
from autolabel.truth import bench, coverage, leaderboard, resampling, selection
from autolabel.truth.bench import Bench, Results
from autolabel.truth.labeling import LABELERS
from autolabel.truth.models import TruthModels
from autolabel.truth.replies import Recorded, RecordedChat, RecordedLikelihood, TracedCalls, load_replies, write_replies
from autolabel.truth.resampling import NOTHING
from autolabel.truth.scoring import SCORERS
from autolabel.truth.tables import markdown
from tests.fakes import FakeEmbedder, FakeLikelihood
from tests.truth.worlds_of_text import LEAST_DOCUMENTS, LEAST_TILES, small_settings

ENDPOINT, MODEL, LIKELIHOOD = "fake endpoint", "fake-llm", "fake-likelihood"


@dataclass
class RecordingLLM:
    """Answers every prompt of the benchmark in its form, by the hash of the request, and keeps what it said."""

    calls: TracedCalls
    model_id: str = MODEL

    async def chat(self, request: ChatRequest, purpose: Purpose) -> ChatReply:
        key = chat_request_hash(ENDPOINT, MODEL, request)
        stored = self.calls.get(key)
        if stored is None:
            attempt = Attempt.begin(key, ENDPOINT, MODEL, purpose)
            reply = ChatReply(self._answer(request, int(key[:8], 16)), "stop", MODEL, None, 100, 40, 5, key)
            usage = Usage(100, 40, 5)
            stored = reply_to_json(reply)
            self.calls.record(attempt.call_row("chat", stored, MODEL, usage, request.prompt_hash), attempt.row(usage))
        return reply_from_json(stored, key)

    def _answer(self, request: ChatRequest, draw: int) -> str:
        asked = request.messages[-1].content
        if "Write 5 different texts" in asked:
            return "\n".join(f"{number}. A horse and a question stood near the old bridge." for number in range(1, 6))
        if request.max_tokens <= 8 + 3:
            return str(draw % 2)
        if re.search(r"^\d+\. ", asked, re.MULTILINE) and request.max_tokens < 80:
            return f"[{', '.join(str((draw >> i) % 2) for i in range(5))}]"
        return "words about horses"


@dataclass
class RecordingLikelihood:
    """Likelier the more of a label's words the text holds; keeps what it said."""

    calls: TracedCalls
    model_id: str = LIKELIHOOD

    def log_probabilities(self, prefix: str, continuations: list[str], purpose: Purpose) -> list[Continuation]:
        key = likelihood_request_hash(LIKELIHOOD, prefix, continuations)
        found = FakeLikelihood().log_probabilities(prefix, continuations, purpose)
        stored = {"logprobs": [one.logprob for one in found], "n_tokens": [one.n_tokens for one in found]}
        if self.calls.get(key) is None:
            attempt, usage = Attempt.begin(key, "local", LIKELIHOOD, purpose), Usage(50, 0, 0)
            self.calls.record(attempt.call_row("likelihood", stored, LIKELIHOOD, usage), attempt.row(usage))
        return found

    def complete(self, prefix: str, n: int, max_tokens: int, seed: int, purpose: Purpose) -> list[str]:
        return ["a label"] * n


def make_small(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(selection, "LEAST_TILES", LEAST_TILES)
    patched.setattr(selection, "LEAST_DOCUMENTS", LEAST_DOCUMENTS)
    patched.setattr(coverage, "DRAWS", 3)
    patched.setattr(coverage, "PAIRS", 4)
    patched.setattr(resampling, "N_DRAWS", 50)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)


def live_models(settings: TruthSettings, store: RunStore) -> TruthModels:
    calls = TracedCalls(store)
    described = Recorded(ENDPOINT, MODEL, LIKELIHOOD)
    return TruthModels(RecordingLLM(calls), RecordingLikelihood(calls), FakeEmbedder(), described, calls, "binary", 1, False)  # type: ignore[arg-type]


def replayed_models(settings: TruthSettings, store: RunStore) -> TruthModels:
    assert settings.replies is not None
    recorded = load_replies(settings.replies, store)
    calls = TracedCalls(store)
    chat = RecordedChat(str(recorded.endpoint_id), str(recorded.model), calls)
    likelihood = RecordedLikelihood(str(recorded.likelihood_model), calls)
    return TruthModels(chat, likelihood, FakeEmbedder(), recorded, calls, "binary", 1, True)


def run(settings: TruthSettings, record: Path | None = None) -> Results:
    """As `running.run_bench`, which the slow test runs."""
    with RunStore.open(Path(settings.db), uuid4().hex) as store:
        store.start_run("bench truth", {}, settings.config_hash, settings.seed)
        results = asyncio.run(Bench(settings, store, lambda _: None).run())
        if record is not None:
            assert write_replies(record, store, results.recorded) > 100
        store.finish_run("done")
    return results


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TruthSettings, Results, Path]]:
    folder = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patched:
        make_small(patched)
        patched.setattr(bench, "load_truth_models", live_models)
        settings = small_settings(folder).model_copy(update={"n_llm": 9, "n_judge": 9, "n_expensive": 9})
        yield settings, run(settings, folder / "replies.jsonl.xz"), folder / "replies.jsonl.xz"


def test_every_labeler_and_scorer_has_its_line(ran: tuple[TruthSettings, Results, Path]) -> None:
    _, results, _ = ran
    assert [row.name for row in results.labelers] == list(LABELERS)
    assert {row.name for row in results.scorers} >= set(SCORERS)


def test_the_answer_is_recognised_and_that_of_another_feature_is_not(ran: tuple[TruthSettings, Results, Path]) -> None:
    rows = {row.name: row.recovery["fake-embedder"] for row in ran[1].labelers}
    assert rows["oracle"].value == 1.0
    assert rows["shuffled"].value is not None
    assert rows["shuffled"].value < 0.5


def test_labels_of_a_model_are_never_refereed_by_it(ran: tuple[TruthSettings, Results, Path]) -> None:
    for row in ran[1].labelers:
        assert not row.models & set(row.recovery)
    made_by_llm = {row.name for row in ran[1].labelers if MODEL in row.models}
    assert made_by_llm == {"explain", "best_of", "neuronpedia", "saebench", "delphi"}


def test_the_oracle_abstains_on_nulls_alone(ran: tuple[TruthSettings, Results, Path]) -> None:
    (oracle,) = (row for row in ran[1].labelers if row.name == "oracle")
    assert (oracle.abstention.value, oracle.false_abstention.value) == (1.0, 0.0)


def test_who_knows_the_function_beats_wrong_labels_and_shuffled_answers_do_not(ran: tuple[TruthSettings, Results, Path]) -> None:
    rows = {row.name: row for row in ran[1].scorers}
    assert rows["truth"].beats["wrong"].value == 1.0
    assert rows["truth"].judgement.value == 1.0
    broken = rows["truth, answers shuffled"].beats["wrong"]
    assert broken.low is not None
    assert broken.high is not None
    assert broken.low <= 0.5 <= broken.high


def test_tokens_are_counted_by_who_needed_them(ran: tuple[TruthSettings, Results, Path]) -> None:
    rows = {row.name: row.tokens for row in ran[1].labelers}
    assert rows["oracle"] == (0, 0, 0)
    prompt, cached, completion = rows["explain"]
    assert prompt == 20 * completion > 0
    assert cached == 8 * completion


def test_the_database_holds_no_contradiction(ran: tuple[TruthSettings, Results, Path]) -> None:
    assert check(Database(Path(ran[0].db))) == []


def test_exact_scores_and_predictions_are_stored(ran: tuple[TruthSettings, Results, Path]) -> None:
    with Database(Path(ran[0].db)).read() as connection:
        scorers = dict(connection.execute("SELECT scorer, count(*) FROM scores GROUP BY ALL").fetchall())
        wrong = connection.execute(
            "SELECT count(*) FROM scores WHERE scorer = 'truth' AND metric = 'f1' AND low <> high"
        ).fetchone()
    assert {"truth", "embedding", "likelihood", "detection", "fuzzing", "recovery"} <= set(scorers)
    assert wrong == (0,)


def test_a_rerun_adds_nothing(ran: tuple[TruthSettings, Results, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    settings, results, _ = ran
    monkeypatch.setattr(bench, "load_truth_models", live_models)
    before = _counts(settings)
    again = run(settings)
    assert _counts(settings) == before
    assert leaderboard.as_json(again) == leaderboard.as_json(results)


def test_recorded_replies_give_the_same_numbers_without_a_model(
    ran: tuple[TruthSettings, Results, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, results, replies = ran
    monkeypatch.setattr(bench, "load_truth_models", replayed_models)
    other = settings.model_copy(update={"db": str(tmp_path / "replayed.duckdb"), "replies": replies})
    replayed = run(other)
    assert leaderboard.as_json(replayed) == leaderboard.as_json(results)
    assert [row.seconds for row in replayed.scorers if row.name == "detection"] == [None]
    assert diff(Path(settings.db), Path(other.db)) == []


def test_what_was_not_recorded_is_left_out_of_a_replay(
    ran: tuple[TruthSettings, Results, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, _, replies = ran
    with RunStore.open(tmp_path / "some.duckdb", "run") as store:
        recorded = load_replies(replies, store)
        write_replies(tmp_path / "few.jsonl.xz", store, replace(recorded, parts=("labeler explain", "scorer saebench")))
    monkeypatch.setattr(bench, "load_truth_models", replayed_models)
    given = {"db": str(tmp_path / "few.duckdb"), "replies": tmp_path / "few.jsonl.xz", "checks": False}
    found = run(settings.model_copy(update=given))
    asking = {name for name, spec in LABELERS.items() if spec.needs}
    assert {row.name for row in found.labelers} & asking == {"explain"}
    assert set(found.scored) == {"truth", "embedding", "saebench"}


def test_a_leaderboard_is_compared_number_by_number(ran: tuple[TruthSettings, Results, Path], tmp_path: Path) -> None:
    path = tmp_path / "leaderboard.json"
    leaderboard.write(path, ran[1])
    assert leaderboard.differences(path, ran[1]) == []
    worse = path.read_text(encoding="utf-8").replace('"true > wrong": 1.0', '"true > wrong": 0.5')
    path.write_text(worse, encoding="utf-8")
    found = leaderboard.differences(path, ran[1])
    assert found
    assert all("true > wrong: " in line and "in the leaderboard 0.5" in line for line in found)


def test_the_tables_hold_every_line(ran: tuple[TruthSettings, Results, Path]) -> None:
    text = markdown(ran[1])
    for name in (*LABELERS, *SCORERS):
        assert f"| {name} |" in text
    assert "nan" not in text.casefold()


def test_a_line_that_is_not_in_the_leaderboard_and_a_number_that_is_none_are_differences(
    ran: tuple[TruthSettings, Results, Path], tmp_path: Path
) -> None:
    path = tmp_path / "leaderboard.json"
    leaderboard.write(path, ran[1])
    before = json.loads(path.read_text(encoding="utf-8"))
    del before["labelers"]["tfidf"]
    before["scorers"]["truth"]["n_features"] += 1
    before["scorers"]["truth"]["spearman_all"] = None
    path.write_text(json.dumps(before), encoding="utf-8")
    found = leaderboard.differences(path, ran[1])
    assert len(found) == 3
    path.write_text(json.dumps({"format": leaderboard.FORMAT}), encoding="utf-8")
    assert "another benchmark" in leaderboard.differences(path, ran[1])[0]


def test_failed_attempts_are_counted_and_in_no_average(ran: tuple[TruthSettings, Results, Path]) -> None:
    (delphi,) = (row for row in ran[1].labelers if row.name == "delphi")
    assert delphi.n_failed == delphi.n > 0
    assert (delphi.recovery, delphi.abstention.value, delphi.mapped_f1.value) == ({"fake-embedder": NOTHING}, None, None)


def test_fewer_features_than_families_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    settings = TruthSettings(families=["words", "form"], n=1)
    with RunStore.open(tmp_path / "t.duckdb", "run") as store, pytest.raises(DataError, match="1 features cannot cover 2 families"):
        Bench(settings, store, lambda _: None)


@pytest.mark.parametrize(("wanted", "said"), [({"labelers": ["orakel"]}, "labeler 'orakel'"), ({"scorers": ["x"]}, "scorer 'x'")])
def test_an_unknown_name_is_refused_before_anything_is_read(tmp_path: Path, wanted: dict[str, list[str]], said: str) -> None:
    settings = TruthSettings(families=["words"], **wanted)
    with RunStore.open(tmp_path / "t.duckdb", content_id("run", said)) as store, pytest.raises(ConfigError, match=said):
        Bench(settings, store, lambda _: None)


def _counts(settings: TruthSettings) -> dict[str, int]:
    with Database(Path(settings.db)).read() as connection:
        tables = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables() ORDER BY ALL").fetchall()]
        kept = [name for name in tables if name not in ("runs", "llm_attempts")]
        return {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in kept}  # type: ignore[index]
