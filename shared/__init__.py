"""What the workers share: contracts, the bus, state, the Kubernetes transport, telemetry.

Nothing here imports from `services`. Modules are small and layered:

    messages, model, api      values only; no I/O, no clock, no randomness
    bus, state                ports: what a worker needs of a broker, with their rules
    nats_*, memory_*          the two implementations behind each port
    worker, topology          how a stage is declared, and what the broker must hold for it
    kube                      Kubernetes transport, informer, server-side apply
    settings, telemetry, runner   one process: configuration, traces and logs, life and death
"""
