"""A context leads to a real NATS that asks for a password, which stands in a file."""

import os
from pathlib import Path

from shared.broker.nats.server import NatsServer
from tests.support.process import process

PASSWORD = "aeQu8ohgh1"


async def test_commands_go_where_the_context_leads_by_the_password_that_its_file_has(tmp_path: Path) -> None:
    users = {"authorization": {"user": "anna", "password": PASSWORD}}
    (tmp_path / "secret").write_text(PASSWORD)
    env = {each: value for each, value in os.environ.items() if not each.startswith("MOORAGE_")}
    env["MOORAGE_CONTEXTS"] = str(tmp_path / "contexts.json")

    async def runs(*words: str, **more: str) -> tuple[int, str]:
        async with process(["moorage", *words], env | more, cwd=tmp_path) as running:
            return await running.ends(), running.output

    async with NatsServer(tmp_path / "nats", config=users) as server:
        there = ("--nats-url", server.url, "--nats-user", "anna", "--nats-password-file", "secret")
        assert (await runs("context", "set", "secured", *there))[0] == 0
        code, said = await runs("provision", "--context", "secured")
        assert code == 0, said
        assert (await runs("dead", "list"))[0] == 1
        assert (await runs("context", "use", "secured"))[0] == 0
        code, said = await runs("dead", "list")
        assert code == 0, said
        code, said = await runs("dead", "list", MOORAGE_NATS_URL="nats://127.0.0.1:1")
        assert (code, "127.0.0.1:1" in said, PASSWORD in said) == (1, True, False), said
