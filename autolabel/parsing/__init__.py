"""Reading an LLM's replies: tolerant of dress (fences, bullets, quotes), strict about content.

The invariant is that a doubtful reply is an error with a status, never a guessed label, a shifted answer or a zero.
"""

from autolabel.parsing.answers import answer_probabilities, parse_answers
from autolabel.parsing.choices import parse_choice
from autolabel.parsing.labels import MAX_LABEL_CHARACTERS, parse_label
from autolabel.parsing.numbers import named_numbers
from autolabel.parsing.texts import MAX_TEXT_CHARACTERS, parse_texts

__all__ = [
    "MAX_LABEL_CHARACTERS",
    "MAX_TEXT_CHARACTERS",
    "answer_probabilities",
    "named_numbers",
    "parse_answers",
    "parse_choice",
    "parse_label",
    "parse_texts",
]
