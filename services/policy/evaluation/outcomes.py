"""The outcome of a rule on each of many targets."""

import numpy as np
import numpy.typing as npt

TRUE, FALSE, ERROR, NONE = (ord(character) for character in "tfe-")
"""Outcomes of a rule on a target; NONE: the policy's targetSelector leaves this target out."""

Outcomes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
