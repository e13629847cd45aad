"""CEL for rules: parsed, bounded, checked, and evaluated. Nothing outside this package imports celpy or the engine.

guards.py      bounds on the text, before any parser sees it (pure)
grammar.py     cel-python's grammar, with what CEL has had since
convert.py     its parse tree as ours; literals.py reads literals as the specification has them
expand.py      variables, implicit arguments and methods, filled in; render.py writes text of it again
calls.py       calls of our functions, made before the engine begins
standard.py    the engine, cel-expr-python; its answers are the right ones
checker.py     types, by cel-expr-python
program.py     a rule, compiled
admission.py   all that is wrong with a policy
engine.py      a rule on many targets, in the cheapest way that answers as the engine does
isolation.py   what may run away, in child processes; protocol.py is what they are asked, child.py answers
"""
