"""The labels of namespaces, as an API server has them: no more of them is read."""

import msgspec


class _Metadata(msgspec.Struct):
    labels: dict[str, str] | None = None


class LabelledNamespace(msgspec.Struct):
    """A Namespace of which nothing but its labels is of interest."""

    metadata: _Metadata

    @property
    def labels(self) -> dict[str, str]:
        """Its labels, none where it has none."""
        return self.metadata.labels or {}


_DECODE = msgspec.json.Decoder(LabelledNamespace).decode


def namespace_labels(raw: bytes) -> dict[str, str]:
    """The labels of a Namespace, of its JSON."""
    return _DECODE(raw).labels
