"""Ports to a message broker and to shared state, which `memory` and `nats` implement."""
