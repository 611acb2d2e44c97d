"""The best clone is the epoch of lowest validation loss, whatever the files are called."""

import pytest

from proximo.errors import UserError
from proximo.recipes.hybrid_places import Clones, Epoch, Index, differences


@pytest.fixture
def clones(tmp_path):
    return Clones(tmp_path / "mujoco" / "walker2d", "expert-v0")


def index(clones, losses, kept=None):
    epochs = []
    clones.folder.mkdir(parents=True, exist_ok=True)
    for number, loss in enumerate(losses, 1):
        path = clones.file(number, loss + 0.5)
        if kept is None or number in kept:
            path.write_bytes(b"x")
        epochs.append(Epoch(number, loss + 0.5, loss, path.name if kept is None or number in kept else None))
    return Index({}, "runs/x", True, epochs)


@pytest.mark.parametrize("best", [1, 2, 10, 11, 12])
def test_one_is_not_ten(clones, best):
    losses = [2.0 + 0.01 * n for n in range(12)]
    losses[best - 1] = 1.0
    clones.write(index(clones, losses))
    path, epoch = clones.best()
    assert epoch.epoch == best
    assert path.name == f"expert-v0_epoch{best} with avg loss 1.5000.zip"
    assert [row["epoch"] for row in clones.rows()] == [str(n) for n in range(1, 13)]


def test_of_equals_the_earliest_and_nan_never(clones):
    clones.write(index(clones, [float("nan"), 3.0, 1.0, 1.0]))
    assert Clones(clones.folder, clones.name).index().best is not None
    assert clones.best()[1].epoch == 3


def test_the_table_is_as_the_reference_says(clones):
    clones.write(index(clones, [1.25]))
    assert clones.metrics_file.name == "expert-v0_metrics.csv"
    assert clones.metrics_file.read_text() == "epoch,train_loss,val_loss\n1,1.75,1.25\n"


def test_what_is_missing_is_named(clones):
    with pytest.raises(
        UserError, match=r"^No BC checkpoint available: BC checkpoint dir not found: .*walker2d"
    ):
        clones.best()
    clones.folder.mkdir(parents=True)
    with pytest.raises(UserError, match=r"^No metrics CSV files found in .*walker2d"):
        clones.best()
    clones.write(index(clones, [1.0, 2.0]))
    clones.file(1, 1.5).unlink()
    with pytest.raises(UserError, match=r"No BC checkpoint available: .*epoch1 .* is gone"):
        clones.best()
    clones.index_file.unlink()
    with pytest.raises(UserError, match=r"No BC checkpoint available: .* names none"):
        clones.best()


def test_an_index_leads_nowhere_else(clones):
    made = index(clones, [1.0])
    made.epochs[0] = Epoch(1, 1.0, 1.0, "../../secret.zip")
    clones.write(made)
    with pytest.raises(UserError, match="outside its folder"):
        clones.index()


def test_another_clone_beside_stays(clones):
    other = Clones(clones.folder, "expert-v1")
    clones.write(index(clones, [1.0, 2.0]))
    other.write(index(other, [5.0]))
    clones.clear()
    assert clones.index() is None
    assert not list(clones.folder.glob("expert-v0*"))
    assert other.best()[1].val_loss == 5.0


def test_differences_are_named():
    then, now = {"seed": 1, "nets": [64], "old": 1}, {"seed": 2, "nets": [64]}
    assert differences(then, now) == ["seed 1, now 2", "old 1, now unset"]
