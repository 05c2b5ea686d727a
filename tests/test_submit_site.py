"""A site's configuration, and the script that a cluster gets."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from local.backends import script
from local.backends.site import read_site
from local.jobs import Resources, parse

KALDI = """\
# Default configuration
command qsub -v PATH -cwd -S /bin/bash -j y -l arch=*64*
option mem=* -l mem_free=$0,ram_free=$0
option mem=0          # Do not add anything to qsub_opts
option num_threads=* -pe smp $0
option num_threads=1  # Do not add anything to qsub_opts
option max_jobs_run=* -tc $0
default gpu=0
option gpu=0
option gpu=* -l gpu=$0 -q g.q
"""


def flags(tmp_path: Path, text: str, **asked) -> list[str]:
    path = tmp_path / "site.conf"
    path.write_text(text)
    return read_site(path, "qsub").flags_for(Resources(**asked))


def test_kaldis_own_file_reads(tmp_path: Path) -> None:
    assert flags(tmp_path, KALDI) == []
    assert flags(tmp_path, KALDI, num_threads=1, mem="0") == []
    asked = flags(tmp_path, KALDI, num_threads=4, mem="2G", gpu=2, max_jobs_run=3)
    wanted = "-l gpu=2 -q g.q -l mem_free=2G,ram_free=2G -pe smp 4"
    assert sorted(asked) == sorted(wanted.split())
    command = read_site(tmp_path / "site.conf", "qsub").command
    assert command == (
        "qsub",
        "-v",
        "PATH",
        "-cwd",
        "-S",
        "/bin/bash",
        "-j",
        "y",
        "-l",
        "arch=*64*",
    )


def test_a_default_holds_for_jobs_that_do_not_say(tmp_path: Path) -> None:
    text = "command sbatch\ndefault time=24:00:00\noption time=* -t $0\n"
    assert flags(tmp_path, text) == ["-t", "24:00:00"]
    assert flags(tmp_path, text, time="1:00:00") == ["-t", "1:00:00"]


def test_a_value_stays_one_word_and_quotes_hold(tmp_path: Path) -> None:
    text = 'command sbatch -C "a|b"\noption mood=* --comment $0\n'
    assert flags(tmp_path, text, site=(("mood", "two words"),)) == ["--comment", "two words"]
    assert read_site(tmp_path / "site.conf", "sbatch").command == ("sbatch", "-C", "a|b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("comand sbatch\n", r"site.conf:1: unknown statement 'comand', did you mean 'command'\?"),
        ("\n# x\ncommand\n", "site.conf:3: must be 'command qsub ...', got 'command'"),
        ("command a\ncommand b\n", "site.conf:2: a second command; the first was 'a ...'"),
        ("command 'a\n", "site.conf:1: No closing quotation"),
        ("command a\noption mem\n", "site.conf:2: must be 'option name=value --flag ...', got"),
        ("command a\noption mem = *\n", "site.conf:2: must be 'option name=value"),
        ("command a\ndefault gpu=1 2\n", "site.conf:2: must be 'default name=value', got"),
        ("command a\nsetup\n", "site.conf:2: must be 'setup shell command', got 'setup'"),
        ("command a\ndefault gpu=1\n", "site.conf:2: gpu=1 has no 'option gpu=...' to go with"),
        ("command a\ndefault gpu=x\n", "site.conf:2: --gpu must be a whole number, got 'x'"),
        (
            "command a\ndefault time=60\n",
            "site.conf:2: --time must be hours:minutes:seconds, got '60'",
        ),
        ("command a\noption mem=* x\noption mem=* y\n", r"site.conf:3: mem=\* is there twice"),
        ("command a\ndefault retries=3\n", "site.conf:2: --retries is not for a site to say"),
        ("option mem=* --mem $0\n", "site.conf: has no command, such as 'command qsub'"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        flags(tmp_path, text)


def test_an_option_that_no_line_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="site.conf: has no line for --time 1:00:00"):
        flags(tmp_path, "command sbatch\n", time="1:00:00")
    text = "command sbatch\noption partition=* -p $0\n"
    with pytest.raises(ValueError, match="unknown option '--partitoin', did you mean '--partition"):
        flags(tmp_path, text, site=(("partitoin", "long"),))


@pytest.mark.parametrize(("backend", "config"), [("slurm", "slurm.conf"), ("sge", "queue.conf")])
def test_what_cmd_sh_asks_for_is_known_to_the_shipped_files(shell, backend, config) -> None:
    names = ("train_cmd", "cuda_cmd --gpu 2", "decode_cmd")
    for words in names:
        name, _, more = words.partition(" ")
        call = f'. ./cmd.sh; "${{{name}[@]}}" {more} --dry-run JOB=1:2 exp/x.JOB.log true'
        done = shell("bash", "-euc", call, env={"cmd_backend": backend})
        assert done.returncode == 0, done.stderr
        assert {"slurm": "--mem ", "sge": "-l mem_free="}[backend] in done.stdout
    assert read_site(ROOT / "conf" / config, "x").setup == ()


# Anything that a program's argument can hold: no NUL, no lone surrogate.
words = st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=12)
spiced = st.lists(words | st.sampled_from(["JOB", "'", '"', "$(id)", "`", "\\", "\n", "!", "*"]))


@given(st.lists(spiced.map("".join), max_size=5))
@settings(max_examples=60, deadline=None)
def test_the_script_passes_arguments_on_as_they_are(arguments: list[str]) -> None:
    array = parse(["JOB=7:8", "JOB.log", "printf", "%s\\0", *arguments])
    words = " ".join(script.quoted(word, array.name) for word in array.words[1:])
    done = subprocess.run(["bash", "-c", f"_job=8\n{words}"], capture_output=True, check=True)
    expected = subprocess.run(array.jobs[1].command, capture_output=True, check=True)
    assert done.stdout == expected.stdout


def test_the_script_leaves_the_environment_of_the_job_alone(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    array = parse(["--num-threads", "3", "x.log", "env", "-0"])
    submission = script.plan(array.jobs)
    script.write(submission, script.script_text(submission, array, (), "TASK"))
    given = {"TASK": "1", "PATH": "/usr/bin:/bin", "log": "mine", "job": "mine", "status": "mine"}
    subprocess.run(["bash", submission.script], env=given, check=True)
    body = (tmp_path / "x.log").read_text().partition("#\n")[2].partition("# Ended")[0]
    seen = dict(row.split("=", 1) for row in body.split("\0") if "=" in row)
    own = {"PWD", "OLDPWD", "SHLVL", "_"}
    assert {k: v for k, v in seen.items() if k not in own} == {**given, "OMP_NUM_THREADS": "3"}
    assert submission.statuses() == {1: 0}


@pytest.mark.parametrize(("name", "status"), [("USR1", 5), ("TERM", 0)])
def test_a_notice_reaches_the_job_and_its_status_counts(
    tmp_path, monkeypatch, name: str, status: int
) -> None:
    monkeypatch.chdir(tmp_path)
    job = "trap 'echo saved; exit 5' USR1; touch ready; for i in {1..20}; do sleep 0.1; done"
    array = parse(["x.log", "bash", "-c", job])
    submission = script.plan(array.jobs)
    script.write(submission, script.script_text(submission, array, (), "TASK"))
    command = f"TASK=1 bash {submission.script} & pid=$!\n"
    command += f"until [[ -e ready ]]; do sleep 0.05; done; kill -{name} $pid; wait $pid"
    subprocess.run(["bash", "-c", command], check=False)
    assert submission.statuses() == {1: status}
