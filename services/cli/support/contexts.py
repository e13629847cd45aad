"""Contexts: systems by name, each as the settings that lead there, in a file of the user's.

A context has no secrets: passwords and tokens stand in files of their own, which it names. It is put into the
environment of the command, so that it means what the variables mean, and says nothing where a flag does.
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.cli.support.errors import CommandError, UsageError
from services.cli.support.local import CONTEXT, DEFAULT_DATA, LOOPBACK

if TYPE_CHECKING:
    from services.cli.support.plan import Endpoints

FILE_VARIABLE, NAME_VARIABLE = "MOORAGE_CONTEXTS", "MOORAGE_CONTEXT"
LOCAL = "local"
"""The context of what `moorage up` runs in this folder; nobody makes it."""
_SECRETS = {"nats_password_file": "nats_password", "nats_token_file": "nats_token"}
SETTINGS = {
    "nats_url": "where NATS listens; several servers separated by commas",
    "nats_user": "user for NATS",
    "nats_password_file": "file with the password of that user",
    "nats_token_file": "file with a token for NATS",
    "nats_creds": "file with NATS credentials",
    "nats_nkey": "file with the seed of an nkey",
    "nats_ca": "file with the certificate authority of NATS",
    "nats_certificate": "file with our certificate for NATS",
    "nats_key": "file with its private key",
    "nats_tls_first": "true, where NATS begins with TLS at once",
    "nats_inbox_prefix": "prefix of the subjects that answers come on",
    "nats_api_prefix": "subject of JetStream's API",
    "kubeconfig": "kubeconfig of the hub",
    "hub": "kcp or kubernetes",
    "target_allow": "networks that target clusters may be in although they are denied",
    "workspace": "path of the workspace",
    "user": "who asks on NATS",
    "jaeger_url": "where Jaeger's pages are",
}
"""What a context may say, by the names of the settings."""
FILES = {*_SECRETS, "nats_creds", "nats_nkey", "nats_ca", "nats_certificate", "nats_key", "kubeconfig"}
URLS = {"nats_url", "jaeger_url"}
_PARTS = (
    tuple(name for name in SETTINGS if name.startswith("nats_")),
    ("kubeconfig", "hub", "target_allow"),
    ("workspace",),
    ("user",),
    ("jaeger_url",),
    ("span_folder",),  # which no context names: what `moorage up` left says it
)
"""What belongs together, its address first: credentials for one system never go to another."""
_LARGEST_SECRET = 64 << 10  # bytes
Context = dict[str, str]


def path() -> Path:
    """The file: MOORAGE_CONTEXTS, or contexts.json in the user's folder of configurations."""
    if named := os.environ.get(FILE_VARIABLE):
        return Path(named)
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "moorage" / "contexts.json"


def read() -> tuple[str, dict[str, Context]]:
    """The name of the context in use, empty for none, and all contexts. Raises UsageError for what cannot be read."""
    import msgspec

    file = path()
    try:
        found = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
        contexts = msgspec.convert(found.get("contexts", {}), dict[str, Context])
        current = msgspec.convert(found.get("current", ""), str)
    except FileNotFoundError:
        return "", {}
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    except msgspec.MsgspecError as error:
        raise UsageError(f"{file} cannot be read: {error}") from None
    for name, context in contexts.items():
        check(name, context)
    return current, contexts


def check(name: str, context: Context) -> None:
    """Raises UsageError where a context says what it may not."""
    for each in context:
        if each not in SETTINGS:
            hint = f": name a file, {each}_file" if f"{each}_file" in SETTINGS else ""
            raise UsageError(f"context {name}: {each} is no setting of a context{hint}")
    if any("@" in context.get(each, "") for each in URLS):
        raise UsageError(f"context {name}: an address holds no credentials: name files with them")
    for first, *others in _PARTS:
        lacking = next((each for each in others if each in context and first not in context), None)
        if lacking is not None:
            raise UsageError(f"context {name}: {lacking} is for an address, {first}, which it does not have")


