"""What one can choose of a dataset; apart from what carries it out, so that the command line starts at once."""

from typing import Literal, get_args

Fit = Literal["crop", "pad"]
NearDuplicates = Literal["report", "remove", "ignore"]

FITS: tuple[Fit, ...] = get_args(Fit)
NEAR_DUPLICATES: tuple[NearDuplicates, ...] = get_args(NearDuplicates)
