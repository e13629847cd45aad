"""CEL for rules: parsed, bounded, checked, and evaluated. Nothing outside this package imports celpy.

guards.py      bounds on the text, before any parser sees it (pure)
reference.py   celpy: parse, and evaluate for one target; its answers are the right ones
checker.py     types, by cel-expr-python
program.py     a rule, compiled
admission.py   all that is wrong with a policy
engine.py      a rule on many targets, in the cheapest way that answers as celpy does
isolation.py   what may run away, in child processes; protocol.py is what they are asked, child.py answers
"""
