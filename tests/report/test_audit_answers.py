import json
from pathlib import Path
from typing import Any

import pytest

from autolabel.errors import DataError
from autolabel.report import audit_answers
from autolabel.report.audit_answers import FORMAT, read_answers
from autolabel.store.auditing import Answer


def written(tmp_path: Path, content: str | bytes, name: str = "answers.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def as_json(**changes: Any) -> str:
    answers = [{"item": 1, "verdict": "right", "note": ""}, {"item": 2, "verdict": "too broad", "note": "all animals"}]
    return json.dumps({"format": FORMAT, "audit_id": "abc", "answers": answers} | changes)


EXPECTED = [Answer(1, "right", None), Answer(2, "too broad", "all animals")]


@pytest.mark.parametrize(
    "content",
    [
        as_json(),
        "audit_id,item,verdict,note\nabc,1,right,\nabc,2,too broad,all animals\n",
        "\ufeffaudit_id;item;verdict;note\r\nabc;1;Right;\r\nabc; 2 ;TOO_BROAD;all animals\r\n;;;\r\n",
        "item\tverdict\tnote\taudit_id\n1\tright\t\tabc\n2\ttoo  broad\tall animals\tabc\n",
    ],
    ids=["json", "csv", "a spreadsheet's", "tabs"],
)
def test_answers_are_read(tmp_path: Path, content: str) -> None:
    assert read_answers(written(tmp_path, content)) == ("abc", EXPECTED)


def test_the_apostrophe_before_a_formula_is_taken_off_again(tmp_path: Path) -> None:
    _, (answer,) = read_answers(written(tmp_path, "audit_id,item,verdict,note\nabc,1,right,'=1+1\n"))
    assert answer.note == "=1+1"


def test_missing_verdicts_are_left_for_the_audit_to_refuse(tmp_path: Path) -> None:
    _, answers = read_answers(written(tmp_path, "audit_id,item,verdict\nabc,1,\n"))
    assert answers == [Answer(1, "", None)]


def test_characters_that_no_file_can_hold_are_replaced(tmp_path: Path) -> None:
    answers = [{"item": 1, "verdict": "right", "note": "\ud800 x"}]
    _, (answer,) = read_answers(written(tmp_path, as_json(answers=answers)))
    assert answer.note == "? x"


BAD: dict[str, tuple[str | bytes, str]] = {
    "not text": (b"PK\x03\x04\xff\xfe\x00", "is not UTF-8 text"),
    "empty": ("", "has no column audit_id, item, verdict"),
    "another table": ("a,b\n1,2\n", "has no column audit_id, item, verdict"),
    "no answers": ("audit_id,item,verdict\n", "expected the answers to one audit, found none"),
    "two audits": ("audit_id,item,verdict\na,1,right\nb,2,right\n", "found 'a', 'b'"),
    "no audit": ("audit_id,item,verdict\n,1,right\n", "found '' as audit_id"),
    "no number": ("audit_id,item,verdict\na,one,right\n", "answer 1: item 'one' is no number"),
    "a huge number": (f"audit_id,item,verdict\na,{'9' * 400},right\n", "is no number"),
    "an open quotation": ('audit_id,item,verdict\na,1,"right\n', "is not CSV: unexpected end of data"),
    "broken JSON": ('{"format": ', "is not JSON"),
    "deep JSON": ('{"a":' * 100_000, "is not JSON"),
    "a long JSON number": ('{"a": ' + "1" * 5000 + "}", "is not JSON"),
    "other JSON": ('{"format": "x"}', "holds no answers to an audit"),
    "answers that are no list": (as_json(answers={"item": 1}), "holds no answers to an audit"),
    "answers that are no objects": (as_json(answers=[1]), "every answer is expected to be an object"),
    "items that are no numbers": (as_json(answers=[{"item": True, "verdict": "right"}]), "item '' is no number"),
}


@pytest.mark.parametrize(("content", "words"), BAD.values(), ids=BAD)
def test_other_files_are_refused_with_a_reason(tmp_path: Path, content: str | bytes, words: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(DataError) as refused:
        read_answers(path)
    assert words in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_file_that_is_not_there_or_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="cannot read the answers"):
        read_answers(tmp_path / "gone.csv")
    with pytest.raises(DataError, match="cannot read the answers"):
        read_answers(tmp_path)
    monkeypatch.setattr(audit_answers, "MOST_BYTES", 10)
    with pytest.raises(DataError, match="more than 10 bytes"):
        read_answers(written(tmp_path, as_json()))
