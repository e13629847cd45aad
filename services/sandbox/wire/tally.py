"""How many requests of each form came: from whom, to the hub or to targets, of which verb, for which resource."""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from services.sandbox.state.clusters import TARGET_PREFIX
from services.sandbox.wire.http import Request
from services.sandbox.wire.paths import Path, verb

MOST = 4_096  # forms that are told apart


class Form(NamedTuple):
    """The form of a request. `agent` is the client by its User-Agent, without its version; `where` is `hub` or
    `target`; `resource` has the subresource (`placements/status`), or is the first part of a path without one.
    """

    agent: str
    where: str
    verb: str
    resource: str


OTHERS = Form("others", "", "", "")
"""Requests of forms beyond the bound."""


class Tally:
    """Requests counted since the start, by form; those that are refused count too."""

    def __init__(self) -> None:
        self._counts: Counter[Form] = Counter()

    def add(self, request: Request, path: Path) -> None:
        named = path.resource
        form = Form(
            request.headers.get("user-agent", "unknown").partition("/")[0][:100],
            "target" if path.cluster.startswith(TARGET_PREFIX) else "hub",
            verb(request, named),
            named.asked[:100] if named else "".join(path.parts[:1])[:100],
        )
        self._counts[form if form in self._counts or len(self._counts) < MOST else OTHERS] += 1

    def __iter__(self) -> Iterator[tuple[Form, int]]:
        return iter(sorted(self._counts.items()))
