"""The tokens of a tokenizer by number, for files that hold token ids; the tokenizer itself is never run over text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from transformers import AutoTokenizer

from autolabel.errors import DataError
from autolabel.evidence.sources.base import MAX_TOKEN_BYTES
from autolabel.evidence.sources.tokens import Text, TokenReader, TokenStyle, detect_style
from autolabel.parts import locate


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """All tokens of a tokenizer."""

    name: str
    tokens: Sequence[str]
    bos_token_id: int | None
    style: TokenStyle
    reader: TokenReader

    @classmethod
    def load(cls, name: str | None, style: Literal["auto"] | TokenStyle) -> "Vocabulary":
        """Load a tokenizer from a folder or by hub name.

        Raises:
            DataError: it has no name, cannot be loaded, or is of a kind whose tokens cannot simply be joined.
        """
        if name is None:
            raise DataError("the cache does not say which model it comes from; set [source] tokenizer to that model")
        folder = locate(name)
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            tokens = [token or "" for token in tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))]
        except Exception as error:  # tokenizers raises Exception itself where a file is damaged or of a later version
            why = " ".join(str(error).split())[:300]
            raise DataError(
                f"cannot load the tokenizer '{name}' ({why}); set [source] tokenizer to a folder or hub model"
            ) from None
        found = detect_style(tokens) if style == "auto" else style
        if found == "text" and any(token.startswith("##") for token in tokens):
            raise DataError(
                f"the tokenizer '{name}' is a WordPiece, whose tokens do not say where blanks are; write activation files instead "
                "(docs/activation-files.md)"
            )
        longest = max((len(token.encode(errors="replace")) for token in tokens), default=0)
        if longest > MAX_TOKEN_BYTES:
            raise DataError(
                f"the tokenizer '{name}' has a token of {longest} bytes, at most {MAX_TOKEN_BYTES} are possible; set [source] tokenizer "
                "to the one of the cached model"
            )
        reader = TokenReader(found)
        reader.meet(tokens)
        reader.settle()
        return cls(name, tokens, tokenizer.bos_token_id, found, reader)

    @property
    def size(self) -> int:
        """Number of tokens."""
        return len(self.tokens)

    def read(self, token_ids: Iterable[int], where: str) -> Text:
        """The text of consecutive tokens.

        Raises:
            DataError: it is too long; the message begins with `where`.
        """
        return self.reader.read([self.tokens[token_id] for token_id in token_ids], where)
