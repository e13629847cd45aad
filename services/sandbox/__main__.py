"""Run the sandbox alone: `python -m services.sandbox --world FILE --port N --data DIR`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None, prog: str = "python -m services.sandbox") -> int:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument("--world", type=Path, help="YAML or JSON file; a small world of three targets by default")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: loopback)")
    parser.add_argument("--advertise", default="", help="host that kubeconfigs name (default: the one of --host)")
    parser.add_argument("--port", type=int, default=6443, help="0 takes any free port (default: 6443)")
    parser.add_argument("--data", type=Path, default=Path(".moorage/sandbox"), help="where kubeconfigs are written")
    options = parser.parse_args(argv)

    import uvloop  # none of this before: help is to be there at once

    from services.sandbox.run import run
    from services.sandbox.world.world import DEFAULT, load
    from shared.process.memory import collect_seldom, keep_large_blocks_apart

    keep_large_blocks_apart()
    collect_seldom()
    try:
        world = load(options.world) if options.world else DEFAULT
        uvloop.run(run(world, options.host, options.port, options.data, advertise=options.advertise))
    except (OSError, ValueError, OverflowError) as error:  # the last: a port that there is not
        sys.stderr.write(f"sandbox: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
