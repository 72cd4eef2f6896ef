"""How much keys are used: last use, seven days by day, the last hour."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from metering.errors import MeteringUnavailableError
from metering.queries import Dimension, UsageFilter
from portal.core.usage_view import bucket_of, build_buckets, build_range
from portal.models import Credential, Environment, Organization
from portal.usage import reader

_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class KeyActivity:
    """One key's use. `days` are calls of the last seven days, today last; `last_hour` calls."""

    last_used_at: datetime | None = None
    days: tuple[Decimal, ...] = ()
    last_hour: int = 0

    @property
    def calls(self) -> int:
        return int(sum(self.days))


@dataclass(frozen=True, slots=True)
class Activity:
    """The use of several keys, or the news that it cannot be read."""

    unavailable: bool = False
    last_used: Mapping[str, datetime] = field(default_factory=dict)
    by_day: Mapping[tuple[str, datetime], int] = field(default_factory=dict)
    last_hour: Mapping[str, int] = field(default_factory=dict)
    days: tuple[datetime, ...] = ()

    def of(self, key_id: str) -> KeyActivity | None:
        """Return one key's use; None when it cannot be read."""
        if self.unavailable:
            return None
        return KeyActivity(
            last_used_at=self.last_used.get(key_id),
            days=tuple(Decimal(self.by_day.get((key_id, day), 0)) for day in self.days),
            last_hour=self.last_hour.get(key_id, 0),
        )


def activity_of(
    *, organization: Organization, keys: Sequence[Credential], at: datetime
) -> Activity:
    """Read the use of an organization's keys, in both environments where both are present."""
    if not keys:
        return Activity()
    environments = sorted({key.environment for key in keys} & set(Environment.values))
    try:
        return _read(organization, [key.pk for key in keys], environments, at)
    except MeteringUnavailableError:
        return Activity(unavailable=True)


def _read(
    organization: Organization, key_ids: list[str], environments: list[str], at: datetime
) -> Activity:
    week = build_range(preset="7d", first="", last="", now=at)
    by_day: dict[tuple[str, datetime], int] = {}
    last_hour: dict[str, int] = {}
    for environment in environments:
        whole = UsageFilter(
            start=week.start,
            end=at,
            environment=environment,
            organization_id=organization.pk,
            credential_id=key_ids[0] if len(key_ids) == 1 else "",
        )
        for row in reader().usage(whole, by=(Dimension.CREDENTIAL, Dimension.DAY)).rows:
            day = bucket_of(row.group[Dimension.DAY])
            by_day[(row.group[Dimension.CREDENTIAL], day)] = row.events
        recent = replace(whole, start=at - _HOUR)
        for row in reader().usage(recent, by=(Dimension.CREDENTIAL,)).rows:
            last_hour[row.group[Dimension.CREDENTIAL]] = row.events
    last_used = reader().last_used(credential_ids=key_ids)
    return Activity(False, last_used, by_day, last_hour, build_buckets(week))
