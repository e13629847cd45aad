"""Words of another version in messages and buckets: they are read, and say what is safe."""

import msgspec

from shared.model.request import Cause


def test_a_cause_of_another_version_is_read_as_it_stands() -> None:
    assert msgspec.json.decode(b'{"code": "MoonPhase", "detail": "full"}', type=Cause) == Cause(
        code="MoonPhase", detail="full"
    )
