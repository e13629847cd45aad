"""The client library of NATS as it is loaded."""

import subprocess
import sys

_CONNECT = """
import asyncio, contextlib, sys
from shared.broker.nats.client import LoginRefused, NatsClient
with contextlib.suppress(LoginRefused):
    asyncio.run(NatsClient.connect("nats://", name="x"))
print("nats" in sys.modules, "aiohttp" in sys.modules)
import aiohttp
print(aiohttp.__name__)
"""


def test_connecting_to_nats_loads_no_http_client_and_hides_none_from_others():
    done = subprocess.run([sys.executable, "-c", _CONNECT], capture_output=True, text=True, timeout=60)
    assert done.stdout == "True False\naiohttp\n", done.stderr
