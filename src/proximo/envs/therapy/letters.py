"""A typeface of 5 × 7 dots for the pictures, so that they need no font and no further package."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_ROWS = {
    " ": "00 00 00 00 00 00 00",
    ",": "00 00 00 00 0c 04 08",
    ".": "00 00 00 00 00 0c 0c",
    "-": "00 00 00 1f 00 00 00",
    "0": "0e 11 13 15 19 11 0e",
    "1": "04 0c 04 04 04 04 0e",
    "2": "0e 11 01 02 04 08 1f",
    "3": "1f 02 04 02 01 11 0e",
    "4": "02 06 0a 12 1f 02 02",
    "5": "1f 10 1e 01 01 11 0e",
    "6": "06 08 10 1e 11 11 0e",
    "7": "1f 01 02 04 08 08 08",
    "8": "0e 11 11 0e 11 11 0e",
    "9": "0e 11 11 0f 01 02 0c",
    "A": "0e 11 11 1f 11 11 11",
    "B": "1e 11 11 1e 11 11 1e",
    "C": "0e 11 10 10 10 11 0e",
    "D": "1c 12 11 11 11 12 1c",
    "E": "1f 10 10 1e 10 10 1f",
    "F": "1f 10 10 1e 10 10 10",
    "G": "0e 11 10 17 11 11 0f",
    "H": "11 11 11 1f 11 11 11",
    "I": "0e 04 04 04 04 04 0e",
    "J": "07 02 02 02 02 12 0c",
    "K": "11 12 14 18 14 12 11",
    "L": "10 10 10 10 10 10 1f",
    "M": "11 1b 15 15 11 11 11",
    "N": "11 11 19 15 13 11 11",
    "O": "0e 11 11 11 11 11 0e",
    "P": "1e 11 11 1e 10 10 10",
    "Q": "0e 11 11 11 15 12 0d",
    "R": "1e 11 11 1e 14 12 11",
    "S": "0f 10 10 0e 01 01 1e",
    "T": "1f 04 04 04 04 04 04",
    "U": "11 11 11 11 11 11 0e",
    "V": "11 11 11 11 11 0a 04",
    "W": "11 11 11 15 15 15 0a",
    "X": "11 11 0a 04 0a 11 11",
    "Y": "11 11 11 0a 04 04 04",
    "Z": "1f 01 02 04 08 10 1f",
}
"""Seven rows of five dots each, the leftmost the highest bit."""


def glyphs(text: str) -> npt.NDArray[np.bool_]:
    """`[7, 6 · length]` dots; letters that the face lacks stay blank."""
    letters = [[int(row, 16) for row in _ROWS.get(letter, _ROWS[" "]).split()] for letter in text]
    dots = np.array(letters, np.uint8).reshape(-1, 7)
    bits = (dots[:, :, None] >> np.arange(5, -1, -1, dtype=np.uint8)) & 1
    # The sixth dot, always off, keeps letters apart.
    shape = np.concatenate([bits[:, :, 1:], bits[:, :, :1]], axis=2)
    return shape.transpose(1, 0, 2).reshape(7, -1).astype(np.bool_)
