"""The portal's tables; Django loads them through this package, so here the names are gathered."""

from portal.models.api import Api, Meter, Route, Upstream
from portal.models.consumer import ApiToken, Consumer, Credential, Environment
from portal.models.organization import (
    Invitation,
    Membership,
    Organization,
    Role,
    StaffRole,
    User,
)
from portal.models.plan import Plan, PlanVersion
from portal.models.subscription import BillingPeriod, Segment, Subscription
from portal.models.system import (
    AuditEvent,
    IdempotentCall,
    Node,
    NodeBoot,
    ProductClock,
    SnapshotDirty,
    SnapshotVersion,
    UsageAlert,
)

__all__ = [
    "Api",
    "ApiToken",
    "AuditEvent",
    "BillingPeriod",
    "Consumer",
    "Credential",
    "Environment",
    "IdempotentCall",
    "Invitation",
    "Membership",
    "Meter",
    "Node",
    "NodeBoot",
    "Organization",
    "Plan",
    "PlanVersion",
    "ProductClock",
    "Role",
    "Route",
    "Segment",
    "SnapshotDirty",
    "SnapshotVersion",
    "StaffRole",
    "Subscription",
    "Upstream",
    "UsageAlert",
    "User",
]
