import pytest

from autolabel.metrics import label_score
from autolabel.pipeline.examining import BOOTSTRAP_SEED
from autolabel.records import Purpose
from autolabel.scorers.embedding import EmbeddingScorer
from autolabel.truth.built import Built
from autolabel.truth.models import TruthModels
from autolabel.truth.replies import NOT_ANY, TracedCalls
from autolabel.truth.trust_cases import RULE_LABELERS, Case, is_near, rule_cases, shipped_cases
from tests.fakes import FakeEmbedder


@pytest.fixture
def models(built: Built) -> TruthModels:
    return TruthModels(None, None, FakeEmbedder(), NOT_ANY, TracedCalls(built.store), "probability", 1, False)


async def test_shipped_labels_come_with_their_exact_worth_and_the_encoders_score(built: Built, models: TruthModels) -> None:
    cases = await shipped_cases(built, models)
    true = [case for case in cases if case.source == "true"]
    assert true
    assert {case.f1 for case in true} == {1.0}, "nuisances have no part in whether a label is right"
    assert all(case.f1 < 0.8 for case in cases if case.source == "wrong")
    assert {case.f1 for case in cases if case.family == "null"} <= {0.0}
    assert any(map(is_near, cases))
    assert not any(case.has_rule for case in cases)

    index = int(true[0].feature.split(":")[1])
    exam = built.exam(index)
    (said,) = await EmbeddingScorer(FakeEmbedder()).predict([built.shipped[index][0].label], exam, Purpose("score"))
    strata, documents = [str(e.stratum) for e in exam], [e.source_document_id for e in exam]
    expected = label_score([p.value for p in said if p.value is not None], strata, documents, BOOTSTRAP_SEED).value
    assert true[0].known == {"embedding label_score": expected}


async def test_labels_with_rules_are_known_by_their_rules(built: Built, models: TruthModels) -> None:
    cases: list[Case] = await rule_cases(built, models)
    assert {case.source for case in cases} == set(RULE_LABELERS)
    assert all(case.has_rule for case in cases)
    known = {name for case in cases for name in case.known}
    assert {"rule label_score", "rule auroc"} <= known
    assert "embedding label_score" not in known
    good = [case for case in cases if case.f1 > 0.9 and "rule label_score" in case.known]
    bad = [case for case in cases if case.f1 < 0.3 and "rule label_score" in case.known]
    assert good
    assert bad
    assert min(case.known["rule label_score"] for case in good) > max(case.known["rule label_score"] for case in bad)


async def test_no_case_is_of_a_feature_without_an_exam(built: Built, models: TruthModels) -> None:
    able = {f"{built.settings.seed}:{feature.index}" for feature in built.features if built.exam(feature.index)}
    assert {case.feature for case in await shipped_cases(built, models)} <= able
