"""The status stage: how what was placed is doing, per target and on the Placement.

    rules/         health per kind of object, after kstatus (pure)
    health.py      health in one target, from its objects, and over all targets (pure)
    conditions.py  the conditions of a Placement, with their sentences (pure)
    parked.py      messages that were given up, as dead letters have them (pure)
    core.py        the status of a Placement: its targets, conditions and phase (pure)
    reports.py     the bucket REPORTS: what is known of each placement in each target
    observe.py     informers on what was applied in each target
    telling.py     what is new in the targets that are watched, told once it is on record
    parts.py       what the workspace's object shows of an object in a target, by kind (pure)
    promotion.py   the status of the workspace's object, summed over targets (pure)
    promoter.py    writes it
    standing.py    a Placement and what was decided for it, as the display remembers it (pure)
    pace.py        how soon a status may be written again
    display.py     keeps the status of Placements
    kubernetes.py  reads and writes on the hub: statuses, Events
    reporter.py    what the handlers do
    compiled.py    the status of a PlacementPolicy (pure)
    policies.py    keeps it
    worker.py      consumes Decided, Bound, Observed, Reported and dead letters; emits Observed, for binding as well,
                   and Reported

Each target in use is watched by one copy of the worker (shared/pipeline/copies.py); messages are handled by any.
"""
