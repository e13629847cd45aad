"""All metrics of Moorage, each declared here alone. docs/reference/metrics.md is written from this table:
`python -m shared.pipeline.generate`.
"""

from typing import Final

from shared.process.metrics import CounterMetric, DurationMetric, LevelMetric, Metric

_CONSUMER: Final = "worker and stage of what is handled, such as `decision-scheduled`"
_OUTCOME: Final = "`ok`, `retry` (it waits for something), `superseded`, `dead`, `failed` (a bug)"
_CAUSE: Final = "why there is a round, such as `Created` or `TargetLost`"
_DECIDED: Final = "`placed`, `refused`, `contended` (others were faster, it is decided again)"

# Messages
PROCESSED = DurationMetric(
    name="messaging.process.duration",
    help="How long a message was handled, sending what comes of it included.",
    labels={"consumer": _CONSUMER, "outcome": _OUTCOME},
)
QUEUED = DurationMetric(
    name="moorage.queue.seconds",
    help="How long ago a message was published when its handling began, at its first delivery.",
    labels={"consumer": _CONSUMER},
)
ANSWERED = DurationMetric(
    name="moorage.questions.duration",
    help="How long it took to answer what was asked by request and reply.",
    labels={"question": "worker and function, such as `decision answer`", "outcome": _OUTCOME},
)
SENT = CounterMetric(
    name="messaging.client.sent.messages",
    help="Messages that were sent to a stage; NATS drops those that it knows already.",
    labels={"stage": "the stage that they go to"},
)
RETRIES = CounterMetric(
    name="moorage.retries",
    help="Deliveries that are to come again.",
    labels={
        "consumer": _CONSUMER,
        "reason": "`waits` (the handler waits for something), `bus` (NATS did not answer), `failed` (a bug)",
    },
)
DEAD_LETTERS = CounterMetric(
    name="moorage.dead_letters",
    help="Messages that were given up and parked (moorage dead list).",
    labels={"consumer": _CONSUMER, "reason": "`rejected` (no delivery could help), `failed` (a bug, too often)"},
)
PENDING = Metric(
    name="moorage.consumer.pending",
    help="Messages that no copy has got yet, as NATS said within the last seconds; the same in every copy.",
    labels={"consumer": _CONSUMER},
)
UNACKNOWLEDGED = Metric(
    name="moorage.consumer.ack_pending",
    help="Messages that are in hand somewhere, or wait to be delivered again; the same in every copy.",
    labels={"consumer": _CONSUMER},
)
OLDEST = Metric(
    name="moorage.consumer.oldest",
    help="How long ago the oldest message was published that this copy is handling.",
    unit="s",
    labels={"consumer": _CONSUMER},
)
LONGEST_WAITS = Metric(
    name="moorage.workspace.longest_wait",
    help="The longest that a message of a workspace waited to be handled, in the last minute: the ten workspaces that"
    " waited longest.",
    unit="s",
    labels={"workspace": "a path; ten at once, and no others"},
)
MISSING = Metric(name="moorage.nats.missing", help="Streams, consumers and buckets that a worker needs and misses.")

# Tunnels
TUNNEL_STREAMS = Metric(
    name="moorage.tunnel.connections",
    help="Connections that are carried over NATS.",
    shown_by="tunnel",
)
TUNNEL_BYTES = Metric(
    name="moorage.tunnel.bytes",
    help="Bytes that were carried.",
    unit="By",
    kind="counter",
    shown_by="tunnel",
    labels={"direction": "`sent` (to workers), `received`"},
)
TUNNEL_OPENED = Metric(
    name="moorage.tunnel.opened",
    help="Connections that workers asked for.",
    kind="counter",
    shown_by="tunnel",
    labels={"outcome": "`opened`, `unreachable` (the API server), `full` (there are as many as may be)"},
)

