"""Acting as somebody else, as an API server is asked for it: `kubectl --as` does the same."""

import string
from collections.abc import Mapping
from urllib.parse import quote

import msgspec

_KEY_PLAIN = string.ascii_lowercase + string.digits + "!#$&'*+-.^_`|~"


class Impersonated(msgspec.Struct, frozen=True, kw_only=True):
    """A user as an authenticator would know them. An API server adds the group `system:authenticated` by itself."""

    username: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = {}

    def headers(self) -> dict[str, str | tuple[str, ...]]:
        """The headers of a request in their name. Keys of `extra` are percent-encoded: names of headers hold little."""
        headers: dict[str, str | tuple[str, ...]] = {"Impersonate-User": self.username}
        if self.uid:
            headers["Impersonate-Uid"] = self.uid
        if self.groups:
            headers["Impersonate-Group"] = self.groups
        return headers | {f"Impersonate-Extra-{quote(key, safe=_KEY_PLAIN)}": each for key, each in self.extra.items()}
