"""Exceptions from policies on the whole pipeline: who grants them, for whom, until when, and what is seen of them."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.hub.resources import EXCEPTIONS, PLACEMENTS, POLICIES
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.resources import EVENTS
from shared.kube.times import rfc3339
from tests.support import worlds
from tests.support.below import NOWHERE, TENANT, tenant_below
from tests.support.manifests import condition, exception, policy
from tests.support.together import Together

FOR_TENANT = {"workspaces": [TENANT]}


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[Together]:
    async with tenant_below(tmp_path) as found:
        yield found


@pytest.fixture
async def above(system: Together) -> Client:
    """Alice's workspace, with a policy that lets nobody in anywhere: bob has no rights there."""
    client = system.admin.cluster(worlds.TEAM)
    await client.create(POLICIES, policy("closed", NOWHERE))
    return client


async def test_what_is_granted_with_the_policy_counts_and_is_seen_until_it_is_taken_back(
    system: Together, above: Client
) -> None:
    await system.place("web", worlds.deployment("web"))
    await system.reaches("web", "Unschedulable")
    await above.create(EXCEPTIONS, exception("lift", "closed", rules=["nowhere"], match=FOR_TENANT))
    status = await system.reaches("web", "Ready")
    (chosen,) = (await system.decision("web"))["selected"]
    assert chosen["policy"] == {"root:team/closed/nowhere": "true, exempt by lift"}
    warning = condition(status, "PolicyWarning")["message"]
    assert "exempt from root:team/closed/nowhere by lift: not there" in warning
    events = (await system.user.list(EVENTS, worlds.NAMESPACE)).items
    assert warning in [each["message"] for each in events if each["reason"] == "PolicyWarning"]

    await above.delete(EXCEPTIONS, "lift")
    status = await system.reaches("web", "Unschedulable")
    assert "not there" in condition(status, "Scheduled")["message"]


async def test_an_exception_ends_at_its_time_without_anybody_doing_anything(system: Together, above: Client) -> None:
    await above.create(EXCEPTIONS, exception("lift", "closed", match=FOR_TENANT, expires="2999-01-01T00:00:00Z"))
    await system.place("web", worlds.deployment("web"))
    await system.reaches("web", "Ready")
    await above.merge_patch(EXCEPTIONS, "lift", {"spec": {"expiresAt": rfc3339(time.time() + 2.0)}})
    await system.reaches("web", "Unschedulable")


async def test_a_tenant_exempts_itself_in_no_way(system: Together, above: Client) -> None:
    """In its own workspace, with the path of the other in a name or an annotation, by labels, or without rights."""
    await above.create(EXCEPTIONS, exception("late", "closed", match=FOR_TENANT, expires="2020-01-01T00:00:00Z"))
    await above.create(EXCEPTIONS, exception("other", "closed", match={"workspaces": ["root:rival"]}))
    await above.create(EXCEPTIONS, exception("unlike", "open", match=FOR_TENANT))
    await system.user.create(EXCEPTIONS, exception("mine", "closed", match=FOR_TENANT))
    forged = exception("forged", "closed", match=FOR_TENANT)
    forged["metadata"]["annotations"] = {"kcp.io/path": worlds.TEAM, "kcp.io/cluster": worlds.TEAM}
    await system.user.create(EXCEPTIONS, forged)
    for refused in (
        exception("path", "root:team:closed", match=FOR_TENANT),
        exception("endless", "closed", match=FOR_TENANT, expires=None),
        exception("silent", "closed", match=FOR_TENANT, reason=""),
        exception("everybody", "closed", match={}),
    ):
        with pytest.raises(ApiError) as raised:
            await system.user.create(EXCEPTIONS, refused)
        assert raised.value.status == 422
    with pytest.raises(ApiError) as raised:
        await system.user.cluster(worlds.TEAM).create(EXCEPTIONS, exception("there", "closed", match=FOR_TENANT))
    assert raised.value.forbidden

    await system.place("web", worlds.deployment("web"))
    marks: dict[str, Any] = {"labels": {"exempt": "yes"}, "annotations": {"placement.moorage.io/exemption": "late"}}
    await system.user.merge_patch(PLACEMENTS, "web", {"metadata": marks}, worlds.NAMESPACE)
    status = await system.reaches("web", "Unschedulable")
    assert "not there" in condition(status, "Scheduled")["message"]
    assert not await system.chosen("web")
