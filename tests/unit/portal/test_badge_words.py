"""A badge begins with a capital wherever it stands: one state, one word, one case."""

import re
from pathlib import Path

import pytest

TEMPLATES = Path(__file__).parents[3] / "templates"
BADGE = re.compile(r"<c-badge[^>]*>(?P<text>.*?)</c-badge>", re.DOTALL)
FIXED = re.compile(r'{% translate "(?P<word>[^"]+)" %}')


def fixed_words() -> list[tuple[str, str]]:
    return [
        (path.name, found["word"])
        for path in sorted(TEMPLATES.rglob("*.html"))
        for badge in BADGE.finditer(path.read_text())
        for found in FIXED.finditer(badge["text"])
    ]


def test_badges_with_fixed_words_are_found() -> None:
    assert len(fixed_words()) > 20


@pytest.mark.parametrize(("template", "word"), fixed_words())
def test_a_badge_begins_with_a_capital(template: str, word: str) -> None:
    assert word[0].isupper(), f"{template}: {word}"
