"""What every table of a settings file has in common."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Known = Literal["yes", "no", "unknown"]
Share = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    """A table of the settings file."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)
