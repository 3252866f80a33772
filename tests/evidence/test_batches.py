import threading
from collections.abc import Iterator

import pytest
import torch

from autolabel.errors import DataError
from autolabel.evidence.batches import AHEAD_BATCHES, ActivationBatch, Flush, run_contexts, run_contexts_at, usable_tokens
from autolabel.evidence.corpus import Document
from autolabel.evidence.subject import Subject
from tests.evidence.test_subject import documents

INFINITE = float("inf")


def keyed(batches: Iterator[ActivationBatch] | list[ActivationBatch]) -> dict[tuple[int, int], torch.Tensor]:
    found = {}
    for batch in batches:
        for row, context in enumerate(batch.contexts):
            found[context.document.hash, context.start] = batch.activations[row, : context.n_tokens]
    return found


def test_several_hookpoints_give_what_each_gives_alone(subject: Subject) -> None:
    some = documents(subject, 5)
    one = torch.cat([usable_tokens(batch) for batch in run_contexts(subject, "layers.2", some, 96, 4, INFINITE)])
    limits = {"layers.0.mlp": INFINITE, "blocks.2.hook_resid_post": float(one.norm(dim=1).median())}
    together = list(run_contexts_at(subject, limits, some, 96, 4))
    assert all(batch.keys() == limits.keys() for batch in together)
    for hookpoint, limit in limits.items():
        alone = list(run_contexts(subject, hookpoint, some, 96, 4, limit))
        for both, single in zip([batch[hookpoint] for batch in together], alone, strict=True):
            assert both.contexts == single.contexts
            assert torch.equal(both.activations, single.activations)
            assert torch.equal(both.usable, single.usable)
            assert both.n_outliers == single.n_outliers
    assert sum(batch["layers.0.mlp"].n_outliers for batch in together) == 0
    assert sum(batch["blocks.2.hook_resid_post"].n_outliers for batch in together) > 0


def test_the_thread_changes_nothing(subject: Subject) -> None:
    some = documents(subject, 6)
    one, two = (keyed(run_contexts(subject, "layers.1", some, 96, 4, INFINITE)) for _ in range(2))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_activations_are_float32_and_the_bos_position_is_apart(subject: Subject) -> None:
    (batch, *_) = run_contexts(subject, "layers.1", documents(subject, 1), 96, 4, INFINITE)
    assert batch.activations.dtype == torch.float32
    assert batch.usable.device.type == "cpu"
    assert batch.first is not None
    alone = subject.activations(torch.tensor([[subject.first_token_id]]), "layers.1")[0, 0]
    torch.testing.assert_close(batch.first, alone.expand(4, -1), rtol=1e-4, atol=1e-4)
    (without, *_) = run_contexts(subject, "layers.1", documents(subject, 1), 96, 4, INFINITE, bos=False)
    assert without.first is None


def test_a_flush_brings_out_everything_before_it_and_changes_no_activation(subject: Subject) -> None:
    some = documents(subject, 5)
    stream: list[Document | Flush] = [*some[:2], Flush(1), some[2], Flush(2), *some[3:]]
    plain, flushed = (list(run_contexts(subject, "layers.1", items, 96, 4, INFINITE)) for items in (some, stream))
    assert all(batch.complete_through is None for batch in plain)
    marks = [batch.complete_through for batch in flushed if batch.complete_through is not None]
    assert marks == [1, 2]
    seen: set[int] = set()
    for batch in flushed:
        assert batch.activations.shape[0] == 4
        seen |= {context.document.hash for context in batch.contexts}
        if batch.complete_through is not None:
            assert seen == {document.hash for document in some[: batch.complete_through + 1]}
    one, two = keyed(plain), keyed(flushed)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_flush_with_nothing_waiting_is_a_batch_without_contexts(subject: Subject) -> None:
    batches = list(run_contexts(subject, "layers.1", [Flush(0), *documents(subject, 1), Flush(1), Flush(2)], 96, 4, INFINITE))
    assert [batch.complete_through for batch in batches if batch.complete_through is not None] == [0, 1, 2]
    for empty in (batches[0], batches[-1]):
        assert empty.contexts == []
        assert not empty.usable.any()
        assert empty.n_outliers == 0
        assert usable_tokens(empty).shape == (0, 32)
    assert sum(len(batch.contexts) for batch in batches) == len(keyed(batches))


def test_a_document_that_cannot_be_read_is_told_after_the_batches_before_it(subject: Subject) -> None:
    def broken() -> Iterator[Document]:
        yield from documents(subject, 8)
        raise DataError("line 9 of 'x.jsonl' is malformed")

    taken = []

    def take() -> None:
        for batch in run_contexts(subject, "layers.1", broken(), 96, 2, INFINITE):
            taken.append(batch)

    with pytest.raises(DataError, match="line 9"):
        take()
    assert taken
    assert not waiting_threads()


def test_stopping_early_or_failing_ends_the_thread(subject: Subject) -> None:
    read: list[int] = []

    def counted() -> Iterator[Document]:
        for number, document in enumerate(documents(subject, 40, 60)):
            read.append(number)
            yield document

    for _ in run_contexts(subject, "layers.1", counted(), 96, 1, INFINITE):
        break
    assert not waiting_threads()
    assert len(read) <= AHEAD_BATCHES + 3
    with pytest.raises(DataError, match="no module") as caught:
        next(run_contexts(subject, "layers.77", counted(), 96, 1, INFINITE))
    assert caught.tb is not None  # while somebody holds the traceback, and with it every frame
    assert not waiting_threads()


def waiting_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "autolabel-ahead"]
