"""Somebody who sends an API server what they like, by plain HTTP."""

import json
from typing import Any

import aiohttp

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"


class Actor:
    """Somebody with a kubeconfig; `headers` are added to each of their requests."""

    def __init__(
        self, session: aiohttp.ClientSession, kubeconfig: dict[str, Any], workspace: str = "", **headers: list[str]
    ) -> None:
        server = kubeconfig["clusters"][0]["cluster"]["server"]
        self._session = session
        self._kubeconfig = kubeconfig
        self._server = f"{server.partition('/clusters/')[0]}/clusters/{workspace}" if workspace else server
        self._workspace = workspace
        self._headers = headers

    def acting(self, user: str, **headers: list[str]) -> "Actor":
        """The same, asking to act as somebody else: `Impersonate-User` and other headers, named with `_` for `-`."""
        return Actor(self._session, self._kubeconfig, self._workspace, Impersonate_User=[user], **headers)

    async def send(self, method: str, path: str, body: Any = None, type: str = "application/json") -> tuple[int, Any]:
        """The status code and the answer."""
        sent = [("Authorization", f"Bearer {self._kubeconfig['users'][0]['user']['token']}"), ("Content-Type", type)]
        sent += [(name.replace("_", "-"), value) for name, values in self._headers.items() for value in values]
        data = None if body is None else json.dumps(body)
        async with self._session.request(method, self._server + path, data=data, headers=sent) as answer:
            return answer.status, await answer.json(content_type=None)

    async def ok(self, method: str, path: str, body: Any = None, type: str = "application/json") -> Any:
        """The answer to what is taken."""
        status, answer = await self.send(method, path, body, type)
        assert status < 300, answer
        return answer

    async def refused(self, method: str, path: str, body: Any = None, type: str = "application/json") -> str:
        """What is said to what is forbidden."""
        status, answer = await self.send(method, path, body, type)
        assert status == 403, answer
        return str(answer["message"])
