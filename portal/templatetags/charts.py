"""Charts in templates: server-rendered SVG, no script, no inline style."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django import template

from portal.core.chart_layout import (
    HEIGHT,
    LEFT,
    RIGHT,
    WIDTH,
    BarChart,
    build_gauge,
    build_layout,
    spark_points,
)
from portal.templatetags.ledger import quantity

register = template.Library()


@register.inclusion_tag("portal/charts/bars.html")
def bar_chart(chart: BarChart, chart_id: str = "chart", table: bool = True) -> dict[str, Any]:
    """Draw stacked bars; `table=False` where the page shows the same numbers itself."""
    return {
        "chart": chart,
        "layout": build_layout(chart),
        "id": chart_id,
        "table": table,
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "text_x": LEFT - 8,
        "right": WIDTH - RIGHT,
        "axis_y": HEIGHT - 6,
    }


@register.inclusion_tag("portal/charts/sparkline.html")
def sparkline(values: Sequence[Decimal], label: str) -> dict[str, Any]:
    """Draw 80 by 20 pixels of history; `label` says in words what they show."""
    return {"points": spark_points(list(values)), "label": label}


@register.simple_tag
def gauge(used: Any, included: Any, limit: Any = "") -> dict[str, Any]:
    """Compute a gauge; empty figures count as zero, an empty limit as none."""
    spent, free = _decimal(used), _decimal(included)
    scaled = build_gauge(
        used=spent, included=free, limit=None if limit in ("", None) else _decimal(limit)
    )
    return {
        "inside": scaled.inside,
        "over": scaled.over,
        "mark": scaled.mark,
        "over_zone": scaled.over_zone,
        "percent": scaled.percent,
        "used_text": quantity(spent),
        "included_text": quantity(free),
    }


def _decimal(value: Any) -> Decimal:
    return Decimal(0) if value in ("", None) else Decimal(str(value))
