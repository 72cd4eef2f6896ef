"""The JSON Schemas beside the contracts say what the dataclasses say, and real documents fit."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import jsonschema
import pytest

from gateway.contracts.access_log import AccessLogEvent, Charge, Kind, encode
from gateway.contracts.snapshot import Api, build_document
from tests.contract.json_schemas import DOCUMENTS, FOLDER, access_log_schema, text

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def event(**changes: Any) -> AccessLogEvent:
    values: dict[str, Any] = {
        "stream": "n.b.0", "seq": 1, "kind": Kind.REQUEST, "admitted_at": NOW, "finished_at": NOW,
        "node": "n", "environment": "live", "quantities": {"requests": Decimal(1)},
        "charge": Charge.BILLED,
    }  # fmt: skip
    return AccessLogEvent(**{**values, **changes})


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_checked_in_schema_is_the_generated_one(name: str) -> None:
    assert (FOLDER / name).read_text() == text(DOCUMENTS[name]()), (
        "run python -m tests.contract.json_schemas"
    )


@pytest.mark.parametrize("kind", Kind)
def test_an_encoded_event_of_every_kind_is_valid(kind: Kind) -> None:
    times = {"window_start": NOW, "window_end": NOW, "complete_through": NOW}
    line = json.loads(encode(event(kind=kind, **times)))
    jsonschema.validate(line, access_log_schema())


@pytest.mark.parametrize(
    ("case", "change"),
    [
        ("unknown field", {"color": "red"}),
        ("number for a decimal", {"quantities": {"requests": 1}}),
        ("time without Z", {"admitted_at": "2026-03-01T12:00:00.000000"}),
        ("negative count", {"status": -1}),
        ("null", {"organization_id": None}),
        ("other version", {"v": "v2"}),
    ],
)
def test_a_wrong_event_is_not_valid(case: str, change: dict[str, Any]) -> None:
    line = {**json.loads(encode(event())), **change}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(line, access_log_schema())


def test_a_missing_required_field_is_not_valid() -> None:
    line = json.loads(encode(event()))
    del line["charge"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(line, access_log_schema())


def test_a_built_snapshot_is_valid() -> None:
    document = build_document(
        version=1, clock_offset_us=0, sandbox=False, objects={"apis": [Api(id="1", name="a")]}
    )
    jsonschema.validate(document, DOCUMENTS["snapshot.v1.json"]())
