"""The binding stage: what was decided is applied in the target cluster, or taken back, and recorded.

core.py          what exactly is applied in one target: stripped, scaled, patched, labelled, in order (pure)
lifecycle.py     the life of a PlacementBinding: who may act on it, what is written when (pure)
records.py       reads and writes Placement, PlacementDecision and PlacementBinding on the hub
workload.py      reads what is to be placed from the workspace
target/          the way to a target cluster, and what is applied, pruned and released there
trouble.py       what can keep a binding from being applied, and when it is tried again (pure)
binder.py        the order of steps that makes crashes and races harmless
vanished.py      removes what is left of workspaces that are gone
observations.py  what status sees in a target: health is recorded, drift is corrected
worker.py        consumes Assigned and Observed, emits Bound
"""
