"""Leases between real processes: the system frees what a killed one held, and looking never disturbs who starts."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from ops_pipeline.errors import UserError
from ops_pipeline.ops.leases import Leases
from ops_pipeline_tests.ops.rows import HOSTILE

_HOLDER = """
import sys
from pathlib import Path
from ops_pipeline.ops.leases import Leases
with Leases(Path(sys.argv[1])).held(sys.argv[2]):
    print("held", flush=True)
    sys.stdin.readline()
"""

# Starts runs one after the other, as fast as it can, and says how many; a refusal or a lease that is not seen ends it with an error.
_STARTER = """
import sys
from pathlib import Path
from ops_pipeline.ops.leases import Leases
leases = Leases(Path(sys.argv[1]))
sys.stdin.readline()
for i in range(150):
    run = f"{sys.argv[2]}-{i}"
    with leases.held(run):
        assert (leases.folder / f"{run}.lease").exists(), "the lease is gone"
        assert leases.dead([run]) == set(), "a live run was called dead"
"""

# Does what the start of every run does.
_LOOKER = """
import sys
from pathlib import Path
from ops_pipeline.ops.leases import Leases
leases = Leases(Path(sys.argv[1]))
sys.stdin.readline()
for i in range(300):
    leases.forget(leases.left_behind())
"""


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def holder(folder: Path, run: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lease until a line is written to it."""
    with python(_HOLDER, folder, run) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def end(process: subprocess.Popen[str]) -> None:
    process.communicate("\n")
    assert process.returncode == 0


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.fixture
def leases(tmp_path: Path) -> Leases:
    return Leases(tmp_path / "runs")


def lease_files(leases: Leases) -> list[str]:
    return sorted(p.name for p in leases.folder.glob("*.lease"))


def test_before_the_first_run_everybody_is_dead_and_nothing_is_made(leases: Leases) -> None:
    assert leases.dead(["a", "b"]) == {"a", "b"}
    assert leases.left_behind() == set()
    leases.forget(["a"])
    assert not leases.folder.exists()


def test_a_run_that_ends_in_order_leaves_nothing(leases: Leases) -> None:
    with holder(leases.folder, "a") as process:
        assert leases.dead(["a", "b"]) == {"b"}
        assert leases.left_behind() == set()
        end(process)
    assert lease_files(leases) == []
    assert leases.dead(["a"]) == {"a"}


@pytest.mark.parametrize("how", [kill, lambda p: (p.terminate(), p.wait())], ids=["kill -9", "terminate"])
def test_a_run_that_dies_is_seen_dead(leases: Leases, how: Callable[[subprocess.Popen[str]], object]) -> None:
    with holder(leases.folder, "a") as process, holder(leases.folder, "b"):
        how(process)
        assert leases.dead(["a", "b"]) == leases.left_behind() == {"a"}
        assert lease_files(leases) == ["a.lease", "b.lease"]
        leases.forget(["a", "b", "never seen"])
        assert lease_files(leases) == ["b.lease"]  # b goes on
        assert leases.dead(["b"]) == set()


def test_a_stopped_run_is_alive(leases: Leases) -> None:
    with holder(leases.folder, "a") as process:
        process.send_signal(signal.SIGSTOP)
        assert leases.dead(["a"]) == leases.left_behind() == set()
        process.send_signal(signal.SIGCONT)


def test_a_lease_is_held_once(leases: Leases) -> None:
    with holder(leases.folder, "a") as process:
        with pytest.raises(UserError, match="run a is already running"), leases.held("a"):
            pytest.fail("two processes hold one lease")
        assert leases.dead(["a"]) == set()
        kill(process)
        with leases.held("a"):
            assert leases.dead(["a"]) == set()
    assert lease_files(leases) == []


def test_two_runs_of_one_process_have_a_lease_each(leases: Leases) -> None:
    with leases.held("a"), leases.held("b"):
        assert leases.dead(["a", "b"]) == set()
        with pytest.raises(UserError), leases.held("a"):
            pytest.fail("one process holds a lease twice")
        assert leases.dead(["a"]) == set()


def test_a_run_that_fails_leaves_its_lease_unlocked(leases: Leases) -> None:
    with pytest.raises(KeyError), leases.held("a"):
        raise KeyError
    assert leases.left_behind() == {"a"}
    leases.forget(leases.left_behind())
    assert lease_files(leases) == []


def test_runs_start_while_others_look_for_dead_ones(leases: Leases) -> None:
    leases.folder.mkdir()
    with ExitStack() as stack:
        starters = [stack.enter_context(python(_STARTER, leases.folder, f"s{i}")) for i in range(3)]
        lookers = [stack.enter_context(python(_LOOKER, leases.folder)) for _ in range(2)]
        for process in [*starters, *lookers]:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        errors = [process.communicate()[1] for process in [*starters, *lookers]]
    assert errors == [""] * 5
    assert lease_files(leases) == []


@pytest.mark.parametrize("run", [*(t for t in HOSTILE if len(t) < 100), "..", ".", "a.lease", ".guard"])
def test_a_run_id_of_any_spelling_stays_in_the_folder(leases: Leases, run: str) -> None:
    with pytest.raises(ZeroDivisionError), leases.held(run):
        assert 1 / len(leases.dead([run]))
    assert leases.left_behind() == {run}
    assert {p.name for p in leases.folder.parent.iterdir()} == {"runs"}
    leases.forget([run])
    assert leases.left_behind() == set()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file in the way")
    with pytest.raises(UserError, match="OPS_PIPELINE_HOME") as caught, Leases(tmp_path / "runs").held("a"):
        pytest.fail("held")
    assert str(tmp_path / "runs") in str(caught.value)
