"""Kinds of workloads that workspaces declare."""

from shared.api import WorkloadKindSpec
from shared.model.value import Value


class DeclaredKind(Value, frozen=True, kw_only=True):
    """A WorkloadKind in force: it holds in `workspace` and in every workspace below."""

    workspace: str
    name: str
    spec: WorkloadKindSpec
