"""The binding stage: what was decided is applied in the target cluster, or taken back, and recorded.

core.py          what exactly is applied in one target: stripped, scaled, patched, labelled, in order (pure)
record.py        the life of a PlacementBinding: who may act on it, what is written when (pure)
breaker.py       a circuit breaker per target (pure)
workspace.py     reads what is to be placed from the workspace
cluster.py       applies, prunes and releases in the target cluster
kubernetes.py    reads and writes Placement, PlacementDecision and PlacementBinding on the hub
reach.py         the way to the targets, in time and with a breaker for each
binder.py        the order of steps that makes crashes and races harmless
vanished.py      removes what is left of workspaces that are gone
observations.py  what status sees in a target: health is recorded, drift is corrected
worker.py        consumes Assigned and Observed, emits Bound
"""
