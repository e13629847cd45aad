"""A question on its way through the stages: what one of them answers is what the next one is asked."""

import asyncio

from shared.broker.batches import Batches
from shared.model.request import Request
from shared.pipeline.messages import Discovered, Evaluated, Message, Requested, Scheduled, encode

ASKED_ABOUT: tuple[type[Message], ...] = (Requested, Discovered, Evaluated, Scheduled)
"""The messages that the stages are asked about, in pipeline order."""


async def what_would_be_decided(stages: Batches, request: Request, *, timeout: float) -> bytes:
    """The `DecisionAnswer` to a request with a question, encoded.

    Answers are passed on as they are. Questions of one workspace go together. Raises `Unanswered` where a stage has no
    answer, or all together have none within `timeout` seconds.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + timeout
    payload = encode(Requested(request=request))
    for kind in ASKED_ABOUT:
        left = max(0.0, until - loop.time())
        payload = await stages.ask(kind.asked_on(), payload, owner=request.placement.workspace, timeout=left)
    return payload
