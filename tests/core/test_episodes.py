"""Counting episodes across rollouts."""

from types import SimpleNamespace

import torch

from proximo.core.episodes import EpisodeCounter


def rollout(reward, done, valid):
    as_column = [torch.tensor(entry).reshape(-1, 1) for entry in (reward, done, valid)]
    return SimpleNamespace(
        reward=as_column[0].float(), done=as_column[1].bool(), valid=as_column[2].bool(), info={}
    )


def test_episodes_run_on_over_rollouts():
    counter = EpisodeCounter(1)
    assert counter.finished(rollout([1, 2], [0, 0], [1, 1])) == []
    (episode,) = counter.finished(rollout([3, 9, 5], [1, 0, 0], [1, 0, 1]))
    assert (episode.return_, episode.length) == (6.0, 3)
    (episode,) = counter.finished(rollout([7], [1], [1]))
    assert (episode.return_, episode.length) == (12.0, 2)


def test_a_lost_episode_is_forgotten():
    """Invalid and done: what was gathered before belongs to no finished episode, nor to the next one."""
    counter = EpisodeCounter(1)
    (episode,) = counter.finished(rollout([1, 2, 0, 4, 8], [0, 0, 1, 0, 1], [1, 1, 0, 1, 1]))
    assert (episode.return_, episode.length) == (12.0, 2)
    counter.finished(rollout([1, 0], [0, 1], [1, 0]))
    (episode,) = counter.finished(rollout([3], [1], [1]))
    assert (episode.return_, episode.length) == (3.0, 1)
