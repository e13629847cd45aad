"""The base of all value objects."""

import msgspec


class Value(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of all value objects: immutable, compared by content, camelCase on the wire."""
