"""Where clients of targets may go in tests: target clusters run beside them, on loopback and mostly without TLS."""

from typing import Any, Final

from shared.hub.targets import Perimeter
from shared.kube.addresses import Addresses, networks

LOOPBACK: Final = "127.0.0.0/8"
SETTINGS: Final[dict[str, Any]] = {"target_allow": LOOPBACK, "target_plain_http": True}
ENVIRONMENT: Final = {"MOORAGE_TARGET_ALLOW": LOOPBACK}
BESIDE_US: Final = Perimeter(Addresses(allowed=networks(LOOPBACK)), plain_http=True)
