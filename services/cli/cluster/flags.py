"""What the actions of `moorage cluster` say of themselves, and their flags: all that a help text waits for."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

from services.cli.support.flags import add_hub_argument
from services.cli.support.tenant import duration


def _join(parser: argparse.ArgumentParser) -> None:
    parser.description = """\
Offer a cluster for placements. In the cluster, as its administrator, it makes an account for Moorage that may do what
the workers do there and no more; on the hub a Secret with its kubeconfig, a SyncTarget, and RBAC for who may use it.
Then it waits until the cluster is Ready. Run it again with the same flags to repair or upgrade: it changes what
differs, and keeps a token that works.

  moorage cluster join north-1 --cluster-kubeconfig north-1.kubeconfig \\
      --label topology.kubernetes.io/region=north --allow-group team-a
  moorage cluster join north-1 --cluster-kubeconfig north-1.kubeconfig --dry-run

Exit codes: 0 it is Ready; 1 it is refused, or not Ready within --timeout; 2 the command line or a file cannot be used.
"""
    parser.add_argument("name", metavar="NAME", help="name of the cluster here")
    parser.add_argument(
        "--cluster-kubeconfig",
        type=Path,
        required=True,
        metavar="FILE",
        help="kubeconfig of the cluster's administrator",
    )
    parser.add_argument("--cluster-context", default="", help="context in that file (default: its current one)")
    parser.add_argument(
        "--server", default="", metavar="URL", help="where workers reach the cluster (default: as that file says)"
    )
    parser.add_argument(
        "--agent",
        action="store_true",
        help="workers cannot connect to it: an agent beside it carries their connections over NATS (docs/pull.md)",
    )
    parser.add_argument(
        "--label", action="append", default=[], metavar="KEY=VALUE", help="label of the cluster; repeatable"
    )
    parser.add_argument(
        "--allow-group", action="append", default=[], metavar="GROUP", help="who may use it; repeatable"
    )
    parser.add_argument("--allow-user", action="append", default=[], metavar="USER", help="who may use it; repeatable")
    parser.add_argument(
        "--resource",
        action="append",
        default=[],
        metavar="PLURAL.GROUP",
        help="what else may be placed there, as certificates.cert-manager.io; repeatable",
    )
    parser.add_argument(
        "--keep-namespaces",
        action="store_true",
        help="give no right to remove namespaces that Moorage made, nor the right to list everything which that takes",
    )
    parser.add_argument(
        "--timeout", type=duration, default=120.0, metavar="DURATION", help="how long to wait for Ready (default: 2m)"
    )
    parser.add_argument("--no-wait", action="store_true", help="do not wait until it is Ready")
    parser.add_argument(
        "--dry-run", action="store_true", help="look, print all manifests without secrets, and change nothing"
    )
    _add_hub(parser)


def _leave(parser: argparse.ArgumentParser) -> None:
    parser.description = """\
Offer a cluster no more: its SyncTarget, its Secret and the right to use it go, and in the cluster the account's tokens.
It refuses while something is placed there, as the hub and the cluster itself say; --drain has it leave first.

  moorage cluster leave north-1 --drain
  moorage cluster leave north-1 --cluster-kubeconfig north-1.kubeconfig   # with the account's roles in the cluster
  moorage cluster leave lost-1 --abandon                                 # it is gone for good

A cluster that workers reach by an access provider or through a tunnel may not be reached from here. While it is Ready,
this looks into it by --cluster-kubeconfig, and is refused without.

--abandon is for a cluster that does not answer and will not again: what is placed there is placed elsewhere, and what
still runs there, if it does, is left running, known to nobody. It is refused while the cluster is Ready.

