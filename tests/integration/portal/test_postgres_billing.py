"""Issued credit notes and ledger movements stay as they are, on a real PostgreSQL too."""

import pytest

from tests.factories.billing import customer
from tests.integration.billing.test_credit_notes import closed_month, draft, frozen_rows_hold
from tests.integration.portal.test_postgres import _postgres

__all__ = ["_postgres"]


@pytest.mark.timeout(90)
@pytest.mark.usefixtures("_postgres")
def test_postgres_keeps_an_issued_note_and_the_ledger() -> None:
    invoice, _ = closed_month(customer(), 61_250)
    frozen_rows_hold(invoice, draft(invoice, {"calls": 400}))
