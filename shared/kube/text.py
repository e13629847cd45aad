"""Text of strangers, as it is repeated to others."""

MOST = 1024  # bytes of UTF-8
_CUT = "…"


def told(text: str, most: int = MOST) -> str:
    """`text` as one line of what can be printed, of `most` bytes of UTF-8 at most; what was cut off ends in `…`.

    Control characters would write to somebody's terminal, or a log line of their own; directional marks would show
    another text than there is.
    """
    text = text[: 4 * most]  # cleaning takes its time as well
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    encoded = line.encode("utf-8", "ignore")
    if len(encoded) <= most:
        return line
    return encoded[: most - len(_CUT.encode())].decode("utf-8", "ignore") + _CUT


def named(kind: str, name: str, namespace: str = "") -> str:
    """An object as sentences name it: `Deployment shop/web`, or `ClusterRole viewer` where it is in no namespace."""
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"
