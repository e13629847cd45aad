"""What `moorage up` goes by where nobody says otherwise. Nothing is imported here that a help text would wait for."""

from pathlib import Path

DEFAULT_WORLD = Path(__file__).with_name("world.yaml")
DEFAULT_DATA = Path(".moorage")
CONTEXT = "context.json"
"""The file in the folder of a system that says where everything is, as long as it runs; `moorage env` reads it."""
READY_WITHIN = 240.0
"""Seconds from the start until all is ready, on a busy machine."""
LOOPBACK = "127.0.0.0/8,::1/128"
