"""One writer per bucket: only the owner of a bucket opens it for writing; everybody else follows it."""

import re
from pathlib import Path

import pytest

import services
from shared.broker.nats import blobs
from shared.broker.nats.streams import ADVISORIES
from shared.pipeline import topology
from shared.pipeline.buckets import BUCKETS

ROOT = Path(services.__file__).parent
OWNERS = {bucket.name.upper().replace("-", "_"): bucket.owner for bucket in BUCKETS}


def writers() -> dict[str, set[str]]:
    """The services that open each bucket as a table, or have their copies write into it."""
    found: dict[str, set[str]] = {name: set() for name in OWNERS}
    for name in services.PIPELINE:
        for file in (ROOT / name).rglob("*.py"):
            for bucket in re.findall(r"(?:\.table\(\s*|\bcopies=)([A-Z_]+)", file.read_text()):
                found[bucket].add(name)
    return found


@pytest.mark.parametrize("bucket", sorted(OWNERS))
def test_only_its_owner_writes_a_bucket(bucket):
    assert writers()[bucket] == {OWNERS[bucket]}


def test_owners_are_workers():
    assert set(OWNERS.values()) <= set(services.PIPELINE)


def test_all_that_is_kept_has_room_in_the_broker_as_it_is_shipped():
    """NATS refuses to make a stream or a bucket where the bounds of all together are above its own. Some is left for
    what the next release adds."""
    (gigabytes,) = re.findall(r"max_file: (\d+)GB", (ROOT.parent / "deploy/nats/secure.conf").read_text())
    streams = (*topology.streams(), ADVISORIES)
    bounds = [each.max_bytes for each in (*BUCKETS, *streams)] + [blobs.CONFIG["max_bytes"]]
    assert sum(bounds) < 0.95 * int(gigabytes) * 10**9
