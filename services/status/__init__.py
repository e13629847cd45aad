"""The status stage: how what was placed is doing, per target and on the Placement.

    rules/         health per kind of object, after kstatus (pure)
    health.py      health in one target, from its objects, and over all targets (pure)
    conditions.py  the conditions of a Placement, with their sentences (pure)
    core.py        the status of a Placement: its targets, conditions and phase (pure)
    reports.py     the bucket REPORTS: what is known of each placement in each target
    observe.py     informers on what was applied in each target
    standing.py    a Placement and what was decided for it, as the display remembers it (pure)
    pace.py        how soon a status may be written again
    display.py     keeps the status of Placements
    kubernetes.py  reads and writes on the hub: statuses, Events
    reporter.py    what the handlers do
    compiled.py    the status of a PlacementPolicy (pure)
    policies.py    keeps it
    worker.py      consumes Decided, Bound and Reported, emits Reported, and Observed for binding

Each target in use is watched by one copy of the worker (shared/pipeline/copies.py); messages are handled by any.
"""
