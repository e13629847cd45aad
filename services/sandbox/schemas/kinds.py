"""The kinds that are built in, as the definitions that would serve them."""

from pathlib import Path

from services.sandbox.data import load

KINDS = load(Path(__file__).with_name("kinds.yaml"))
# Kinds that mean something to the server itself, as they are stored.
NAMESPACES = "namespaces"
DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"
WORKSPACES = "workspaces.tenancy.kcp.io"
