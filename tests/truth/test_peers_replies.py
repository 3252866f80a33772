"""Replies as the protocols ask for them: dress is tolerated, and what cannot be read is an error with a status."""

import pytest

from autolabel.errors import ModelResponseError
from autolabel.truth.peers.replies import MAX_CHARACTERS, activates_on, explanation, first_array, match


@pytest.mark.parametrize(
    "reply",
    [
        "[EXPLANATION]: dogs",
        "Let me think.\n\n[EXPLANATION]: Dogs and cats\nno, better:\n[EXPLANATION]: dogs.",
        "**Explanation:** dogs",
        "Method 1 succeeds: they are dogs.\nexplanation: 'dogs'",
        "[EXPLANATION]:\ndogs\n",
    ],
)
def test_the_last_explanation_is_the_label(reply: str) -> None:
    assert explanation(reply) == "dogs"


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        ("dogs", "unparsable"),
        ("", "unparsable"),
        ("[EXPLANATION]:", "unparsable"),
        ("Explanation: method 2, they all start with d", "unparsable"),
        ("Explanation: " + "d" * (MAX_CHARACTERS + 1), "unparsable"),
        ("I'm sorry, but I can't help with that.", "refused"),
        ("Explanation: I cannot determine a pattern.", "refused"),
    ],
)
def test_a_reply_without_explanation_is_no_label(reply: str, status: str) -> None:
    with pytest.raises(ModelResponseError) as caught:
        explanation(reply)
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ("This neuron activates on names of dogs.", "names of dogs"),
        ("activates on cats? No: it activates on dogs", "dogs"),
        ("names of dogs", "names of dogs"),
        ("Neurons activate on dogs", "dogs"),
        ("\nThis neuron activates on dogs.\nThis neuron activates on tools", "dogs"),
    ],
)
def test_what_it_activates_on(reply: str, label: str) -> None:
    assert activates_on(reply) == label


def test_nothing_is_no_label_either() -> None:
    with pytest.raises(ModelResponseError, match="label of 0 characters"):
        activates_on("This neuron activates on")


@pytest.mark.parametrize("reply", ["[1,0,1]", "Answer: [1, 0, 1] because [0] would be wrong", "[true, False, 1]"])
def test_the_first_array_counts(reply: str) -> None:
    assert first_array(reply, 3) == [True, False, True]


@pytest.mark.parametrize("reply", ["[1,0]", "[1,0,1,1]", "1,0,1", "[1,0,2]", "[1,0,", "[1,x,0]", "[[1],[0],[1]]", '["1","0","1"]'])
def test_other_arrays_are_no_answers(reply: str) -> None:
    with pytest.raises(ModelResponseError, match="no list of 3 answers"):
        first_array(reply, 3)


def test_match_is_what_is_said_first() -> None:
    assert match('{"match": true, "reason": "not \\"match\\": false"}')
    assert not match("```json\n{'match': False}")
    with pytest.raises(ModelResponseError, match="no match"):
        match('{"reason": "it matches"}')
