"""The command line as a process: Ctrl-C at any moment, pipes, environment variables."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import fastreg as fr

COMMAND = [sys.executable, "-m", "fastreg"]
# The same as an installed `fastreg` does, which is told by its name.
SCRIPT = "import sys\nfrom fastreg.cli import main\nsys.exit(main())\n"

posix = pytest.mark.skipif(os.name != "posix", reason="signals and shells of POSIX")


def commands(folder):
    (folder / "bin").mkdir()
    (folder / "bin/fastreg").write_text(SCRIPT)
    return COMMAND, [sys.executable, str(folder / "bin/fastreg")]


def start(command, folder):
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def let_work(process, seconds):
    """Waits until the process has had a processor for so long; on a busy machine that takes longer."""
    try:
        end = processor_seconds(process.pid) + seconds
        while process.poll() is None and processor_seconds(process.pid) < end:
            time.sleep(0.01)
    except OSError:  # without /proc
        time.sleep(seconds)


def processor_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@posix
@pytest.mark.slow
def test_ctrl_c_at_any_moment(tmp_path):
    """While NumPy loads, while the command runs, and while it ends: one line, or none if it is done."""
    for command in commands(tmp_path):
        for moment in np.linspace(0, 0.3, 12):
            process = start([*command, "info"], tmp_path)
            while process.poll() is None and not loads_numpy(process.pid):
                time.sleep(0.001)
            time.sleep(moment)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
            assert (process.returncode, errors) in ((130, "fastreg: interrupted\n"), (0, "")), (moment, errors)


def loads_numpy(pid):
    """Whether the process has come so far; what is before this package is Python's own. Without /proc, nobody knows."""
    try:
        with open(f"/proc/{pid}/maps") as file:
            return "numpy" in file.read()
    except OSError:
        time.sleep(0.5)
        return True


# Presses Ctrl-C at a moment of loading, counted in lines that Python runs, from the first one of this package.
AT_A_LINE = """
import os, signal, sys
left = int(sys.argv.pop(1))
sys.argv[0] = "bin/fastreg"

def first(frame, event, arg):
    if frame.f_code.co_filename.endswith("fastreg/__init__.py"):
        sys.settrace(count)
        return count(frame, event, arg)

def count(frame, event, arg):
    global left
    left -= 1
    if left == 0:
        sys.settrace(None)
        os.kill(os.getpid(), signal.SIGINT)
    return count

sys.settrace(first)
from fastreg.cli import main
sys.exit(main(["info"]))
"""


@posix
@pytest.mark.slow
def test_ctrl_c_as_the_package_begins_to_load(tmp_path):
    (tmp_path / "loads.py").write_text(AT_A_LINE)
    for line in range(5, 500, 11):  # from the first import on
        process = start([sys.executable, "loads.py", str(line)], tmp_path)
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (130, "fastreg: interrupted\n"), (line, errors)


@posix
@pytest.mark.parametrize("more", [[], ["--json", "--early-stopping", "100000"]])
@pytest.mark.slow
def test_ctrl_c_in_training_leaves_models(tmp_path, more):
    process = start([*COMMAND, "train", "moons", "--epochs", "100000", "--output", "out", *more], tmp_path)
    told = process.stderr if "--json" in more else process.stdout
    assert told.readline().startswith("y: 2 classes") and told.readline().startswith("moons: ")
    let_work(process, 1)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 130 and "Traceback" not in errors and (output == "" or not more)
    saved = "fastreg: interrupted: saved what was trained so far: out/plain.safetensors"
    assert errors.splitlines()[-1] == saved and os.listdir(tmp_path / "out") == ["plain.safetensors"]
    X, y = fr.data.load("moons")
    assert (fr.load(tmp_path / "out/plain.safetensors").predict(X).argmax(axis=1) == y).mean() > 0.8


@posix
@pytest.mark.slow
def test_ctrl_c_again_and_again_leaves_models(tmp_path):
    process = start([*COMMAND, "train", "moons", "--epochs", "100000", "--output", "out"], tmp_path)
    assert process.stdout.readline().startswith("y: 2 classes")
    assert process.stdout.readline().startswith("moons: ")
    let_work(process, 1)
    for _ in range(40):
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130 and "Traceback" not in errors
    assert errors.endswith("saved what was trained so far: out/plain.safetensors\n")
    assert os.listdir(tmp_path / "out") == ["plain.safetensors"] and fr.load(tmp_path / "out/plain.safetensors").built


