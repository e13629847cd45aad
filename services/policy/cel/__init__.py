"""CEL for rules: parsed, bounded, checked, and evaluated. Nothing outside this package imports celpy.

guards.py      bounds on the text, before any parser sees it (pure)
reference.py   celpy: parse, and evaluate for one target; its answers are the right ones
"""