Exit codes: 0 it has left; 1 it has not, and nothing is changed but what is said; 2 the command line or a file cannot be
used.
"""
    parser.add_argument("name", metavar="NAME", help="name of the cluster")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--drain", action="store_true", help="first have everything leave it")
    how.add_argument("--abandon", action="store_true", help="it is gone for good: leave there what is there")
    parser.add_argument(
        "--timeout", type=duration, default=600.0, metavar="DURATION", help="how long --drain waits (default: 10m)"
    )
    parser.add_argument(
        "--cluster-kubeconfig",
        type=Path,
        metavar="FILE",
        help="kubeconfig of the cluster's administrator, to look into it; the account goes with its roles then, not "
        "its tokens alone",
    )
    parser.add_argument("--cluster-context", default="", help="context in that file (default: its current one)")
    _add_hub(parser)


def _list(parser: argparse.ArgumentParser) -> None:
    parser.description = """\
The clusters that a workspace offers: whether each is Ready, whether it takes anything new, how much is placed there and
free. FREE is what nodes have, less what others run there and what is reserved for the placements of all workspaces that
you may see; of placements that you may not see it knows nothing.

  moorage cluster list
  moorage cluster list --all-workspaces -o json | jq '.clusters[] | select(.ready | not)'
  moorage cluster list -o name | xargs -n 1 moorage cluster cordon
  moorage cluster list --watch
"""
    parser.add_argument("-A", "--all-workspaces", action="store_true", help="those of all workspaces that you may see")
    parser.add_argument("-w", "--watch", action="store_true", help="stay, and show what has changed, until Ctrl-C")
    parser.add_argument(
        "-o", "--output", choices=("table", "json", "name"), default="table", help="json, name: for scripts"
    )
    _add_hub(parser)


def _describe(parser: argparse.ArgumentParser) -> None:
    parser.description = """\
One cluster: how it is, what it has, who may use it by `moorage cluster allow`, and what runs there, of all workspaces
that you may see.

  moorage cluster describe north-1
"""
    parser.add_argument("name", metavar="NAME", help="name of the cluster")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="json: for scripts")
    _add_hub(parser)


def _allow(parser: argparse.ArgumentParser) -> None:
    parser.description = """\
Let groups and users place in a cluster: the verb `use` on its SyncTarget, by the ClusterRole and the ClusterRoleBinding
moorage-use-NAME in its workspace. Other roles may give the same right: they are not touched. Who loses it keeps what
runs there until the next round of that placement.

  moorage cluster allow north-1 --group team-a --group team-b
  moorage cluster allow north-1 --group team-b --revoke
"""
    parser.add_argument("name", metavar="NAME", help="name of the cluster")
    parser.add_argument("--group", action="append", default=[], metavar="GROUP", help="repeatable")
    parser.add_argument("--user", action="append", default=[], metavar="USER", help="repeatable")
    parser.add_argument("--revoke", action="store_true", help="take the right from them")
    _add_hub(parser)


def _cordon(parser: argparse.ArgumentParser) -> None:
    parser.description = """\
Have a cluster take no placement that is not there already (`spec.unschedulable`). What runs there stays, and goes on
being updated; `moorage cluster drain` has it leave, `moorage cluster uncordon` takes both back.
"""
    parser.add_argument("name", metavar="NAME", help="name of the cluster")
    _add_hub(parser)


def _uncordon(parser: argparse.ArgumentParser) -> None:
    parser.description = """\
Have a cluster take placements again: takes back `moorage cluster cordon`, and the taint of `moorage cluster drain`.
What has left does not come back by itself, unless its Placement says so (`spec.stability.rebalance`). Taints of others
stay, and are named.
"""
    parser.add_argument("name", metavar="NAME", help="name of the cluster")
    _add_hub(parser)


def _drain(parser: argparse.ArgumentParser) -> None:
    parser.description = """\
Have everything that Moorage placed leave a cluster: it takes nothing new (cordon), and gets the taint
placement.moorage.io/drain with the effect NoExecute. Each placement is decided anew, and is taken away here once it is
healthy where it goes; what fits nowhere else stays, runs on, and is named. The workers bound how many move at a time.
`moorage cluster uncordon` ends it, also before it is through.

  moorage cluster drain north-1 --dry-run
  moorage cluster drain north-1 --timeout 1h

