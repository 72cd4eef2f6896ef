"""The JSON Schemas beside the contracts say what the dataclasses say, and real documents fit."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gateway.contracts.access_log import AccessLogEvent, Charge, Kind, encode
from gateway.contracts.snapshot import KINDS, Api, build_document, parse_document, to_json
from tests.contract.json_schemas import DOCUMENTS, FOLDER, access_log_schema, text
from tests.factories.snapshots import build_route, build_snapshot

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


def test_a_document_from_before_route_scopes_is_taken_and_written_as_it_was() -> None:
    """The file on a gateway's disk outlives an upgrade, and so does a portal an older gateway."""
    path = Path(__file__).parent / "documents" / "snapshot_before_scopes.json"
    document = json.loads(path.read_text())
    snapshot = parse_document(document)
    assert [route.scopes for route in snapshot.routes.values()] == [()]
    objects = {kind: list(getattr(snapshot, kind).values()) for kind in KINDS}
    written = build_document(version=1, clock_offset_us=0, sandbox=False, objects=objects)
    assert written == document
    jsonschema.validate(written, DOCUMENTS["snapshot.v1.json"]())


def test_required_scopes_are_written_hashed_and_read_back() -> None:
    routes = [build_route(scopes=("maps:read",))]
    snapshot = build_snapshot(routes=routes)  # through its document
    assert snapshot.routes["route-1"].scopes == ("maps:read",)
    assert snapshot.hash != build_snapshot().hash
    assert to_json(routes[0])["scopes"] == ["maps:read"]


def test_a_built_snapshot_is_valid() -> None:
    document = build_document(
        version=1, clock_offset_us=0, sandbox=False, objects={"apis": [Api(id="1", name="a")]}
    )
    jsonschema.validate(document, DOCUMENTS["snapshot.v1.json"]())
