"""The vendored browser files are what the manifest says, and nothing else lies beside them."""

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
VENDOR = ROOT / "static" / "vendor"


def packages() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((VENDOR / "manifest.json").read_text())["packages"]
    return found


def test_every_file_is_listed_with_its_hash() -> None:
    listed = {f["path"]: f["sha256"] for package in packages() for f in package["files"]}
    present = {
        str(path.relative_to(VENDOR)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    assert present == listed


def test_every_package_names_its_licence_and_is_credited() -> None:
    credits_page = (ROOT / "THIRD_PARTY.md").read_text().lower()
    for package in packages():
        assert package["licence"]
        assert package["source"].startswith("npm:")
        assert package["name"].split("-")[0] in credits_page
        assert package["version"] in credits_page


@pytest.mark.parametrize(
    ("folder", "limit_bytes"), [("js", 8 * 1024), ("css", 52 * 1024)], ids=["modules", "styles"]
)
def test_own_files_stay_light(folder: str, limit_bytes: int) -> None:
    files = (ROOT / "static" / folder).glob("*")
    assert sum(len(gzip.compress(path.read_bytes())) for path in files) <= limit_bytes


def test_templates_hold_no_inline_style_or_script() -> None:
    for path in (ROOT / "templates").rglob("*.html"):
        text = path.read_text()
        assert " style=" not in text, path
        assert "<style" not in text, path
        assert "<script" not in text.replace('<script type="module" src=', ""), path
        assert "onclick=" not in text, path
