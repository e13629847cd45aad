"""What Moorage needs of a message broker and of shared state; `memory` and `nats` implement it."""
