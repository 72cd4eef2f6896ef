"""What is no snapshot is refused as a whole, with the path of the error, whatever its shape."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from gateway.contracts.snapshot import SnapshotError, parse_document
from tests.factories.snapshots import build_snapshot
from tests.integration.gateway.portal import document_of

_JUNK: tuple[Any, ...] = (None, True, 7, 1.5, "x", [], ["x"], [[]], {"a": 1}, {"apis": 7})


@pytest.mark.parametrize("field", ["upserts", "deletes", "clock", "version", "schema", "hash"])
@pytest.mark.parametrize("junk", _JUNK)
def test_envelope_of_another_shape_is_refused(field: str, junk: Any) -> None:
    document = document_of(build_snapshot())
    document[field] = junk
    if (field, junk) in (("deletes", {"a": 1}), ("version", 7)):  # says nothing of these kinds
        parse_document(document)
        return
    with pytest.raises(SnapshotError):
        parse_document(document)


def test_document_without_a_version_or_with_an_absurd_clock_is_refused() -> None:
    document = document_of(build_snapshot())
    changes: tuple[tuple[str, Callable[[dict[str, Any]], object]], ...] = (
        ("version", lambda d: d.pop("version")),
        ("version", lambda d: d.update(version=-1)),
        ("deletes.apis", lambda d: d.update(deletes={"apis": [{}]})),
        ("clock.sandbox", lambda d: d["clock"].update(sandbox="no")),
        ("clock.offset_us", lambda d: d["clock"].update(offset_us=10**30)),
    )
    for path, change in changes:
        changed = copy.deepcopy(document)
        change(changed)
        with pytest.raises(SnapshotError, match=path):
            parse_document(changed)
