"""What a tree of processes holds in memory, whatever other programs run beside it (Linux).

The usual measure for several processes, proportional set size, shares a page among all that map it: where another
PyTorch program runs, the measured one seems to need less.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

_MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ (\S+) (\d+)")
_SIZE = re.compile(r"^(Rss|Pss):\s+(\d+) kB")


def tree_bytes(processes: Iterable[int]) -> int:
    """Bytes that these processes hold together. Raises: OSError where one of them is gone."""
    return held([Path(f"/proc/{number}/smaps").read_text(encoding="utf-8") for number in processes])


def held(maps: Sequence[str]) -> int:
    """The same from the texts of their `/proc/PID/smaps`.

    A file counts as often as the process that has most of it; memory of no file, which only parents and children
    share, in proportion.
    """
    own, files = 0, dict[tuple[str, str], int]()
    for text in maps:
        mine = dict[tuple[str, str], int]()
        file: tuple[str, str] | None = None
        for line in text.splitlines():
            begins = _MAPPING.match(line)
            if begins:
                file = None if begins[2] == "0" else (begins[1], begins[2])
                continue
            size = _SIZE.match(line)
            if size and file is None and size[1] == "Pss":
                own += int(size[2])
            elif size and file is not None and size[1] == "Rss":
                mine[file] = mine.get(file, 0) + int(size[2])
        for place, kilobytes in mine.items():
            files[place] = max(files.get(place, 0), kilobytes)
    return 1024 * (own + sum(files.values()))
