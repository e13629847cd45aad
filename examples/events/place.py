"""Ask for a placement over NATS, and follow it until it is ready: docs/publish.md."""

import asyncio
import json
import re
import uuid
from os import environ as env
from pathlib import Path

import nats
from nats.js.api import AckPolicy, ConsumerConfig


def token(name: str) -> str:
    """A name as one token of a subject: every byte but A-Za-z0-9_- is written =XX."""
    return re.sub(rb"[^A-Za-z0-9_-]", lambda byte: b"=%02X" % byte[0][0], name.encode()).decode() or "="


async def main() -> None:
    connection = await nats.connect(env["MOORAGE_NATS_URL"], nkeys_seed=env.get("MOORAGE_NATS_NKEY"))
    stream = connection.jetstream(prefix=env.get("MOORAGE_NATS_API_PREFIX", "$JS.API"))
    answers = await connection.subscribe(inbox := connection.new_inbox())
    asked = {"specversion": "1.0", "source": "/examples", "type": "io.moorage.placement.place.v1", "replyto": inbox}
    event = {**asked, "id": str(uuid.uuid4()), "data": json.loads(Path(__file__).with_name("hello.json").read_text())}
    subject = f"moorage.requests.{token(env['MOORAGE_WORKSPACE'])}.{token(env['MOORAGE_USER'])}.place"
    await stream.publish(subject, json.dumps(event).encode())
    answer = json.loads((await answers.next_msg(timeout=30)).data)
    print(answer["type"], accepted := answer["data"])
    if answer["type"] != "io.moorage.placement.accepted.v1":
        raise SystemExit(1)
    config = ConsumerConfig(ack_policy=AckPolicy.NONE)
    events = await stream.pull_subscribe(accepted["events"], stream="MOORAGE_EVENTS", config=config)
    ready = ("io.moorage.placement.ready.v1", accepted["uid"], accepted["generation"])
    while (event["type"], event["data"].get("uid"), event["data"].get("generation")) != ready:
        print((event := json.loads((await events.fetch(1, timeout=120))[0].data))["type"], event.get("time", ""))
    await connection.close()


asyncio.run(main())
