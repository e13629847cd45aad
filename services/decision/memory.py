"""What this process decided last for each placement, so that the next decision need not read it first."""

import msgspec

from shared.aio.lru import Lru
from shared.api import PlacementDecisionStatus
from shared.model.refs import Head, PlacementRef


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A PlacementDecision as the API server had it: for the Placement with which uid, at which resourceVersion.

    One that is not `whole` lacks targets: somebody took slices away.
    """

    uid: str
    version: str
    status: PlacementDecisionStatus
    whole: bool = True


class Memory:
    """Records of what was written here, as far as they count for the next decision. It never holds for sure: others
    write as well, and what is remembered is written upon by compare-and-set only.

    It holds `limit` placements at most; of those in very many targets, none.
    """

    def __init__(self, limit: int = 4096, most_bytes: int = 16_384) -> None:
        self._records: Lru[PlacementRef, bytes] = Lru(limit)
        self._most_bytes = most_bytes

    def note(self, ref: PlacementRef, record: Record) -> None:
        """Remember what was written just now."""
        rationale = record.status.rationale if record.status.refusal else ""
        status = msgspec.structs.replace(record.status, alternates=(), rejected={}, rationale=rationale)
        # As JSON, it takes a tenth of the memory.
        raw = msgspec.json.encode(msgspec.structs.replace(record, status=status))
        if len(raw) > self._most_bytes:
            self.forget(ref)
        else:
            self._records.put(ref, raw)

    def before(self, ref: PlacementRef, head: Head) -> Record | None:
        """What was decided before this head, if it was decided here; None where that has to be read."""
        raw = self._records.get(ref)
        if raw is None:
            return None
        record = msgspec.json.decode(raw, type=Record)
        return record if record.uid == head.uid and record.status.attempt < head.attempt else None

    def forget(self, ref: PlacementRef) -> None:
        """It is known no more."""
        self._records.pop(ref)
