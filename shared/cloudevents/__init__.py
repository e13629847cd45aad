"""CloudEvents 1.0 over NATS: what an event is, and how it is written as the payload and headers of a message.

Sources: the CloudEvents specification 1.0.2, its JSON format, and its NATS protocol binding 1.0.3 (a draft), from
https://github.com/cloudevents/spec.
"""

from shared.cloudevents.codec import CONTENT_TYPE, STRUCTURED, binary, parse, structured
from shared.cloudevents.event import MOST_BYTES, Attribute, CloudEvent, InvalidEvent

__all__ = [
    "CONTENT_TYPE",
    "MOST_BYTES",
    "STRUCTURED",
    "Attribute",
    "CloudEvent",
    "InvalidEvent",
    "binary",
    "parse",
    "structured",
]
