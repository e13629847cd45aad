"""The workers of Moorage, one package each, and what goes with them.

    intake      takes requests from the bus to the hub; it can be left out
    controller  discovery  policy  scheduler  decision  binding  status    the pipeline, in the order of its messages
    tunnel      the agent beside a target that nobody can connect to: it carries connections over NATS
    sandbox     a development control plane that speaks the Kubernetes and kcp wire protocol
    cli         the `moorage` command

Services do not import each other; `cli` may import all of them. What they share is in `shared`.
"""

PIPELINE = ("controller", "discovery", "policy", "scheduler", "decision", "binding", "status", "intake")
"""The workers, by the names of their packages."""

BESIDE = ("tunnel",)
"""What runs beside targets: no part of the pipeline, whose streams it has no right to."""
