"""The key format: what is built parses, and one wrong character is noticed."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contracts import api_keys
from gateway.contracts.api_keys import KINDS, build_key, key_hash, parse_key

KEY = build_key("live", bytes(range(16)))


def test_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(api_keys).failed == 0


@given(kind=st.sampled_from(KINDS), randomness=st.binary(min_size=16, max_size=40))
def test_built_key_parses(kind: str, randomness: bytes) -> None:
    key = build_key(kind, randomness)
    parsed = parse_key(key)
    assert parsed is not None
    assert parsed.kind == kind
    assert key.startswith(parsed.shown)
    assert len(parsed.shown) < len(key) - 20


@given(position=st.integers(0, len(KEY) - 1), character=st.characters(max_codepoint=300))
def test_one_changed_character_is_refused(position: int, character: str) -> None:
    changed = KEY[:position] + character + KEY[position + 1 :]
    assert (parse_key(changed) is not None) == (changed == KEY)


@given(a=st.binary(min_size=16, max_size=16), b=st.binary(min_size=16, max_size=16))
def test_different_randomness_gives_different_keys(a: bytes, b: bytes) -> None:
    assert (build_key("live", a) == build_key("live", b)) == (a == b)


@pytest.mark.parametrize(
    "text",
    ["", "tw_", "tw_live_", "tw_root_" + KEY[8:], KEY.upper(), KEY + "0", " " + KEY, "x" * 10_000],
)
def test_foreign_text_is_refused(text: str) -> None:
    assert parse_key(text) is None


def test_too_little_randomness_is_refused() -> None:
    with pytest.raises(ValueError, match="16 random bytes"):
        build_key("live", bytes(15))


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown kind"):
        build_key("prod", bytes(16))


def test_environment_follows_the_kind() -> None:
    kinds = {kind: parse_key(build_key(kind, bytes(16))) for kind in KINDS}
    assert {k: p.environment for k, p in kinds.items() if p} == {
        "live": "live",
        "test": "test",
        "sbx": "live",
    }


def test_hash_is_of_the_whole_key() -> None:
    assert key_hash("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
