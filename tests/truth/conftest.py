"""A small benchmark that many tests look at and none changes."""

from collections.abc import Iterator

import pytest

from autolabel.store.run_store import RunStore
from autolabel.truth import selection
from autolabel.truth.built import Built, build
from tests.truth.worlds_of_text import LEAST_DOCUMENTS, LEAST_TILES, small_settings


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """A benchmark of 18 features over a text made by templates; its store stays open."""
    folder = tmp_path_factory.mktemp("truth")
    settings = small_settings(folder)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(selection, "LEAST_TILES", LEAST_TILES)
        patched.setattr(selection, "LEAST_DOCUMENTS", LEAST_DOCUMENTS)
        with RunStore.open(folder / "truth.duckdb", "run-1") as store:
            store.start_run("bench truth", {}, settings.config_hash, settings.seed)
            yield build(settings, store, lambda _: None)
            store.finish_run("done")
