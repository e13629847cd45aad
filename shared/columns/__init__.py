"""Many items as columns: a row per item, and an array per value that somebody asks for. Pure; needs NumPy.

A column is filled when it is first asked for, from the items themselves, and from then on kept current row by row, so
that nothing is copied per question and no value is kept that nobody reads. Rows are in no order that means anything.
"""

from shared.columns.column import Array, Bools, Coded, Column, Floats, Ints
from shared.columns.rows import Rows

__all__ = ["Array", "Bools", "Coded", "Column", "Floats", "Ints", "Rows"]
