"""The state of a checkout is that of the code in it."""

import pytest
from support.command_line import run_command

from dkist_processing_core.common.checkouts import CheckoutState, checkout_state


@pytest.fixture
def git(tmp_path):
    """Run git in a checkout in which one commit was made."""

    def run(*arguments):
        identity = ("-c", "user.name=Nobody", "-c", "user.email=nobody@example.org")
        done = run_command("git", *identity, *arguments, cwd=tmp_path).check()
        return done.stdout.strip()

    run("init", "--quiet")
    (tmp_path / "src").mkdir()
    (tmp_path / "src/tasks.py").write_text("GAIN = 1\n")
    (tmp_path / "src/flat.txt").write_text("flat\n")
    (tmp_path / ".gitignore").write_text("_version.py\n")
    run("add", ".")
    run("commit", "--quiet", "--message", "one")
    return run


def test_a_clean_checkout_is_its_commit(git, tmp_path):
    """Files that git ignores, and data that it does not know, are no code."""
    (tmp_path / "src/_version.py").touch()
    (tmp_path / "frame.fits").touch()
    state = checkout_state(tmp_path)
    assert state == CheckoutState(commit=git("rev-parse", "HEAD"), dirty=False, sources_sha256=None)
    assert checkout_state(tmp_path / "src") == state


CHANGES = {
    "a-module": lambda folder: (folder / "src/tasks.py").write_text("GAIN = 2\n"),
    "the-same-module": lambda folder: (folder / "src/tasks.py").write_text("GAIN = 3\n"),
    "data": lambda folder: (folder / "src/flat.txt").write_text("flatter\n"),
    "a-module-less": lambda folder: (folder / "src/tasks.py").unlink(),
    "a-new-module": lambda folder: (folder / "src/naïve, new.py").touch(),
    "a-new-module-with-text": lambda folder: (folder / "src/naïve, new.py").write_text("1\n"),
}


def test_each_state_of_a_dirty_checkout_has_its_digest(git, tmp_path):
    """Which is not that of the clean one; what is staged is no other state."""
    states = []
    for change in CHANGES.values():
        change(tmp_path)
        states.append(checkout_state(tmp_path))
        git("add", "--all")
        assert checkout_state(tmp_path) == states[-1]
        git("reset", "--quiet", "--hard")
    assert {(each.commit, each.dirty) for each in states} == {(git("rev-parse", "HEAD"), True)}
    assert len({each.sources_sha256 for each in states} - {None}) == len(CHANGES)


def test_without_git_the_python_files_are_the_state(tmp_path, monkeypatch):
    """No commit, and a digest of them; not of those in hidden folders and virtual environments."""
    (tmp_path / "tasks.py").write_text("GAIN = 1\n")
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv/pyvenv.cfg").touch()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    state = checkout_state(tmp_path)
    assert (state.commit, state.dirty) == (None, None)
    for ignored in ("venv/x.py", ".hidden.txt"):
        (tmp_path / ignored).touch()
    assert checkout_state(tmp_path) == state
    monkeypatch.setenv("PATH", str(tmp_path))
    assert checkout_state(tmp_path) == state
    (tmp_path / "tasks.py").write_text("GAIN = 2\n")
    assert checkout_state(tmp_path).sources_sha256 != state.sources_sha256


def test_a_variable_of_git_does_not_lead_to_another_repository(git, tmp_path, monkeypatch):
    """Such as those that git sets for a hook."""
    state = checkout_state(tmp_path)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert checkout_state(tmp_path) == state


def test_what_cannot_be_read_keeps_nobody_from_a_state(git, tmp_path):
    """A link that leads nowhere, and a repository in this one; the task that needs them says more of it."""
    (tmp_path / "src/new.py").symlink_to("nowhere")
    state = checkout_state(tmp_path)
    assert state.dirty
    (tmp_path / "inner").mkdir()
    git("init", "--quiet", "inner")
    assert checkout_state(tmp_path) == state
    assert checkout_state(tmp_path / "missing").commit is None
