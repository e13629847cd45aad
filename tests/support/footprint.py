"""What a Docker engine leaves of itself in a machine's network, and how that is taken back.

Docker keeps its bridge, its rules in iptables and the forwarding that it switched on when it ends. Only what names
Docker's chains or bridges, and was not there before, is taken: others may have changed theirs meanwhile.
"""

import fcntl
import re
import shlex
import shutil
import socket
import struct
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

TOOLS: Final = ("iptables", "ip6tables")
FORWARDING: Final = tuple(
    Path(f"/proc/sys/net/{each}")
    for each in ("ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv6/conf/default/forwarding")
)
WITHIN: Final = 30.0  # seconds
_BRIDGE: Final = re.compile(r"docker0|br-[0-9a-f]{12}")
_OURS: Final = re.compile(r"\bDOCKER|\bdocker0\b|\bbr-[0-9a-f]{12}\b")
_DOWN, _REMOVE = 0x8914, 0x89A1  # SIOCSIFFLAGS, SIOCBRDELBR


@dataclass(frozen=True)
class Footprint:
    """A machine's network, as far as Docker changes it."""

    rules: dict[str, str] = field(default_factory=dict)
    """What `iptables-save` says, and the same for IPv6."""
    bridges: frozenset[str] = frozenset()
    forwarding: dict[Path, str] = field(default_factory=dict)


def look() -> Footprint:
    """The network as it is now."""
    return Footprint(
        rules={tool: _output(f"{tool}-save") for tool in TOOLS},
        bridges=frozenset(each.name for each in Path("/sys/class/net").iterdir() if _BRIDGE.fullmatch(each.name)),
        forwarding={path: path.read_text() for path in FORWARDING if path.exists()},
    )


def removals(tool: str, before: str, after: str) -> list[list[str]]:
    """The commands by which the rules of Docker go that were not there before: rules, then chains, then what holds
    where no rule does.
    """
    was, rules, chains, policies = _parsed(before), [], [], []
    for table, line in _parsed(after):
        if (table, line) in was:
            continue
        kind, *words = shlex.split(line)
        if kind == "-A" and _OURS.search(line):
            rules.append([tool, "--wait", "-t", table, "-D", *words])
        elif kind.startswith(":") and kind[1:].startswith("DOCKER"):
            chains += [[tool, "--wait", "-t", table, "-F", kind[1:]], [tool, "--wait", "-t", table, "-X", kind[1:]]]
        elif kind == ":FORWARD" and words[0] == "DROP":  # a table that nobody had used before accepts
            policies.append([tool, "--wait", "-t", table, "-P", "FORWARD", "ACCEPT"])
    return [*rules, *(each for each in chains if "-F" in each), *(each for each in chains if "-X" in each), *policies]


def take_back(before: Footprint) -> list[str]:
    """Have the network as it was; says what could not be taken back, a sentence each."""
    after, left = look(), []
    for tool in TOOLS:
        for command in removals(tool, before.rules[tool], after.rules[tool]):
            done = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN)
            if done.returncode:
                left.append(f"{shlex.join(command)}: {done.stderr.strip()}")
    for name in sorted(after.bridges - before.bridges):
        try:
            _remove(name)
        except OSError as error:
            left.append(f"the bridge {name}: {error.strerror}")
    for path, was in before.forwarding.items():
        if path.read_text() != was:
            path.write_text(was)
    return left


def _parsed(saved: str) -> list[tuple[str, str]]:
    """Rules and chains of what was saved, each with its table, without what is counted."""
    found, table = [], ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith((":", "-A")):
            found.append((table, re.sub(r" (- )?\[\d+:\d+\]$", "", line)))
    return found


def _remove(bridge: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _DOWN, struct.pack("16sh14x", bridge.encode(), 0))
        fcntl.ioctl(control, _REMOVE, bridge.encode().ljust(16, b"\0"))


def _output(command: str) -> str:
    """Nothing, where there is no such program or it fails: then Docker has changed nothing by it either."""
    if shutil.which(command) is None:
        return ""
    done = subprocess.run([command], capture_output=True, text=True, timeout=WITHIN)
    if done.returncode:
        sys.stderr.write(f"{command}: {done.stderr.strip()}\n")
    return done.stdout
