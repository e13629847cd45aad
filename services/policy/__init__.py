"""The policy stage: what the rules allow on each discovered target, and how much they like it.

Its rooms, each of which knows only those below it:

    worker.py      consumes Discovered, emits Evaluated
    warm.py        what the first message would otherwise wait for
    stage.py       from message to message: finds rules and targets, has the rules evaluated, judges
    checks.py      the bucket CHECKS: whether policies compile, what their rules did
    preview.py     what a policy would do, for `moorage policy`
    core.py        which rules hold for a request, what their outcomes mean (pure)
    tally.py       what is recorded in CHECKS (pure)
    cel/           parsing, checking and evaluating CEL; the only place that imports celpy and the engine
    evaluation/    columns over all targets, and how much time each tenant's rules may take (pure)
    language/      what a rule can read, its syntax tree, what the linter says (pure)
    functions/     what a rule can call, one small file each (pure)
"""