@pytest.mark.parametrize(
    "setting", ["FASTREG_SIMD=nonsense", "FASTREG_TUNING=nonsense", "FASTREG_NUM_THREADS=x", "FASTREG_NUM_THREADS=0"]
)
def test_wrong_environment(tmp_path, setting):
    name, value = setting.split("=")
    environment = {**os.environ, name: value}
    for command in commands(tmp_path):
        for arguments in (["info"], ["train", "moons"], ["--help"]):
            full = [*command, *arguments]
            result = subprocess.run(full, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
            assert result.returncode == 1 and result.stdout == ""
            assert result.stderr.startswith(f"fastreg: {name}: got '{value}', ") and result.stderr.count("\n") == 1
    python = [sys.executable, "-c", "import fastreg as fr; fr.get_num_threads()"]
    result = subprocess.run(python, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.stderr.splitlines()[-1].startswith(f"ValueError: {name}: got '{value}', ")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    result = subprocess.run(
        [*COMMAND, "train", "moons", "--epochs", "1", "--json"], cwd=folder, check=True, text=True, capture_output=True
    )
    return folder, json.loads(result.stdout, parse_constant=pytest.fail)["files"]["plain model"]


PRINTING = {
    "info": ["info"],
    "train": ["train", "moons", "--epochs", "1"],
    "compare": ["compare", "moons", "--epochs", "1"],
    "profile": ["profile", "moons", "--hidden", "8"],
    "predict": ["predict", "MODEL", "moons"],
    "bench": ["bench", "--quick"],
}


@pytest.mark.slow
@pytest.mark.parametrize("arguments", PRINTING.values(), ids=PRINTING)
def test_json_alone_is_on_stdout(trained, arguments):
    folder, model = trained
    arguments = [model if word == "MODEL" else word for word in arguments]
    result = subprocess.run([*COMMAND, *arguments, "--json"], cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert isinstance(json.loads(result.stdout, parse_constant=pytest.fail), dict)
    assert "\r" not in result.stderr and "\x1b" not in result.stderr


@posix
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
@pytest.mark.parametrize("arguments", [PRINTING["info"], PRINTING["train"]], ids=["info", "train"])
@pytest.mark.slow
def test_closed_streams(tmp_path, closed, arguments):
    for command in commands(tmp_path):
        full = f"{shlex.join([*command, *arguments])} {closed}"
        result = subprocess.run(full, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert result.returncode == 0 and "Traceback" not in result.stderr
        assert bool(result.stdout) == (not closed.startswith(">"))
    if "train" in arguments:
        assert fr.load(tmp_path / "fastreg-runs/moons/regularized.safetensors").built


@posix
def test_progress_of_a_fit_without_output(tmp_path):
    fit = "fr.Trainer(fr.Sequential([fr.Dense(2)])).fit(np.eye(3), [0, 1, 1], epochs=2, verbose=1)"
    full = f"{shlex.join([sys.executable, '-c', f'import fastreg as fr, numpy as np; {fit}'])} >&-"
    result = subprocess.run(full, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


LIGHT = (["info"], ["info", "--json"], ["predict", "MODEL", "moons"], ["--help"], ["train", "--help"])
PIPES = [*(("head -n 1", each) for each in (*PRINTING.values(), *LIGHT[1:])), *(("true", each) for each in LIGHT)]


@posix
@pytest.mark.parametrize(("reader", "arguments"), PIPES, ids=[" ".join([*each, "|", to]) for to, each in PIPES])
@pytest.mark.slow
def test_a_closed_pipe(trained, reader, arguments):
    folder, model = trained
    command = shlex.join(model if word == "MODEL" else word for word in (*COMMAND, *arguments))
    result = subprocess.run(
        f"{command} | {reader}", shell=True, cwd=folder, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in result.stderr and "Exception" not in result.stderr, result.stderr
