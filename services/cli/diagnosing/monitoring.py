"""What each NATS server says of itself on its monitoring port: whether its JetStream works, and how full it is."""

import asyncio
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

from services.cli.diagnosing.faults import Checkup, FoundFault, sorted_faults
from services.cli.diagnosing.replicas import full

ANSWER_WITHIN = 5.0  # seconds
MOST_BYTES = 1 << 20  # of an answer


async def examine(urls: Sequence[str]) -> Checkup:
    """Ask each server at these addresses, which begin with http:// or https://."""
    found = await asyncio.gather(*(asyncio.to_thread(_server, url) for url in urls))
    return Checkup(
        part="NATS servers", looked_at=len(urls), faults=sorted_faults(each for some in found for each in some)
    )


def _server(url: str) -> list[FoundFault]:
    try:
        well, health = _answer(f"{url}/healthz")
        _, state = _answer(f"{url}/jsz")
        if not well:
            said = str(health.get("error") or health.get("status") or "it does not say why")
            return [FoundFault(fault="JetStreamStopped", where=f"server at {url}", message=said)]
        return list(
            full(f"server at {url}", state.get("storage", 0), (state.get("config") or {}).get("max_storage", 0))
        )
    except (OSError, http.client.HTTPException) as error:
        why = str(getattr(error, "reason", error)) or type(error).__name__
        return [FoundFault(fault="MonitoringUnreachable", where=f"server at {url}", message=why)]
    except (ValueError, AttributeError, TypeError):
        said = "what answers there is no monitoring port of NATS"
        return [FoundFault(fault="MonitoringUnreachable", where=f"server at {url}", message=said)]


def _answer(url: str) -> tuple[bool, dict[str, Any]]:
    """Whether the server says that all is well, and what it says."""
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_WITHIN) as answer:  # noqa: S310 - the caller checked the scheme
            return True, json.loads(answer.read(MOST_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            return False, json.loads(error.read(MOST_BYTES))
