"""TLS contexts of certificates and keys."""

import pytest

from shared.kube.auth.tls import tls_context
from shared.kube.errors import ConfigError


def test_tls_contexts_are_shared_and_bad_material_is_a_config_error():
    assert tls_context(None, None, None, True) is tls_context(None, None, None, True)
    for ca in (b"nonsense", b"\xff", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        with pytest.raises(ConfigError, match="certificate authority"):
            tls_context(ca, None, None, False)
    with pytest.raises(ConfigError, match="client certificate"):
        tls_context(None, b"nonsense", b"nonsense", True)