def write(current: str, contexts: Mapping[str, Context]) -> None:
    """Put them into the file, whole or not at all. Raises UsageError."""
    import msgspec

    file = path()
    content = msgspec.json.format(msgspec.json.encode({"current": current, "contexts": contexts}))
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, new = tempfile.mkstemp(dir=file.parent)  # readable to its owner alone
        try:
            with os.fdopen(handle, "wb") as opened:
                opened.write(content + b"\n")
            Path(new).replace(file)
        except BaseException:
            Path(new).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from None


def named(name: str, contexts: Mapping[str, Context]) -> Context:
    """A context by its name. Raises UsageError where there is none."""
    if name == LOCAL:
        return of_folder(endpoints(DEFAULT_DATA))
    if name not in contexts:
        raise UsageError(f"there is no context {name}; there are {', '.join([*sorted(contexts), LOCAL])}")
    return contexts[name]


def endpoints(data: Path) -> "Endpoints":
    """Where everything is that `moorage up` runs, by what it left in its folder. Raises CommandError."""
    import msgspec

    from services.cli.support.plan import Endpoints

    file = data / CONTEXT
    try:
        return msgspec.json.decode(file.read_bytes(), type=Endpoints)
    except FileNotFoundError:
        raise CommandError(f"{file} is not there: `moorage up` writes it, for as long as it runs") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    except msgspec.MsgspecError as error:
        raise UsageError(f"{file} cannot be read: {error}") from None


def of_folder(place: "Endpoints", user: str = "") -> Context:
    """What `moorage up` runs, as that user; empty: as the administrator. Raises UsageError for an unknown user."""
    if user and user not in place.users:
        raise UsageError(f"there is no user {user}; the users are {', '.join(sorted(place.users)) or 'none'}")
    kubeconfig = place.users[user] if user else place.kubeconfig
    # The sandbox's clusters are on this machine, where `doctor` and `audit` go only if they are told that they may.
    found = {"nats_url": place.nats, "kubeconfig": kubeconfig, "target_allow": LOOPBACK}
    if place.spans:
        found["span_folder"] = place.spans
    return {**found, **({"user": user} if user else {})}


def variable(name: str) -> str:
    """The variable of a setting."""
    return f"MOORAGE_{name.upper()}"


def changes(
    context: Context, given: Mapping[str, Any], environment: Mapping[str, str], *, asked_for: bool
) -> dict[str, str | None]:
    """What a context changes in the environment; None takes a variable away. Pure.

    `given` are the flags. A part whose address a flag says stays as it is. One that the context of the flag
    --context (`asked_for`) has replaces the environment's; one of the context in use is beside what the environment
    says, unless that says the address.
    """
    found: dict[str, str | None] = {}
    for part in _PARTS:
        first = part[0]
        if first not in context or given.get(first) or (not asked_for and variable(first) in environment):
            continue
        for each in part:
            target = variable(_SECRETS.get(each, each))
            if each in context:
                if asked_for or target not in environment:
                    found[target] = context[each]
            elif asked_for and target in environment:
                found.setdefault(target, None)
    if (kubeconfig := found.get(variable("kubeconfig"))) is not None:
        found["KUBECONFIG"] = kubeconfig
    return found


def apply(name: str | None, given: Mapping[str, Any]) -> None:
    """Have the environment say what a context says: this one, else that of MOORAGE_CONTEXT, else the one in use.

    An empty name means none. `given` are the flags. Raises CommandError.
    """
    asked_for = name is not None
    if not asked_for:
        name = os.environ.get(NAME_VARIABLE)
    if name == "" or (name is None and not path().is_file()):
        return
    current, contexts = read()
    name = current if name is None else name
    if not name:
        return
    context = named(name, contexts)
    files = {variable(setting): file for file, setting in _SECRETS.items()}
    for target, value in changes(context, given, os.environ, asked_for=asked_for).items():
        if value is None:
            os.environ.pop(target, None)
        else:
            os.environ[target] = _secret(Path(value)) if target in files else value


def _secret(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as opened:
            return opened.read(_LARGEST_SECRET).strip()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file} cannot be read: it is no text") from None
