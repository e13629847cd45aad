"""The picture as text. Each function returns lines; colour is added to what the words say, and never says more."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from rich.text import Text

from services.cli.demo.picture import DemoPicture, Figures, Loss, State, cluster_id, cluster_of
from services.cli.support.plan import Endpoints
from shared.api import REGION_LABEL, SyncTarget, TargetReference
from shared.api.decision import Rejection, ScoredTarget
from shared.model.refs import PlacementRef, TargetRef

STYLES: dict[State, str] = {"waiting": "dim", "refused": "yellow", "binding": "cyan", "running": "green"}
HEALTH = {"Healthy": "green", "Progressing": "cyan", "Degraded": "yellow", "Unhealthy": "red", "Unknown": "yellow"}
PARTS = 4
"""Scorers shown per cluster, the largest contributions first; the PlacementDecision has all."""


def clusters(picture: DemoPicture) -> list[Text]:
    """One line per cluster: where, how big, and what is special about it."""
    width = _width(picture.clusters)
    lines = []
    for cluster, target in sorted(picture.clusters.items()):
        line = Text(f"  {_name(cluster):<{width}}  ")
        line.append(f"{target.metadata.labels.get(REGION_LABEL, ''):<10}")
        line.append(f"{target.status.nodes:>2} nodes {target.status.allocatable.get('cpu', '?'):>5} cpu  ")
        line.append("ready" if picture.ready(cluster) else "not ready", "green" if picture.ready(cluster) else "red")
        line.append("".join(f", {note}" for note in _notes(target)), "dim")
        lines.append(line)
    return lines


def _notes(target: SyncTarget) -> list[str]:
    """The features of a cluster, beside its size."""
    notes = [f"{taint.effect} {taint.key}" for taint in target.spec.taints]
    allowed = target.spec.allowed_workspaces
    if allowed is not None and allowed.paths:
        notes.append(f"only for {', '.join(allowed.paths)}")
    if target.status.apis and not any(api.group == "batch" for api in target.status.apis):
        notes.append("serves no batch/v1")
    return notes


def stages(picture: DemoPicture) -> Text:
    """How many placements have passed each stage of the pipeline."""
    line = Text("  ")
    for number, (stage, passed) in enumerate(picture.stages.items()):
        line.append(" > " if number else "")
        line.append(f"{stage} {len(passed)}", "bold" if passed else "dim")
    return line


def headline(picture: DemoPicture, ref: PlacementRef) -> Text:
    """One placement in one line: how far it is, and where or why not."""
    state = picture.state(ref)
    line = Text(f"  {_short(ref):<20}  ")
    line.append(f"{state:<8}", STYLES[state])
    if state == "refused":
        line.append(f"  {picture.decisions[ref].status.rationale}")
    elif state != "waiting":
        line.append(f"  on {', '.join(map(_name, picture.selected(ref)))}")
    line.rstrip()
    return line


def unfinished(picture: DemoPicture) -> list[Text]:
    """The unfinished: placements under way, and clusters that are not ready."""
    waiting = [headline(picture, ref) for ref in sorted(picture.created) if picture.state(ref) != "running"]
    return waiting + [
        Text(f"  {_name(name)} is not ready") for name in sorted(picture.clusters) if not picture.ready(name)
    ]


def decision(picture: DemoPicture, ref: PlacementRef) -> list[Text]:
    """Chosen clusters with scores and health, those that come next, and the others with reasons."""
    found = picture.decisions[ref].status
    width = _width(picture.clusters)
    title = Text(f"  {_short(ref)}", "bold")
    title.append(f"  {found.rationale}", "not bold")
    lines = [title]
    placed = picture.placed(ref)
    for chosen in found.selected:
        line = _scored("chosen", "green", chosen, width)
        status = placed.get(TargetRef.of(chosen.target).id)
        if status is not None:
            line.append("  ").append(status.health, HEALTH[status.health])
        lines.append(line)
    for alternate in found.alternates:
        lines.append(_scored("next", "cyan", alternate, width))
        if alternate.passed_over:
            lines.append(Text(" " * 11).append(alternate.passed_over, "yellow"))
    for reason, rejection in sorted(found.rejected.items()):
        line = Text("    ").append(f"{'not':<7}", "yellow").append(_rejected(rejection))
        lines.append(line.append(f": {words(reason)}", "yellow"))
    return lines


def _rejected(rejection: Rejection) -> str:
    """Some names and how many more there are; the number alone where the names are not for the requester."""
    names = ", ".join(_name(sample) for sample in rejection.samples)
    more = rejection.count - len(rejection.samples)
    if not names:
        return f"{more} cluster{'s' if more > 1 else ''}"
    return f"{names} and {more} more" if more > 0 else names


def _scored(word: str, style: str, scored: ScoredTarget, width: int) -> Text:
    """A cluster with its score, and the scorers that it is made of."""
    line = Text("    ").append(f"{word:<7}", style)
    line.append(f"{scored.target.name:<{width}} {scored.score:>5.1f}", "bold" if word == "chosen" else "")
    parts = sorted(scored.breakdown.items(), key=lambda part: (-part[1].weighted, part[0]))
    shown = " + ".join(f"{name} {part.weighted:.1f}" for name, part in parts[:PARTS])
    more = " + ..." if len(parts) > PARTS else ""
    return line.append(f" = {shown}{more}" if shown else "", "dim")


def bindings(picture: DemoPicture, ref: PlacementRef) -> list[Text]:
    """The objects applied for a placement, cluster by cluster."""
    lines = []
    width = _width(picture.clusters)
    placed = picture.placed(ref)
    for binding in sorted(picture.bindings_of(ref), key=lambda one: one.spec.target.name):
        kinds = sorted(Counter(one.ref.kind for one in binding.status.objects).items())
        line = Text(f"  {_short(ref):<20}  {binding.spec.target.name:<{width}}  {binding.status.phase:<8}  ")
        target = placed.get(cluster_of(binding))
        if target is not None:
            line.append(f"{target.health:<11}  ", HEALTH[target.health])
        lines.append(line.append(", ".join(f"{count} {kind}" for kind, count in kinds), "dim"))
    return lines


def loss(picture: DemoPicture, lost: Loss) -> list[Text]:
    """The fate of the placements on a cluster that was lost."""
    lines = [
        Text(f"  noticed after {lost.noticed:.1f} s, decided anew after {lost.decided:.1f} s, ").append(
            f"running elsewhere after {lost.running:.1f} s", "green"
        )
    ]
    for ref in lost.affected:
        before = {cluster_id(one) for one in _before(picture, ref)}
        gained = [_name(cluster) for cluster in picture.selected(ref) if cluster not in before]
        line = Text(f"  {_short(ref):<20}  {_name(lost.cluster)} -> {', '.join(gained) or 'fewer clusters'}")
        lines.append(line.append(f", now on {', '.join(map(_name, picture.selected(ref)))}", "dim"))
    return lines


def _before(picture: DemoPicture, ref: PlacementRef) -> tuple[TargetReference, ...]:
    history = picture.decisions[ref].status.history
    return history[0].from_ if history else ()


def summary(figures: Figures, lost: Loss | None) -> list[Text]:
    """All of it in numbers."""
    rows = {
        "placements": f"{figures.placements}, of which {figures.refused} refused with a reason",
        "bindings": f"{figures.bindings}, with {figures.objects} objects applied",
        "created to decided": f"p50 {figures.decided_median * 1000:.0f} ms, max {figures.decided_most * 1000:.0f} ms",
        "messages": f"{figures.messages} over NATS JetStream",
    }
    if lost is not None:
        rows["cluster lost"] = f"{_name(lost.cluster)}: {len(lost.affected)} placements moved in {lost.running:.1f} s"
    if figures.restarts:
        rows["processes restarted"] = str(figures.restarts)
    rows["time"] = f"{figures.seconds:.0f} s"
    return [Text(f"  {label:<20}  {value}") for label, value in rows.items()]


def look_around(place: Endpoints, picture: DemoPicture, users: Mapping[str, str], commands: str) -> list[Text]:
    """Commands to look around with, as they can be pasted.

    `users` are the workspaces that have content, with who applied it; `commands` is the folder of our commands, with a
    slash, where it is not on the PATH.
    """
    lines = []
    for workspace in sorted({ref.workspace for ref in picture.created}):
        kubectl = f"{commands}kubectl --kubeconfig {place.users[users[workspace]]}"
        lines.append(Text(f"  # as {users[workspace]}, in {workspace}", "dim"))
        lines.append(Text(f"  {kubectl} get placements,placementdecisions,placementbindings -A"))
        lines.append(Text(f"  {kubectl} describe placements -A"))
    busiest = max(picture.clusters, key=lambda cluster: (len(picture.on(cluster)), cluster))
    lines.append(Text(f"  # in the cluster {_name(busiest)}", "dim"))
    lines.append(Text(f"  {commands}kubectl --kubeconfig {place.targets[_name(busiest)]} get deployments -A"))
    lines.append(Text("  # the messages of the pipeline, events of placements, and messages that were given up", "dim"))
    lines.append(Text(f"  nats --server {place.nats} sub 'moorage.pipeline.>'"))
    lines.append(Text(f"  nats --server {place.nats} sub 'moorage.events.>'"))
    lines.append(Text(f"  {commands}moorage dead list --nats-url {place.nats}"))
    lines.append(Text(f"  # logs are in {place.logs}", "dim"))
    return lines


def words(reason: str) -> str:
    """A reason code as people write it: `PolicyForbids` is `policy forbids`, `MissingAPI` is `missing API`."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]+|[a-z]+", reason)
    return " ".join(part if len(part) > 1 and part.isupper() else part.lower() for part in parts)


def _short(ref: PlacementRef) -> str:
    return f"{ref.namespace}/{ref.name}"


def _name(cluster: str) -> str:
    return TargetRef.parse(cluster).name


def _width(names: Iterable[str]) -> int:
    return max((len(_name(cluster)) for cluster in names), default=0)