# Placements
ROUNDS = CounterMetric(
    name="moorage.rounds",
    help="Rounds that were asked for.",
    shown_by="controller",
    labels={"cause": _CAUSE},
)
DECISIONS = CounterMetric(
    name="moorage.decisions",
    help="Rounds that were decided, each delivery once.",
    shown_by="decision",
    labels={"outcome": _DECIDED, "reason": "the code of a refusal, as docs/scheduler.md lists them; else empty"},
)
DECIDE = DurationMetric(
    name="moorage.placement.decide.seconds",
    help="From the request for a round to what was decided.",
    shown_by="decision",
    labels={"cause": _CAUSE, "outcome": _DECIDED},
)
READY = DurationMetric(
    name="moorage.placement.ready.seconds",
    help="From the request for a round to ready in every target.",
    shown_by="status",
)
PLACEMENTS = Metric(
    name="moorage.placements", help="Placements that were ever asked for and not removed.", shown_by="controller"
)
UNDECIDED = Metric(
    name="moorage.placements.waiting",
    help="Placements that could not be decided, and are tried again.",
    shown_by="controller",
)
BINDINGS = Metric(
    name="moorage.bindings",
    help="How placements are in their targets, each target counted.",
    shown_by="status",
    labels={"phase": "of a PlacementBinding, such as `Applied` or `Failed`"},
)
CONFLICTS = Metric(
    name="moorage.reservation.conflicts",
    kind="counter",
    help="Reservations that another copy or release was faster with, and that were tried again.",
    shown_by="decision",
)
OUTDATED = Metric(
    name="moorage.reservations.outdated",
    help="Reservations that are not what was decided last: for moments while something moves, for long where"
    " something hangs.",
    shown_by="decision",
)

# Targets
TARGETS = Metric(
    name="moorage.targets",
    help="Targets, by whether workloads can go there.",
    shown_by="discovery",
    labels={"state": "`ready`, `cordoned` (ready, and takes nothing new), `lost` (out of reach), `unready`"},
)
LOST_FOR = Metric(
    name="moorage.targets.lost",
    help="For how long the target has been out of reach that has been so longest; 0 where none is.",
    unit="s",
    shown_by="discovery",
)
RESERVED = Metric(
    name="moorage.targets.reserved",
    help="What placements reserve of what ready targets have for them, over all of them.",
    unit="1",
    shown_by="decision",
    labels={"resource": "`cpu`, `memory`, `pods`"},
)
BRAKE = Metric(
    name="moorage.brake.held_targets",
    help="Lost targets that nothing is moved away from, since too many were lost at once.",
    shown_by="controller",
)
STRAYS = Metric(
    name="moorage.strays",
    help="Placements that run in targets, by the inventory, where nobody decided it.",
    shown_by="discovery",
)

# Around
REQUESTED = DurationMetric(
    name="moorage.kubernetes.request.duration",
    help="How long a request to an API server took.",
    labels={
        "verb": "the HTTP method",
        "outcome": "`2xx` to `5xx`, `none` where nobody answered",
        "server": "`hub` or `target`",
    },
)
WATCHES = LevelMetric(
    name="moorage.kubernetes.watches",
    help="Watches that are open.",
    labels={"server": "`hub` or `target`"},
)
RULES = CounterMetric(
    name="moorage.policy.evaluations",
    help="Rules that were evaluated over the targets of a round.",
    shown_by="policy",
    labels={"method": "`columns`, `memo` (once for each distinct input), `target` (one by one), `none` (it could not)"},
)
REFUSALS = Metric(
    name="moorage.refusals",
    help="Refusals in this process, each of which is a line of the audit log.",
    labels={"reason": "one of shared/process/audit.py"},
    kind="counter",
)

METRICS: Final[tuple[Metric, ...]] = (
    PROCESSED, QUEUED, ANSWERED, SENT, RETRIES, DEAD_LETTERS, PENDING, UNACKNOWLEDGED, OLDEST, LONGEST_WAITS, MISSING,
    ROUNDS, DECISIONS, DECIDE, READY, PLACEMENTS, UNDECIDED, BINDINGS, CONFLICTS, OUTDATED,
    TARGETS, LOST_FOR, RESERVED, BRAKE, STRAYS,
    REQUESTED, WATCHES, RULES, REFUSALS,
    TUNNEL_STREAMS, TUNNEL_BYTES, TUNNEL_OPENED,
)  # fmt: skip
"""All of them, in the order of the reference."""


def page() -> str:
    """The reference, in Markdown."""
    lines = [
        "# Metrics",
        "",
        "<!-- Generated by python -m shared.pipeline.generate from shared/process/measured.py; do not edit. -->",
        "",
        "[metrics.md](../metrics.md) says how to read them. Names of OpenTelemetry go over OTLP, the others are on",
        "`/metrics`. Beside them are `process_*` and `python_*` of Prometheus' client: processor time, memory, files.",
        "",
        "| metric | in OpenTelemetry | kind, unit | shown by | says | labels |",
        "|---|---|---|---|---|---|",
    ]
    for each in METRICS:
        labels = "; ".join(f"`{name}`: {what}" for name, what in each.labels.items())
        kind = f"{each.kind}, {each.unit}" if each.unit else each.kind
        lines.append(f"| `{each.exposed}` | `{each.name}` | {kind} | {each.shown_by} | {each.help} | {labels} |")
    return "\n".join(lines) + "\n"
