"""What the actions of `moorage rollout` say of themselves, and their flags: all that a help text waits for."""

import argparse
from collections.abc import Callable
from typing import Final, get_args

from services.cli.support.tenant import duration
from shared.model.words import RolloutState


def _status(parser: argparse.ArgumentParser) -> None:
    parser.description = """\
How far the newest revision of a placement is: which targets have it, how they do, and what the others wait for.

  moorage rollout status shop/web
  moorage rollout status shop/web --for AwaitsApproval --timeout 10m
  moorage rollout status shop/web -o json | jq -r .state

States: Complete, Progressing, AwaitsApproval, Paused, Failed (it goes no further while a target fails). A change that
was made just now shows within seconds; until then it is of the revision before.

Exit codes: 0 it is shown, and as --for says; 1 it is not within --timeout, there is no such placement, it has no
rollout, or the hub cannot be reached; 2 the command line cannot be used.
"""
    states = get_args(RolloutState)
    parser.add_argument("--for", dest="state", choices=states, metavar="STATE", help="wait until it is so")
    parser.add_argument(
        "--timeout", type=duration, default=300.0, metavar="DURATION", help="how long, as in 90s (default: 5m)"
    )


def _pause(parser: argparse.ArgumentParser) -> None:
    parser.description = """\
Have no further target changed, until `moorage rollout resume`. Targets that are being changed just now are finished,
and what runs goes on. Later changes wait as well. Whoever may change the Placement may pause it.

  moorage rollout pause shop/web --reason "the dashboard looks odd"

Exit codes: 0 it is paused; 1 it could not be; 2 the command line cannot be used.
"""
    parser.add_argument("--reason", default="by hand", help="why, for whoever finds it later (default: by hand)")


def _resume(parser: argparse.ArgumentParser) -> None:
    parser.description = """\
Take back what `moorage rollout pause` said. It goes on within half a minute.

Exit codes: 0 it is not paused; 1 that could not be written; 2 the command line cannot be used.
"""


def _approve(parser: argparse.ArgumentParser) -> None:
    parser.description = """\
Approve the step that a rollout waits at (`approve: true` in `spec.rollout.steps`), for the revision that waits there
and for no other: another change waits for another approval. It takes the verb `approve` on the Placement. It goes on
within half a minute.

  moorage rollout approve shop/web
  moorage rollout approve shop/web --revision 3f2a9c04d1b7e865

Exit codes: 0 it is approved; 1 nothing waits for it, another revision does, or you may not; 2 the command line cannot
be used.
"""
    parser.add_argument("--revision", default="", help="only if this revision waits, as `status` shows it")


def _undo(parser: argparse.ArgumentParser) -> None:
    parser.description = """\
Write the objects of the workspace as they were in an earlier revision, as you and with your rights: the workload, what
came along with it, and the Placement's manifests and overrides. That is a change as any other, and goes by the same
steps; targets that still have that revision do not wait. Objects that the revision did not have stay.

  moorage rollout undo shop/web
  moorage rollout undo shop/web --to 3f2a9c04d1b7e865 --dry-run

Revisions are PlacementRevisions (kubectl get plr), the newest five unless `spec.rollout.revisionHistoryLimit` says
otherwise. Of Secrets no content is kept: where one has changed since, or is gone, nothing is undone. All of it is tried
(dry run) before any is written.

Exit codes: 0 it is written; 1 there is no such revision, or it cannot be gone back to; 2 the command line cannot be
used.
"""
    parser.add_argument("--to", metavar="REVISION", default="", help="which one (default: the one before)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be written, and write nothing")


FLAGS: Final[dict[str, Callable[[argparse.ArgumentParser], None]]] = {
    "status": _status,
    "pause": _pause,
    "resume": _resume,
    "approve": _approve,
    "undo": _undo,
}
