"""The interpersonal circle: eight octants, who completes whom, what each pair is worth to a client.

The circle and complementarity (opposite in dominance, alike in warmth) are Kiesler's (1983, Psychological Review 90).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from proximo.envs.hashing import Floats, Ints

Octets = npt.NDArray[np.uint8]
"""Octants 0 to 7, or pairs 8 · client + therapist."""

CODES = ("D", "WD", "W", "WS", "S", "CS", "C", "CD")
"""Dominant, warm, submissive, cold and what lies between, clockwise from the top."""
OCTANTS = len(CODES)
NOBODY = 8
"""Stands where no octant has been shown yet."""
WARM = CODES.index("W")
COMPLEMENT: Ints = np.array([4, 3, 2, 1, 0, 7, 6, 5])
UTILITY_LOW: Floats = np.array(
    [
        [-40, -50, -10, 20, 30, 20, -10, -50],
        [-30, 0, 30, 50, 10, -30, -50, -70],
        [-10, 30, 40, 30, -10, -70, -60, -70],
        [10, 50, 30, 0, -30, -70, -50, -30],
        [30, 20, -10, -50, -40, -50, -10, 20],
        [10, -10, -30, -40, -20, -10, 10, 20],
        [-10, -40, -30, -40, -10, 10, 20, 10],
        [-30, -40, -20, -10, 10, 20, 10, -10],
    ],
    dtype=np.float64,
)
"""Lower end of each cell's range; rows are the client's octant, columns the therapist's."""
