"""The discovery stage: which targets there are, and which of them a request may use.

    core.py           candidates of a request, and why the others are none (pure)
    health.py         when a target counts as lost, and when as back (pure)
    inventory.py      a SyncTarget and what was seen of it, as inventory entry and as its status (pure)
    workspaces.py     walks the tree of workspaces and follows it
    targets.py        follows SyncTargets, has each looked at, writes what was seen
    deriving.py       what a SyncTarget of a ClusterProfile is to be, and what is to be done about it (pure)
    profiles.py       makes and keeps these, where that is switched on
    rbac.py           follows RBAC where targets are offered, so that who may use them is asked anew when it changes
    probing.py        one look at a target cluster
    capacity/         what a target has, and what its pods ask for that nothing is reserved for
    reserved.py       which placements have a reservation in a target
    projection.py     brings the buckets in line with what is known
    assembly.py       puts these together for as long as the worker runs
    worker.py         consumes Requested, emits Discovered

Discovery owns the buckets `workspaces` and `inventory`. Every copy of the worker follows all SyncTargets and writes
only differences, so copies agree without talking to each other. One of them looks at a target
(shared/pipeline/copies.py), or all where that one has a doubt.
"""
