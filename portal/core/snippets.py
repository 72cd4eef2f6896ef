"""The first call as code: the same request in three languages. Pure text."""

import json
import shlex
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Snippet:
    language: str
    text: str


def build_curl(*, url: str, key: str) -> str:
    r"""Write the call for a shell.

    >>> print(build_curl(url="http://127.0.0.1:8080/v1/a?limit=2", key="tw_test_x"))
    curl -i -H 'X-API-Key: tw_test_x' \
      'http://127.0.0.1:8080/v1/a?limit=2'
    """
    return f"curl -i -H {shlex.quote(f'X-API-Key: {key}')} \\\n  {shlex.quote(url)}"


def build_snippets(*, url: str, key: str) -> tuple[Snippet, ...]:
    """Write the call for curl, Python and JavaScript, standard libraries only."""
    quoted_url, quoted_key = json.dumps(url), json.dumps(key)
    python = (
        "from urllib.request import Request, urlopen\n\n"
        f'request = Request({quoted_url}, headers={{"X-API-Key": {quoted_key}}})\n'
        "with urlopen(request) as response:\n"
        "    print(response.status, response.read().decode())"
    )
    javascript = (
        f"const response = await fetch({quoted_url}, {{\n"
        f'  headers: {{ "X-API-Key": {quoted_key} }},\n'
        "});\n"
        "console.log(response.status, await response.json());"
    )
    return (
        Snippet("curl", build_curl(url=url, key=key)),
        Snippet("Python", python),
        Snippet("JavaScript", javascript),
    )
