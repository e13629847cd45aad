"""Sums of floats that are exactly rounded, as by `math.fsum`, and from which a term can be taken away again.

A float is a whole multiple of the smallest one above 0, so that integers hold sums of them without any loss.
"""

DIGITS = 1074  # binary digits after the point that a float has at most
ONE = 1 << DIGITS


def exact(amount: float) -> int:
    """A finite float as so many of the smallest ones; these add up and subtract without rounding."""
    numerator, denominator = amount.as_integer_ratio()
    return numerator << (DIGITS + 1 - denominator.bit_length())


def rounded(total: int) -> float:
    """The float that is nearest to a sum."""
    return total / ONE
