"""decision: settles what the scheduler proposed.

Schedulers propose in parallel, from the same snapshot; here capacity is reserved under optimistic concurrency, so that
no target is given away twice. What was decided is written to the PlacementDecision, and told to binding, one message
per target. Nothing else writes reservations or PlacementDecisions.
"""
