"""The background sample as it is read: a split's tiles, and which features fire in each."""

from pathlib import Path

from autolabel.store.background import load_background
from autolabel.store.connection import Database
from tests.store.builders import add, evidence_set, feature, window


def background(window_id: str, split: str, fired: dict[int, float], **changes: object) -> dict[str, object]:
    """A row of `windows` with what is active in it."""
    strengths, peaks = list(fired.values()), [3] * len(fired)
    return window(window_id, split, fired_features=list(fired), fired_max=strengths, fired_peak=peaks, **changes)


def test_tiles_come_with_what_fires_in_them(database: Path) -> None:
    here = "evidence-9"
    tiles = [
        background("b2", "test", {11: 2.0, 10: 1.0}, evidence_set_id=here),
        background("b1", "test", {10: 5.0}, evidence_set_id=here, tile_index=4),
        background("b3", "test", {}, evidence_set_id=here),
        background("t1", "train", {10: 1.0, 11: 9.0}, evidence_set_id=here),
        background("elsewhere", "test", {10: 1.0}),
        window("plain", "test", evidence_set_id=here),
    ]
    features = [feature(10, evidence_set_id=here), feature(11, evidence_set_id=here, firing_threshold=2.0)]
    db = add(database, evidence_sets=[evidence_set(evidence_set_id=here)], features=features, windows=tiles)
    found = load_background(db, here, "test")
    assert [(tile.window_id, tile.split, tile.tile_index, tile.kind) for tile in found.tiles] == [
        ("b1", "test", 4, "background"),
        ("b2", "test", 0, "background"),
        ("b3", "test", 0, "background"),
    ]
    assert (found.tiles[0].tokens[1], found.tiles[0].n_context_tokens, found.tiles[0].source_document_id) == ("dog ", 2, "src-b1")
    assert found.fires(10).tolist() == [True, True, False]
    assert found.fires(11).tolist() == [False, False, False], "active in b2, but not above its own threshold"
    assert found.fires(12).tolist() == [False] * 3
    assert found.thresholded == {11}
    assert load_background(db, here, "train").fires(11).tolist() == [True]


def test_an_evidence_set_without_one_has_no_tiles(database: Path) -> None:
    found = load_background(Database(database), "nowhere", "test")
    assert (found.tiles, len(found.features), found.thresholded) == ((), 0, frozenset())
    assert found.fires(0).tolist() == []
