"""The shape that a draft's terms and limits must have to be stored and drawn. Pure.

Values may be wrong, as they are typed; what publishing asks of them say `plan_terms` and
`plan_limits`. Rows must be rows though, or the editor could not show the draft to be mended.
"""

from collections.abc import Mapping
from typing import Any, Final

from portal.core.checked_input import Problem, path_of

_WORDS: Final = ("key", "meter", "model")  # looked up in tables, so texts where they are given


def draft_problems(terms: Mapping[str, Any], limits: Mapping[str, Any]) -> tuple[Problem, ...]:
    """Return what is no list of objects where rows belong, or no text where a word belongs.

    >>> draft_problems({"prices": [{"model": "graduated", "tiers": 5}]}, {})
    (Problem(path='terms.prices[0].tiers', code='not_a_list', message='must be a list'),)
    """
    problems: list[Problem] = []
    for path, price in _rows(terms, "prices", "terms", problems):
        _rows(price, "tiers", path, problems)
    _rows(limits, "quotas", "limits", problems)
    _rows(limits, "rate_limits", "limits", problems)
    if not isinstance(limits.get("count_policy") or {}, dict):
        path = "limits.count_policy"
        problems.append(Problem(path, "not_an_object", "must be an object"))
    for path, item in _listed(limits, "routes", "limits", problems):
        _check_text(path, item, problems)
    return tuple(problems)


def _listed(
    source: Mapping[str, Any], name: str, parent: str, problems: list[Problem]
) -> list[tuple[str, Any]]:
    path, value = path_of(parent, name), source.get(name)
    if value is not None and not isinstance(value, list):
        problems.append(Problem(path, "not_a_list", "must be a list"))
        return []
    return [(path_of(path, index), item) for index, item in enumerate(value or [])]


def _rows(
    source: Mapping[str, Any], name: str, parent: str, problems: list[Problem]
) -> list[tuple[str, dict[str, Any]]]:
    rows = []
    for path, item in _listed(source, name, parent, problems):
        if isinstance(item, dict):
            rows.append((path, item))
            for word in _WORDS:
                _check_text(path_of(path, word), item.get(word, ""), problems)
        else:
            problems.append(Problem(path, "not_an_object", "must be an object"))
    return rows


def _check_text(path: str, value: object, problems: list[Problem]) -> None:
    if not isinstance(value, str):
        problems.append(Problem(path, "not_a_text", "must be a text"))
