"""Whole runs on worker processes: what a crash and a Ctrl-C in the terminal do to them."""

import os
import re
import signal
import subprocess
import sys

import pytest

from proximo import resume
from proximo.runs import checkpoint
from test_resume import ENDLESS, rows, wait_for_checkpoints

MORTAL = '''
import os, signal
from gymnasium.envs.classic_control import CartPoleEnv

class Mortal(CartPoleEnv):
    """Kills its process when the file `flag` appears, and removes it."""

    def __init__(self, flag):
        super().__init__()
        self.flag = flag

    def step(self, action):
        if os.path.exists(self.flag):
            os.unlink(self.flag)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step(action)
'''


@pytest.fixture
def start(tmp_path):
    """`proximo train` of such an environment, one worker, in a session of its own as in a terminal."""
    (tmp_path / "mortal.py").write_text(MORTAL)
    started = []

    def begin(*words):
        flag = f"env.kwargs.flag={tmp_path / 'flag'}"
        command = [sys.executable, "-m", "proximo", "train", "mortal.py:Mortal", *ENDLESS, flag, *words]
        pipe, environment = subprocess.PIPE, {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=environment,
            stdout=pipe,
            stderr=pipe,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def test_a_dead_worker_ends_the_run_in_one_line_and_the_checkpoint_remains(start, tmp_path, monkeypatch):
    process = start("env.backend=workers", "env.workers=1")
    run = wait_for_checkpoints(tmp_path, process, 1)
    (tmp_path / "flag").touch()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    # Whichever was being stepped when the flag appeared.
    assert re.search(r"environment \d+ \(episode \d+, seed \d+\), step \d+, action .*SIGKILL", errors[0])
    assert "Traceback" not in err
    monkeypatch.chdir(tmp_path)
    newest = int(checkpoint.checkpoints(run)[-1].name)
    assert resume(run, [f"ppo.total_steps={newest + 512}"], verbosity=-1).status == "finished"


def test_a_restarted_worker_and_ctrl_c(start, tmp_path):
    """Learning goes on after the crash; Ctrl-C reaches the whole group, and the last checkpoint is of its moment."""
    process = start("env.on_crash=restart", "env.workers=1", "env.half_batches=true")
    run = wait_for_checkpoints(tmp_path, process, 1)
    (tmp_path / "flag").touch()
    wait_for_checkpoints(tmp_path, process, len(checkpoint.checkpoints(run)) + 1)
    newest = max(int(folder.name) for folder in checkpoint.checkpoints(run))
    while max(int(folder.name) for folder in checkpoint.checkpoints(run)) == newest:
        assert process.poll() is None
        os.sched_yield()
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert err.count("its process is started again") == 1
    assert "proximo resume" in out
    last = checkpoint.pointed(run, "last")
    assert last is not None
    assert int(last.name) == int(rows(run)[-1]["step"])
