"""Opens activation files by their kind. A new kind is one new module and one line in `KINDS`."""

from collections.abc import Callable

from autolabel.config import SourceSettings
from autolabel.evidence.sources.activations import open_activations
from autolabel.evidence.sources.base import ActivationFiles

KINDS: dict[str, Callable[[SourceSettings], ActivationFiles]] = {
    "activations": open_activations,
}
"""`SourceSettings.kind` → how to open it."""


def open_source(settings: SourceSettings) -> ActivationFiles:
    """Open the files that the settings name and count their contexts.

    Raises:
        DataError: there are no such files, or they cannot be used.
    """
    return KINDS[settings.kind](settings)
