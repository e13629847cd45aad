"""The policy stage: what the rules allow on each discovered target, and how much they like it.

core.py        which rules hold for a request, what their outcomes mean (pure)
variables.py   what a rule can read: `target`, `workspace`, `placement`, `workload`, `request`, `now` (pure)
functions/     what a rule can call, one small file each (pure)
cel/           parsing, checking and evaluating CEL; the only place that imports celpy
checks.py      the bucket CHECKS: whether policies compile, what their rules did
tally.py       what is recorded there (pure)
warm.py        what the first message would otherwise wait for
worker.py      consumes Discovered, emits Evaluated
"""
