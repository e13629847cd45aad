"""WorkloadKind: a kind that a team declares, to be counted, divided, followed and judged like the built-in ones."""

from typing import Annotated, Literal

from msgspec import Meta

from shared.api.meta import ApiObject, ApiStruct, NonNegative, Validation

FieldPath = Annotated[
    str, Meta(pattern=r"^[A-Za-z_][-A-Za-z0-9_]*(\.[A-Za-z_][-A-Za-z0-9_]*)*$", min_length=1, max_length=253)
]
"""Names of fields from the outside in, with dots between them, such as spec.template."""

StateMeaning = Literal["Healthy", "Progressing", "Degraded", "Unhealthy", "Succeeded", "Failed"]


class CountField(ApiStruct, frozen=True, kw_only=True):
    """A number by which pods are multiplied."""

    path: Annotated[FieldPath, Meta(description="Field with the number.")]
    default: Annotated[NonNegative, Meta(description="The number where the field is absent.", le=2147483647)] = 1
    at_least: Annotated[
        FieldPath | None, Meta(description="Field with a number; where it is more, it counts instead.")
    ] = None
    at_most: Annotated[
        FieldPath | None, Meta(description="Field with a number; where it is less, it counts instead.")
    ] = None


class PodGroup(ApiStruct, frozen=True, kw_only=True):
    """Pods of one template, or of one template per item of a list or map."""

    each: Annotated[
        FieldPath | None, Meta(description="List or map whose items have the other fields; absent means the object.")
    ] = None
    template: Annotated[FieldPath, Meta(description="The pod template.")]
    counts: Annotated[
        tuple[CountField, ...],
        Meta(description="How many pods there are: the product of these; none means one.", max_length=4),
    ] = ()


class NameField(ApiStruct, frozen=True, kw_only=True):
    """A field that names another object of the namespace, besides those that pod templates have."""

    each: Annotated[
        FieldPath | None, Meta(description="List or map whose items have the field; absent means the object.")
    ] = None
    path: Annotated[FieldPath, Meta(description="Field with the name.")]
    kind: Annotated[
        Literal["ConfigMap", "PersistentVolumeClaim", "Secret", "Service", "ServiceAccount"],
        Meta(description="Kind of the object that is named."),
    ]
    optional: Annotated[bool, Meta(description="If true, the object may be missing.")] = False


class StateRule(ApiStruct, frozen=True, kw_only=True):
    """What a condition, or a value of a field, means."""

    validations = (
        Validation("has(self.condition) != has(self.path)", "exactly one of condition and path must be given"),
    )

    means: Annotated[
        StateMeaning,
        Meta(description="Health of the object; Succeeded and Failed say that it ran to its end and stays ended."),
    ]
    condition: Annotated[
        Annotated[str, Meta(min_length=1, max_length=316)] | None, Meta(description="Type of a condition that is True.")
    ] = None
    path: Annotated[FieldPath | None, Meta(description="Field that is looked at.")] = None
    values: Annotated[
        tuple[Annotated[str, Meta(max_length=253)], ...],
        Meta(description="Its values that have this meaning; none means any.", max_length=32),
    ] = ()


class WorkloadKindSpec(ApiStruct, frozen=True, kw_only=True):
    """Where an object of the kind keeps its pods, how many they are, what it refers to, and how it is."""

    validations = (
        Validation(
            "!self.group.endsWith('.k8s.io') && self.group.contains('.')",
            "the kinds of Kubernetes itself are known, and cannot be declared",
        ),
        Validation(
            "!has(self.replicas) || (has(self.pods) && size(self.pods) == 1 && !has(self.pods[0].each) "
            "&& (!has(self.pods[0].counts) || size(self.pods[0].counts) == 0))",
            "replicas are of one template that the object itself has, without counts",
        ),
        Validation("!has(self.ready) || has(self.replicas)", "ready needs replicas"),
        Validation(
            "!(has(self.onEveryNode) && self.onEveryNode && has(self.replicas))",
            "onEveryNode and replicas exclude each other",
        ),
    )

    group: Annotated[str, Meta(description="API group.", pattern=r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$", max_length=253)]
    kind: Annotated[str, Meta(description="Kind.", pattern=r"^[A-Z][A-Za-z0-9]*$", max_length=63)]
    pods: Annotated[
        tuple[PodGroup, ...], Meta(description="Its pods; none means that it has none to count.", max_length=16)
    ] = ()
    replicas: Annotated[
        FieldPath | None,
        Meta(
            description="Number of pods that can be divided among targets; absent means that the object is counted as "
            "a whole and never divided."
        ),
    ] = None
    ready: Annotated[FieldPath | None, Meta(description="Number of replicas that are ready.")] = None
    on_every_node: Annotated[bool, Meta(description="If true, there is a pod on each node of a target.")] = False
    grows: Annotated[
        tuple[FieldPath, ...],
        Meta(
            description="Fields that, where they are true, have somebody change the number of pods later. Such an "
            "object is refused.",
            max_length=16,
        ),
    ] = ()
    expires: Annotated[
        FieldPath | None,
        Meta(
            description="Field that, where it is set, has the object deleted some time after its end, besides "
            "spec.ttlSecondsAfterFinished. Such an object that is gone is not run again, though nobody saw its end."
        ),
    ] = None
    references: Annotated[
        tuple[NameField, ...], Meta(description="Objects that come along, by name.", max_length=32)
    ] = ()
    states: Annotated[
        tuple[StateRule, ...],
        Meta(
            description="What its conditions and fields mean; the first that holds counts. Where none holds, it is in "
            "progress if one means Healthy; else its ready replicas count, or its conditions Ready or Available.",
            max_length=32,
        ),
    ] = ()


class WorkloadKind(ApiObject, frozen=True, kw_only=True, tag="WorkloadKind"):
    """A kind of workload, declared for its workspace and every workspace below it."""

    spec: Annotated[WorkloadKindSpec, Meta(description="The kind.")]
