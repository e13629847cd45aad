"""`moorage context`: systems by name, which all commands take by --context."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from services.cli.support import contexts
from services.cli.support.errors import UsageError
from services.cli.support.output import aligned, note

DESCRIPTION = """\
Name the systems that you work with: where NATS and the hub are, and which files hold the credentials.

  moorage context set prod --nats-url tls://nats.example.com:4222 --nats-creds ~/prod.creds --kubeconfig ~/prod.yaml
  moorage context use prod             every command that connects goes there from now on
  moorage doctor --context prod        this one does
  moorage context use --none           none does

What holds, first to last: flags; --context; variables such as MOORAGE_NATS_URL; the context that MOORAGE_CONTEXT names;
the one in use; KUBECONFIG. Where NATS or the hub is said higher up, nothing of a lower context is taken for it, so that
credentials go nowhere else. `local` is what `moorage up` runs in this folder.

Contexts are kept in ~/.config/moorage/contexts.json (or where MOORAGE_CONTEXTS says), and hold no secrets: those stand
in files of their own, which a context names.
"""
UNSET = "an empty text takes it away"


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "context", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = _add(actions, "list", _list, "all contexts; * is before the one in use")
    listing.add_argument("-o", "--output", choices=("table", "json", "name"), default="table", help="default: table")
    show = _add(actions, "show", _show, "what a context says")
    show.add_argument("name", metavar="NAME", nargs="?", default="", help="default: the one in use")
    show.add_argument("-o", "--output", choices=("yaml", "json"), default="yaml", help="default: yaml")
    use = _add(actions, "use", _use, "take a context for all commands from now on")
    use.add_argument("name", metavar="NAME", nargs="?", default="", help="which one")
    use.add_argument("--none", action="store_true", help="use no context")
    change = _add(actions, "set", _set, f"make a context, or change what is given of one; {UNSET}")
    change.add_argument("name", metavar="NAME", help="its name")
    for name, text in contexts.SETTINGS.items():
        flag = f"--{name.replace('_', '-')}"
        change.add_argument(flag, dest=name, default=argparse.SUPPRESS, metavar="VALUE", help=text)
    delete = _add(actions, "delete", _delete, "forget a context; the files that it names stay")
    delete.add_argument("name", metavar="NAME", help="which one")


def _add(actions: Any, name: str, action: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(run=run, action=action)
    return parser


def run(args: argparse.Namespace) -> int:
    """Do it."""
    args.action(args)
    return 0


def _list(args: argparse.Namespace) -> None:
    current, known = contexts.read()
    if args.output == "json":
        _print_json({"current": current, "contexts": known})
        return
    if args.output == "name":
        sys.stdout.write("".join(f"{name}\n" for name in sorted(known)))
        return
    rows = [["", "NAME", "NATS", "KUBECONFIG", "WORKSPACE", "USER"]]
    for name, found in sorted(known.items()):
        cells = [found.get(each, "-") for each in ("nats_url", "kubeconfig", "workspace", "user")]
        rows.append(["*" if name == current else "", name, *cells])
    what = ["moorage up in this folder", "", "", ""]
    rows.append(["*" if current == contexts.LOCAL else "", contexts.LOCAL, *what])
    sys.stdout.write("\n".join(aligned(rows)) + "\n")


def _show(args: argparse.Namespace) -> None:
    current, known = contexts.read()
    name = args.name or current
    if not name:
        raise UsageError("no context is in use: say which, or `moorage context use NAME`")
    found = contexts.named(name, known)
    if args.output == "json":
        _print_json(found)
        return
    import yaml

    sys.stdout.write(yaml.safe_dump(found, sort_keys=False))


def _use(args: argparse.Namespace) -> None:
    if bool(args.name) == args.none:
        raise UsageError("say which: either NAME, or --none")
    _, known = contexts.read()
    if args.name and args.name != contexts.LOCAL:
        contexts.named(args.name, known)
    contexts.write(args.name, known)
    note(f"{args.name} is in use" if args.name else "no context is in use")


def _set(args: argparse.Namespace) -> None:
    if args.name == contexts.LOCAL or not args.name or args.name.startswith("-"):
        raise UsageError(f"a context cannot be called {args.name!r}")
    current, known = contexts.read()
    given = {name: vars(args)[name] for name in contexts.SETTINGS if name in vars(args)}
    for name in contexts.FILES & given.keys():
        given[name] = given[name] and str(Path(given[name]).expanduser().absolute())
    found = {**known.get(args.name, {}), **given}
    found = {name: found[name] for name in contexts.SETTINGS if found.get(name)}
    contexts.check(args.name, found)
    contexts.write(current, {**known, args.name: found})
    note(f"{args.name} is {'changed' if args.name in known else 'made'}")


def _delete(args: argparse.Namespace) -> None:
    current, known = contexts.read()
    if args.name not in known:
        raise UsageError(f"there is no context {args.name}")
    del known[args.name]
    contexts.write("" if args.name == current else current, known)
    note(f"{args.name} is forgotten")


def _print_json(value: Any) -> None:
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value)).decode() + "\n")
