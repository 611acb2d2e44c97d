"""The window of the latest training episodes, beside NumPy over the very same episodes."""

import json
import math

import numpy as np
import pytest

from proximo.core.types import Episode
from proximo.runs.columns import WINDOW, EpisodeWindow


def episodes(count: int, seed: int = 0) -> list[Episode]:
    """Every fifth does not say whether it succeeded; every third has no `height`."""
    draw = np.random.default_rng(seed)
    return [
        Episode(
            float(draw.normal(100.0, 30.0)),
            int(draw.integers(1, 500)),
            None if i % 5 == 0 else bool(draw.integers(2)),
            {} if i % 3 == 0 else {"height": float(draw.normal())},
        )
        for i in range(count)
    ]


def expected(all_episodes: list[Episode]) -> dict[str, float]:
    latest = all_episodes[-WINDOW:]
    told = [e.success for e in latest if e.success is not None]
    heights = [e.info["height"] for e in latest if "height" in e.info]
    return {
        "episodes": len(all_episodes),
        "return_mean": np.mean([e.return_ for e in latest]),
        "return_std": np.std([e.return_ for e in latest]),
        "length_mean": np.mean([e.length for e in latest]),
        "success_rate": np.mean(told),
        "info/height": np.mean(heights),
    }


@pytest.mark.parametrize("chunk", [1, 7, 130])
def test_the_window_is_the_latest_hundred_however_they_come(chunk):
    given, window = episodes(260), EpisodeWindow(["height"])
    for begin in range(0, len(given), chunk):
        metrics = window.take(given[begin : begin + chunk])
        if begin:
            assert metrics == pytest.approx(expected(given[: begin + chunk]), rel=1e-12)
    assert window.return_mean == pytest.approx(expected(given)["return_mean"], rel=1e-12)


def test_what_does_not_exist_yet_is_left_out():
    window = EpisodeWindow(["height"])
    assert window.take([]) == {"episodes": 0}
    assert window.return_mean is None
    only = window.take([Episode(3.0, 5, None, {})])
    assert only == {"episodes": 1, "return_mean": 3.0, "return_std": 0.0, "length_mean": 5.0}


def test_an_update_that_finished_none_repeats_the_numbers():
    window = EpisodeWindow([])
    first = dict(window.take(episodes(5)))
    assert window.take([]) == first


def test_a_window_goes_on_after_a_checkpoint_bit_for_bit():
    given, window = episodes(180), EpisodeWindow(["height"])
    window.take(given[:120])
    state = window.state_dict()
    assert json.loads(json.dumps(state, allow_nan=False)) == state
    again = EpisodeWindow(["height"])
    again.load_state_dict(state)
    for rest in ([], given[120:130], given[130:]):
        one, other = window.take(rest), again.take(rest)
        assert one == other
        assert all(math.isfinite(value) for value in one.values())


def test_a_name_that_a_resume_adds_begins_empty():
    before, after = EpisodeWindow([]), EpisodeWindow(["height"])
    before.take(episodes(3))
    after.load_state_dict(before.state_dict())
    assert "info/height" not in after.take([])
    assert after.take([Episode(1.0, 1, None, {"height": 2.0})])["info/height"] == 2.0
