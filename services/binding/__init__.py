"""The binding stage: what was decided is applied in the target cluster, or taken back, and recorded.

core.py          what exactly is applied in one target: rendered, with what it refers to, labelled, in order (pure)
judge.py         what has to be done now, by what the hub says (pure)
lease.py         who may act on a PlacementBinding now (pure)
lifecycle.py     the states of a PlacementBinding: what is written when (pure)
runs.py          what ended, and is not run again (pure)
trouble.py       what can keep a binding from being applied, and when it is tried again (pure)
errors.py        the trouble that an error of an API server means
records.py       reads and writes Placement, PlacementDecision and PlacementBinding on the hub
workload.py      works out what is wanted in a target from what the workspace has
target/          the way to a target cluster, and what a Placement has there: applied, pruned, released
leases.py        work in a target under the lease of a binding, and what is recorded of it
intents.py       what is on record before it is applied, since its cluster may delete it again
conclusions.py   writes what came of applying, with the health that follows
binder.py        applies: the order of steps that makes crashes and races harmless
vacating.py      has what may not run twice wait until it is gone elsewhere
removal.py       takes out of a target what is not to be there any more
vanished.py      removes what is left of workspaces that are gone
observations.py  what status sees in a target: health is recorded, drift is corrected
worker.py        consumes Assigned and Observed, emits Bound
"""
