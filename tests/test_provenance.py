"""Commit and call, as stamps and cards tell them."""

import subprocess

import pytest

from espnet_local.provenance import commit, without_folders


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("./run.sh --corpus kaldi:/home/ann/own", "./run.sh --corpus kaldi:.../own"),
        ("./run.sh --expdir /exp --data data/a", "./run.sh --expdir .../exp --data data/a"),
        ("./run.sh --data=/a/b/ --nj 2", "./run.sh --data=.../b/ --nj 2"),
        (r"./run.sh --fsdd_dir /home/a\ b/c\ d", "./run.sh --fsdd_dir '.../c d'"),
        ("./run.sh --pretrained facebook/x", "./run.sh --pretrained facebook/x"),
        ("/home/ann/xlsr/run.sh --seed 1 --sets dev,test", ".../run.sh --seed 1 --sets dev,test"),
        ("./run.sh --data ~ann/secret --expdir ~", "./run.sh --data .../secret --expdir ..."),
        ("./run.sh --expdir ../../home/ann/exp", "./run.sh --expdir .../exp"),
        ("./run.sh --x=-I/home/ann/q -I/home/ann/r", "./run.sh --x=.../q .../r"),
        (r"./run.sh --data C:\\Users\\ann", "./run.sh --data C:.../ann"),
        ("./run.sh --parts train=/home/ann/a,dev=b", "./run.sh --parts train=.../a,dev=b"),
        ("./run.sh --data a/../../home/ann/.x", "./run.sh --data ..."),
        ("./run.sh --data file:///home/ann/x", "./run.sh --data ..."),
        (
            "./run.sh --pretrained https://example.org/model",
            "./run.sh --pretrained https://example.org/model",
        ),
        ("./run.sh --pretrained https://ann:key@example.org/m", "./run.sh --pretrained ..."),
        ("./run.sh --pretrained https://example.org/m?token=1", "./run.sh --pretrained ..."),
    ],
)
def test_a_call_is_told_without_folders_of_the_machine(call, told):
    assert without_folders(call) == told


def test_the_commit_is_that_of_a_repository_of_ones_own_only(tmp_path):
    assert commit(tmp_path) is None

    def git(*arguments):
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        call = ["git", "-C", str(tmp_path), *who, *arguments]
        return subprocess.run(call, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside/a").write_text("a")
    git("add", "-A")
    git("commit", "-qm", "a")
    head = git("rev-parse", "HEAD")
    assert commit(tmp_path) == head
    assert commit(tmp_path / "inside") is None
    (tmp_path / "inside/a").write_text("b")
    assert commit(tmp_path) == f"{head}-dirty"
