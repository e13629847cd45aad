"""The scheduling stage: which of the allowed targets are proposed, and why.

    filter     every filter says, for all candidates at once, which fall out and why
    score      every scorer gives all feasible targets 0..100; weights and the policy's score make one total
    select     the strategy takes targets in order of score, within counts, topology and capacity
    divide     replicas are divided among the taken

`core.schedule` is the whole of it: pure, from a request and a snapshot to a proposal. `snapshot` keeps the inventory
as columns, `worker` brings messages in and out.
"""
