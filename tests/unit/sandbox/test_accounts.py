"""Tokens of ServiceAccounts in target clusters."""

import base64
from typing import Any

from services.sandbox.schemas.checks import ACCOUNT_NAME, OF_ACCOUNT

SECRETS = "/api/v1/namespaces/default/secrets"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
RBAC = "/apis/rbac.authorization.k8s.io/v1"


def token_secret(name: str = "token") -> dict[str, Any]:
    metadata = {"name": name, "annotations": {ACCOUNT_NAME: "robot"}}
    return {"apiVersion": "v1", "kind": "Secret", "type": OF_ACCOUNT, "metadata": metadata}


async def token(target: Any, name: str = "token") -> str:
    await target("POST", SECRETS, token_secret(name), expect=201)
    found = await target("GET", f"{SECRETS}/{name}")
    return base64.b64decode(found["data"]["token"]).decode()


async def account(target: Any) -> None:
    body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}}
    await target("POST", ACCOUNTS, body, expect=201)


async def test_a_token_is_its_accounts_and_may_what_rbac_gives_the_account(target):
    await account(target)
    robot = target.at(target.cluster, await token(target))
    await robot("GET", "/api/v1/namespaces", expect=403)
    subject = {"kind": "ServiceAccount", "name": "robot", "namespace": "default"}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "robot"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [subject],
    }
    await target("POST", f"{RBAC}/clusterrolebindings", binding, expect=201)
    await robot("GET", "/api/v1/namespaces")
    await robot("DELETE", "/api/v1/namespaces/default", expect=403)


async def test_a_token_is_good_as_long_as_its_secret_is_there(target):
    await account(target)
    first, second = await token(target), await token(target, "other")
    await target("DELETE", f"{SECRETS}/token")
    await target.at(target.cluster, first)("GET", "/version", expect=401)
    await target.at(target.cluster, second)("GET", "/version")


async def test_with_its_account_a_token_and_its_secret_go(target):
    await account(target)
    known = await token(target)
    await target("DELETE", f"{ACCOUNTS}/robot")
    await target.at(target.cluster, known)("GET", "/version", expect=401)
    await target("GET", f"{SECRETS}/token", expect=404)


async def test_a_secret_of_no_account_gets_no_token_and_one_that_names_none_is_refused(target):
    await target("POST", SECRETS, token_secret(), expect=201)
    assert "data" not in await target("GET", f"{SECRETS}/token")
    nameless = {"apiVersion": "v1", "kind": "Secret", "type": OF_ACCOUNT, "metadata": {"name": "nobodys"}}
    await target("POST", SECRETS, nameless, expect=422)
