"""`verify_usage` says what is proven, and fails when something is missing."""

from dataclasses import replace
from io import StringIO
from unittest.mock import create_autospec

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from metering.queries import StreamProof, UsageReader, Watermark
from portal.usage import override
from tests.factories.provider import NOW

pytestmark = pytest.mark.django_db
WHOLE = StreamProof(
    stream="node-a.b1.0",
    node="node-a",
    proven_through=40,
    complete_through=NOW,
    last_seq_seen=40,
    received=40,
    missing=0,
    duplicates=2,
    dead_letters=0,
    ended=True,
)


def verify(*proofs: StreamProof, watermark: Watermark) -> str:
    reader = create_autospec(UsageReader, instance=True)
    reader.proofs.return_value = proofs
    reader.watermark.return_value = watermark
    output = StringIO()
    with override(reader):
        call_command("verify_usage", stdout=output)
    return output.getvalue()


def test_a_whole_log_is_complete_duplicates_or_not() -> None:
    text = verify(WHOLE, watermark=Watermark(at=NOW))
    assert text.splitlines()[0] == (
        "node-a.b1.0: received 40, missing 0, duplicates 2, dead letters 0, "
        "proven through 40 (2026-03-10T12:00:00Z), ended"
    )
    assert text.endswith("complete\n")


@pytest.mark.parametrize("change", [{"missing": 1}, {"dead_letters": 1}])
def test_a_hole_or_a_dead_letter_fails(change: dict[str, int]) -> None:
    with pytest.raises(CommandError, match=r"not complete: node-a\.b1\.0"):
        verify(replace(WHOLE, **change), watermark=Watermark(at=NOW))  # type: ignore[arg-type]


def test_nothing_proven_fails() -> None:
    with pytest.raises(CommandError, match="no proven seal"):
        verify(watermark=Watermark(at=None, held_by={"node-a": "silent"}))


def test_without_a_usage_log_it_fails_with_a_sentence() -> None:
    with pytest.raises(CommandError, match="does not answer"):
        call_command("verify_usage")
