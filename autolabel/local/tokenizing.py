"""Counting tokens with a tokenizer on this machine; neither weights nor torch are loaded.

The invariant is that a count says whether it is exact: it is when the tokenizer comes with a chat template that takes our prompts.
"""

from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError
from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging

from autolabel.errors import DataError
from autolabel.records import Message

TOKENS_PER_MESSAGE = 4
"""Counted for role and end marks where there is no chat template; templates add 0 to 8."""
_TRIED = (Message("system", "a"), Message("user", "b"), Message("assistant", "c"), Message("user", "d"))


class TokenizerCounter:
    """A `Counter` over a tokenizer in transformers' format."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.is_exact = self._template_works()

    @classmethod
    def load(cls, path_or_name: str) -> "TokenizerCounter":
        """Load a folder or hub name.

        Raises:
            DataError: there is no such tokenizer.
        """
        transformers_logging.disable_progress_bar()
        try:
            return cls(AutoTokenizer.from_pretrained(path_or_name))
        except (OSError, ValueError) as error:
            why = " ".join(str(error).split())[:300]
            raise DataError(
                f"cannot load a tokenizer from '{path_or_name}' ({why}); name a folder or hub model that has one, "
                "or leave out llm.tokenizer"
            ) from None

    def count(self, messages: Sequence[Message]) -> int:
        """Tokens of the request with its chat template, or of the contents and `TOKENS_PER_MESSAGE` each."""
        if self.is_exact:
            return self._templated(messages)
        contents = [message.content for message in messages]
        return sum(map(self._n_tokens, contents)) + TOKENS_PER_MESSAGE * len(contents)

    def _templated(self, messages: Sequence[Message]) -> int:
        turns = [{"role": message.role, "content": message.content} for message in messages]
        return self._n_tokens(self._tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False))

    def _n_tokens(self, text: str) -> int:
        return len(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _template_works(self) -> bool:
        if not self._tokenizer.chat_template:
            return False
        try:
            self._templated(_TRIED)
        except TemplateError:  # some take no system turn
            return False
        return True
