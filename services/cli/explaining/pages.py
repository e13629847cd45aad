"""An explanation for a terminal: tables as wide as it is, and colour on a terminal alone."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from services.cli.explaining.explanation import (
    ExplainedOutcome,
    ExplainedRejection,
    ExplainedRequest,
    ExplainedTarget,
    Explanation,
)
from services.cli.support.output import printable
from shared.api import AppliedOverride
from shared.kube.quantity import parse_quantity
from shared.model.policy import EXEMPT
from shared.model.resources import spoken

STYLES: dict[ExplainedOutcome, str] = {"Placed": "green", "Refused": "yellow", "Idle": "dim", "Undecided": "yellow"}
WIDTH_ELSEWHERE = 160
"""Columns where there is no terminal."""
INDENT = (0, 2)
MOST_ROWS = 20
"""Targets of one table; with `wide` all."""
PARTS, ALL_PARTS = 3, 64
"""Scorers shown of a target, those with most points first; with `wide` all."""


def console() -> Console:
    """Where it is shown: as wide as the terminal; NO_COLOR in the environment takes colour away."""
    width = None if sys.stdout.isatty() else WIDTH_ELSEWHERE
    return Console(highlight=False, emoji=False, markup=False, width=width)


def show(out: Console, found: Explanation, *, wide: bool = False) -> None:
    """All of one explanation."""
    title = Text(f"{found.namespace}/{found.name}  ", "bold")
    title.append(found.outcome, STYLES[found.outcome])
    out.print(title)
    out.print(Padding(Text(printable(found.summary)), INDENT, expand=False))
    if found.outdated:
        out.print(
            Padding(
                Text("The Placement has changed since; that version is not decided yet.", "yellow"),
                INDENT,
                expand=False,
            )
        )
    if found.decided_at:
        out.print(Padding(Text(_when(found), "dim"), INDENT, expand=False))
    if found.refusal:
        helps = f"{found.refusal}: {found.meaning or 'a reason that this version does not know'}"
        out.print(Padding(Text(helps, "yellow"), INDENT, expand=False))
        _helps(out, found.helps)
    if found.request is not None:
        _lines(out, "Asked for (ClusterRequest)", _asked_for(found.request))
    if found.selected:
        heading = "Still in (nothing better could be decided)" if found.refusal else "Chosen"
        _targets(out, heading, found.selected, wide=wide)
    _targets(out, "Better scores that were passed over", found.passed_over, wide=wide)
    _targets(out, "Next", [each for each in found.alternates if not each.passed_over], wide=wide)
    if found.rejected:
        _rejected(out, found.rejected)
    _lines(out, "Overridden by operators", map(_override, found.overrides))
    _lines(out, "Not as it should be", found.conditions)
    _lines(out, "History", (_change(each.when, each.why, each.from_, each.to) for each in found.history))


def summary(out: Console, found: Sequence[Explanation]) -> None:
    """One line for each of several."""
    table = _table("NAMESPACE", "NAME", "OUTCOME", "TARGETS", "WHY")
    for each in found:
        names = ", ".join(_short(target.target) for target in each.selected)
        table.add_row(
            each.namespace, each.name, Text(each.outcome, STYLES[each.outcome]), names, printable(each.summary)
        )
    out.print(table)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def _targets(out: Console, heading: str, targets: Sequence[ExplainedTarget], *, wide: bool) -> None:
    if not targets:
        return
    out.print(Text(f"\n{heading}", "bold"))
    table = _table("TARGET", "SCORE", "REPLICAS", "HEALTH", "WHY")
    most = ALL_PARTS if wide else PARTS
    for each in targets if wide else targets[:MOST_ROWS]:
        shown = [f"{part.scorer} {part.points:.1f} ({part.raw:.0f}×{part.weight:g})" for part in each.shares[:most]]
        more = " + …" if len(each.shares) > most else ""
        why = Text(printable(each.passed_over or each.reason))
        why.append(f"\n{' + '.join(shown)}{more}" if shown else "", "dim")
        rules = sorted(each.rules.items()) if wide else sorted(_exempt(each.rules).items())
        why.append("".join(f"\nrule {name}: {printable(outcome)}" for name, outcome in rules), "dim")
        replicas = "-" if each.replicas is None else str(each.replicas)
        table.add_row(_short(each.target), f"{each.score:.1f}", replicas, each.health or "-", why)
    out.print(Padding(table, INDENT, expand=False))
    if not wide and len(targets) > MOST_ROWS:
        out.print(Padding(Text(f"and {len(targets) - MOST_ROWS} more (-o wide)", "dim"), INDENT))


def _exempt(rules: Mapping[str, str]) -> Mapping[str, str]:
    """The rules that do not count, by a PolicyException: who looks at a target that they are false on wonders why."""
    return {name: outcome for name, outcome in rules.items() if EXEMPT in outcome}


def _rejected(out: Console, rejected: Sequence[ExplainedRejection]) -> None:
    out.print(Text("\nNot in", "bold"))
    table = _table("TARGETS", "REASON", "WHY, AND WHAT WOULD HELP")
    for each in rejected:
        some = ", ".join(map(_short, each.targets))
        more = each.count - len(each.targets)
        names = f"{some} and {more} more" if some and more > 0 else some or f"{each.count} of them"
        said = [f"{message.count} {message.message}" for message in each.messages] or [each.meaning]
        details = [f"   {message.detail}" for message in each.messages if message.detail]
        why = Text(printable("; ".join(said)))
        why.append("".join(f"\n{printable(detail.strip())}" for detail in details))
        why.append(f"\n→ {each.helps}" if each.helps else "", "cyan")
        table.add_row(names, each.reason, why)
    out.print(Padding(table, INDENT, expand=False))
    for each in rejected:
        if each.apply:
            out.print(Text(f"\nAgainst {each.reason}", "bold"))
            out.print(Padding(Text(as_yaml(each.apply).rstrip(), "cyan"), INDENT, expand=False))


def as_yaml(objects: Iterable[object]) -> str:
    """Objects as YAML documents."""
    import yaml

    plain = [msgspec.to_builtins(each) for each in objects]
    return str(yaml.safe_dump_all(plain, sort_keys=False, allow_unicode=True, width=100))


def _helps(out: Console, words: str) -> None:
    if words:
        out.print(Padding(Text(f"→ {words}", "cyan"), INDENT, expand=False))


def _lines(out: Console, heading: str, lines: Iterable[str]) -> None:
    lines = list(lines)
    if lines:
        out.print(Text(f"\n{heading}", "bold"))
        for line in lines:
            out.print(Padding(Text(printable(line)), INDENT, expand=False))


def _asked_for(request: ExplainedRequest) -> Iterator[str]:
    if not request.targets:
        yield f"since {request.since}"
        return
    many = "a target" if request.targets == 1 else f"{request.targets} targets, each"
    amounts = ", ".join(f"{name} {spoken(name, parse_quantity(each))}" for name, each in request.resources.items())
    replicas = "" if request.replicas is None else f" for {request.replicas} replicas"
    yield f"{many} with {amounts or 'room'} free{replicas}, since {request.since}"
    yield from request.conditions or ("nobody has said anything of it yet",)


def _when(found: Explanation) -> str:
    trace = f", trace {found.trace}" if found.trace else ""
    return (
        f"{found.strategy}, {found.considered} targets looked at, attempt {found.attempt} of generation "
        f"{found.generation}, decided at {found.decided_at}{trace}"
    )


def _change(when: str, why: str, before: Iterable[object], after: Iterable[object]) -> str:
    left = ", ".join(str(getattr(each, "name", each)) for each in before)
    came = ", ".join(str(getattr(each, "name", each)) for each in after)
    return f"{when}  {left or 'nowhere'} → {came or 'nowhere'}  ({why})"


def _override(override: AppliedOverride) -> str:
    targets = ", ".join(each.name for each in override.targets)
    over = " beyond its room" if override.over_commit else ""
    until = f"until {override.expires_at}" if override.expires_at else "until it is taken back"
    return f"{override.name}: {override.type} {targets}{over}, {until}: {override.reason}"


def _short(target: str) -> str:
    return target.rpartition("/")[2]
