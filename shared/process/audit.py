"""Refusals, for those who watch over Moorage: a log line each, under the logger `moorage.audit`, and a count by reason.

The sentence that somebody is refused with leaks nothing. What it leaves out (who asked, what a name resolved to) is
here.
"""

import logging
from collections import Counter
from typing import Final, Literal, get_args

from shared.process.measured import REFUSALS

log = logging.getLogger("moorage.audit")

Reason = Literal[
    "AddressNotAllowed",  # a kubeconfig leads where the operator does not allow clients of targets to go
    "NotCountable",  # what a Placement would run cannot be said beforehand
    "NotAuthorized",  # a requester may not use a target that was proposed, or written as decided
    "NotDecided",  # a message commands what the hub does not say
    "TooManyPlacements",  # a workspace has more Placements than the operator allows it
    "TooManyRounds",  # a workspace asks for more rounds than the operator allows it; they are made later
    "TooManyTargets",  # a workspace offers more targets than the operator allows it
    "AnotherCluster",  # a kubeconfig leads to another cluster than discovery found by it
    "NamespaceProtected",  # something was to be placed into a namespace where nothing may be
    "NamespaceClaimed",  # ... into a namespace of a target that is another workspace's, or nobody's
    "KindNotAllowed",  # ... of a kind that the target's owner does not take
    "NotReadable",  # something was to be placed that the requester may not get
    "NotOurs",  # ... over an object that was in the target before
    "DuplicateCluster",  # a SyncTarget offers a cluster that another one offers
]
"""Everything that is refused; the set is bounded, so that counts can be kept by it."""

REASONS: Final[frozenset[str]] = frozenset(get_args(Reason))
MOST = 256  # characters of a fact; somebody hostile may have chosen it

refusals: Final[Counter[str]] = Counter()
"""How many refusals there were in this process, by reason."""

METRIC: Final = REFUSALS.read(lambda: {(reason,): refusals[reason] for reason in REASONS})
"""The same, to be shown: those that never were as well."""


def refused(reason: Reason, *, requester: str = "", placement: str = "", target: str = "", **facts: object) -> None:
    """Log a refusal, and count it. `placement` and `target` are ids; what is empty is left out.

    Raises ValueError for a reason that is not one of `REASONS`.
    """
    if reason not in REASONS:
        raise ValueError(f"{reason} is no reason for a refusal")
    refusals[reason] += 1
    named = {"reason": reason, "requester": requester, "placement": placement, "target": target, **facts}
    log.warning("refused", extra={name: plain(value) for name, value in named.items() if value not in ("", None)})


def plain(value: object) -> str:
    """Text of one line and of bounded length: what strangers wrote must not write log lines of its own."""
    return "".join(each if each.isprintable() else "\ufffd" for each in str(value)[:MOST])
