"""Run the agent: `python -m services.tunnel`."""

import os
import sys

from services.tunnel.process import SUMMARY, run
from services.tunnel.settings import TunnelSettings
from shared.process.logs import set_up_logging
from shared.process.settings import parse

if __name__ == "__main__":
    settings = parse(TunnelSettings, sys.argv[1:], os.environ, prog="python -m services.tunnel", summary=SUMMARY)
    set_up_logging("tunnel", settings.log_level, settings.log_format)
    sys.exit(run(settings))