--dry-run says where each would go, decided on paper by the pipeline's own code, one after the other; it changes
nothing. Ctrl-C, and --timeout, end the command and not the drain: call it again to see how far it is.

Exit codes: 0 nothing is placed there any more (--dry-run: everything would leave); 1 something stays, and is named;
2 the command line or a file cannot be used.
"""
    parser.add_argument("name", metavar="NAME", help="name of the cluster")
    parser.add_argument("--dry-run", action="store_true", help="say where everything would go, and change nothing")
    parser.add_argument(
        "--timeout", type=duration, default=600.0, metavar="DURATION", help="how long to wait (default: 10m)"
    )
    parser.add_argument(
        "--trusted-providers",
        metavar="PATHS",
        help="with --dry-run: whose targets are candidates for everybody, by comma, as discovery is set (default: all)",
    )
    parser.add_argument(
        "-o", "--output", choices=("table", "json"), default="table", help="of --dry-run; json: for scripts"
    )
    _add_hub(parser)


def _rotate(parser: argparse.ArgumentParser) -> None:
    parser.description = """\
Give workers another token of the account that `join` made in a cluster. The new one is tried before it is written into
the Secret; the former ones are revoked only --grace later, when all workers have taken it up, and the cluster is still
Ready. The account does that itself, so that the cluster's administrator is not needed.

  moorage cluster rotate north-1

Exit codes: 0 done; 1 not done, and the token so far still works; 2 the command line or a file cannot be used.
"""
    parser.add_argument("name", metavar="NAME", help="name of the cluster")
    parser.add_argument(
        "--grace",
        type=duration,
        default=30.0,
        metavar="DURATION",
        help="how long the former token works on, so that all workers take up the new one (default: 30s)",
    )
    _add_hub(parser)


def _agent(parser: argparse.ArgumentParser) -> None:
    parser.description = """\
Print the manifests of the agent beside a cluster that was joined with --agent: a Deployment, the Secret with the seed
by which it is known to NATS, a PodDisruptionBudget and a NetworkPolicy. It has no account in the cluster.

  moorage nats permissions --seeds keys --tunnel north-1=ID > permissions.conf
  moorage cluster agent north-1 --nkey keys/tunnel-north-1.nk --nats-url tls://nats.example:4222 | kubectl apply -f -

Exit codes: 0 printed; 1 there is no such cluster, or it needs none; 2 the command line or a file cannot be used.
"""
    parser.add_argument("name", metavar="NAME", help="name of the cluster")
    parser.add_argument(
        "--nkey",
        type=Path,
        required=True,
        metavar="FILE",
        help="seed of the agent's user in NATS, as made with --tunnel",
    )
    parser.add_argument("--nats-url", required=True, metavar="URL", help="where the agent reaches NATS, or a leaf node")
    parser.add_argument("--nats-ca", type=Path, metavar="FILE", help="certificate authority of NATS")
    parser.add_argument("--image", default="", metavar="IMAGE", help="image to run (default: moorage, in this version)")
    _add_hub(parser)


def _add_hub(parser: argparse.ArgumentParser) -> None:
    """The flags that say which hub, and which workspace of it."""
    add_hub_argument(parser)
    parser.add_argument(
        "--workspace",
        default="",
        metavar="PATH",
        help="workspace that offers it, as root:platform (default: MOORAGE_WORKSPACE, or that of the kubeconfig)",
    )


FLAGS: Final[dict[str, Callable[[argparse.ArgumentParser], None]]] = {
    "join": _join,
    "leave": _leave,
    "list": _list,
    "describe": _describe,
    "allow": _allow,
    "cordon": _cordon,
    "uncordon": _uncordon,
    "drain": _drain,
    "rotate": _rotate,
    "agent": _agent,
}
