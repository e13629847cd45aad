"""One writer per bucket: only the owner of a bucket opens it for writing; everybody else follows it."""

import re
from pathlib import Path

import pytest

import services
from shared.pipeline.buckets import BUCKETS

ROOT = Path(services.__file__).parent
OWNERS = {bucket.name.upper().replace("-", "_"): bucket.owner for bucket in BUCKETS}


def writers() -> dict[str, set[str]]:
    """The services that open each bucket as a table."""
    found: dict[str, set[str]] = {name: set() for name in OWNERS}
    for name in services.PIPELINE:
        for file in (ROOT / name).rglob("*.py"):
            for bucket in re.findall(r"\.table\(\s*([A-Z_]+)", file.read_text()):
                found[bucket].add(name)
    return found


@pytest.mark.parametrize("bucket", sorted(OWNERS))
def test_only_its_owner_writes_a_bucket(bucket):
    assert writers()[bucket] == {OWNERS[bucket]}


def test_owners_are_workers():
    assert set(OWNERS.values()) <= set(services.PIPELINE)
