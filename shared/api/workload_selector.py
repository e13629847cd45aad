"""Which objects of a workspace a Placement places."""

from typing import Annotated

from msgspec import Meta

from shared.api.meta import ApiStruct, Name, Validation
from shared.api.selectors import LabelSelector


class WorkloadSelector(ApiStruct, frozen=True, kw_only=True):
    """Objects that are to be placed: of one kind, by name or by label, or of all common kinds, by label."""

    validations = (
        Validation("has(self.name) != has(self.labelSelector)", "exactly one of name and labelSelector must be given"),
        Validation(
            "has(self.all) && self.all ? !has(self.apiVersion) && !has(self.kind) && !has(self.name) "
            ": has(self.apiVersion) && has(self.kind)",
            "apiVersion and kind must be given, or all and a labelSelector in place of them",
        ),
        Validation(
            "!has(self.all) || !self.all || !has(self.labelSelector) "
            "|| (has(self.labelSelector.matchLabels) && size(self.labelSelector.matchLabels) > 0) "
            "|| (has(self.labelSelector.matchExpressions) && size(self.labelSelector.matchExpressions) > 0)",
            "all takes what has some label: labelSelector must name one",
        ),
    )

    api_version: Annotated[str, Meta(description="API version of the objects.", min_length=1, max_length=317)] = ""
    kind: Annotated[str, Meta(description="Kind of the objects.", min_length=1, max_length=63)] = ""
    all: Annotated[
        bool,
        Meta(
            description="If true, objects of every common kind: workloads, ConfigMaps, Secrets, ServiceAccounts, "
            "claims, Services, Ingresses, NetworkPolicies, PodDisruptionBudgets and HorizontalPodAutoscalers."
        ),
    ] = False
    name: Annotated[Name | None, Meta(description="Name of the one object.")] = None
    label_selector: Annotated[LabelSelector | None, Meta(description="Labels of the objects.")] = None
