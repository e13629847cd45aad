"""Where an attack is tried: in the sandbox, and on real API servers, where what counts is what a server does."""

import pytest

SANDBOX, REAL_TARGET, REAL_HUB = "sandbox", "a real target", "a real hub"
ACCOUNT = "system:serviceaccount:moorage-system:"
EVERYBODY = ("alice", "mallory", *(f"{ACCOUNT}{worker}" for worker in ("decision", "binding", "status", "controller")))
"""Who has all rights in RBAC on real servers: tenants, and workers by name."""

REAL = [pytest.mark.servers, pytest.mark.xdist_group("servers-security"), pytest.mark.timeout(240)]

in_any_target = pytest.mark.parametrize("scene", [SANDBOX, pytest.param(REAL_TARGET, marks=REAL)], indirect=True)
"""The target's API server decides."""

on_any_hub = pytest.mark.parametrize("scene", [SANDBOX, pytest.param(REAL_HUB, marks=REAL)], indirect=True)
"""The hub's API server decides."""
