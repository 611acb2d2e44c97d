"""What costs nothing must cost nothing: help, a mistyped command and `import proximo` load no heavy library."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "gymnasium", "numpy", "mujoco", "wandb")


def loaded_after(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint('LOADED', *(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.rpartition("LOADED")[2].split())


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["train", "--help"],
        [],
        ["--version"],
        ["trian"],
        ["config", "schema"],
        ["config", "show", "X"],
    ],
)
def test_light_commands_import_nothing_heavy(words: list[str]) -> None:
    code = (
        "from proximo.cli.main import main\n"
        f"try:\n    main({words!r})\n"
        "except SystemExit as end:\n    assert not end.code, end.code"
    )
    assert loaded_after(code) == set()


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert loaded_after("import proximo; assert 'train' in dir(proximo); proximo.__version__") == set()


def test_the_configuration_imports_nothing_heavy() -> None:
    assert (
        loaded_after("from proximo import Experiment, load_experiment; load_experiment('CartPole-v1')")
        == set()
    )


def test_the_program_and_the_module_are_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "proximo", "--help"], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.startswith("usage: proximo ")
    for command in (
        "train",
        "resume",
        "eval",
        "play",
        "runs",
        "report",
        "check-env",
        "envs",
        "doctor",
        "config",
    ):
        assert f"\n    {command} " in done.stdout
