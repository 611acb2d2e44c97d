"""The specification once more, slowly: one client in plain Python, written from the text and not from the package."""

import math

U_MIN = """
-40 -50 -10  20  30  20 -10 -50
-30   0  30  50  10 -30 -50 -70
-10  30  40  30 -10 -70 -60 -70
 10  50  30   0 -30 -70 -50 -30
 30  20 -10 -50 -40 -50 -10  20
 10 -10 -30 -40 -20 -10  10  20
-10 -40 -30 -40 -10  10  20  10
-30 -40 -20 -10  10  20  10 -10
"""
COMPLEMENT = {0: 4, 1: 3, 2: 2, 3: 1, 4: 0, 5: 7, 6: 6, 7: 5}


def weights(n):
    return [1 + math.sqrt(i / (n - 1)) for i in range(n)]


def satisfaction(u, memory):
    w = weights(len(memory))
    return sum(wi * u[c][t] for wi, (c, t) in zip(w, memory, strict=True)) / sum(w)


def progress(u, memory):
    cells = [x for row in u for x in row]
    return (satisfaction(u, memory) - min(cells)) / (max(cells) - min(cells))


def bond(u, memory, alpha=5.0, offset=0.7):
    return 1 / (1 + math.exp(-2 * alpha * (progress(u, memory) - offset)))


def adjusted(u, memory, mechanism, k=1.0, power=1.0, laplace=0.1, **sigmoid):
    w = weights(len(memory))
    if mechanism.startswith("bond_weighted_"):
        k = k * bond(u, memory, **sigmoid) ** power
    rows = []
    for i in range(8):
        row = []
        for j in range(8):
            if mechanism == "bond_only":
                p = 0.0
            elif "conditional" in mechanism:
                cell = laplace + sum(wi for wi, pair in zip(w, memory, strict=True) if pair == (i, j))
                of_row = 8 * laplace + sum(wi for wi, (c, _) in zip(w, memory, strict=True) if c == i)
                p = cell / of_row
            else:
                p = sum(wi for wi, (_, t) in zip(w, memory, strict=True) if t == j) / sum(w)
            row.append(u[i][j] * (1 + k * p))
        rows.append(row)
    return rows


def probabilities(u, memory, mechanism, entropy=0.5, **options):
    sigmoid = {key: options[key] for key in ("alpha", "offset") if key in options}
    position = 7 * bond(u, memory, **sigmoid)
    payoffs = []
    for row in adjusted(u, memory, mechanism, **options):
        ordered = sorted(row)
        below = min(int(position), 6)
        payoffs.append(ordered[below] + (position - below) * (ordered[below + 1] - ordered[below]))
    powers = [math.exp((p - max(payoffs)) / entropy) for p in payoffs]
    return [p / sum(powers) for p in powers]


def habitual(memory, window=15):
    latest = [t for _, t in memory[-window:]]
    most = max(latest.count(t) for t in latest)
    return next(t for t in reversed(latest) if latest.count(t) == most)
