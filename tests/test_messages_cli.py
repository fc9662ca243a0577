"""The commands by which a person lists, sends and drops the pending messages."""

import contextlib
import functools
import json
import os
import socket
import time

import pytest
from support.command_line import PROGRAM, ended, run_program, start_command
from support.mesh import mesh_config
from support.messages import QUEUE, new_envelope
from support.ports import free_ports

from dkist_processing_core.isb import pending, spool


@pytest.fixture
def command(command):
    """Run one of the commands for messages; return exit status, standard output and standard error."""
    return functools.partial(command, "messages")


def spooled(number=1, **changes):
    """Put a message into the spool folder; return the name of its file."""
    body = {"workflowName": "w", "workflowVersion": "1.0", "taskName": f"T{number}", "dagRunId": "manual__1"}
    values = {"body": json.dumps(body), "type": "recipe.run.failure", "timestamp": 1789000000, **changes}
    return spool.write(new_envelope(number, **values)).name


def damaged_file(text="{"):
    name = f"{1:020d}-{0xD:032x}.json"
    (spool.prepare(spool.spool_folder()) / name).write_text(text)
    return name


def left():
    """Return the names of the pending files."""
    return sorted(each.name for each in spool.spool_folder().glob("*.json"))


def delivered(broker):
    """Take the messages out of the queue and return their ids as numbers."""
    return [int(properties.message_id, 16) for properties, _ in broker.take_all(QUEUE)]


def test_an_empty_folder_has_no_pending_messages(command):
    """Each command succeeds, names the folder and that it is not there, and creates nothing."""
    folder = spool.spool_folder()
    empty = (0, f"There are no pending messages in {folder}, which does not exist.\n", "")
    assert command("list") == empty
    assert command("list", "--json") == (0, "[]\n", "")
    assert command("send") == empty
    assert json.loads(command("send", "--json")[1]) == {"sent": [], "pending": []}
    assert command("drop", "--all") == empty
    assert not folder.exists()


def test_the_list_shows_what_is_pending_the_oldest_first(command):
    """A row for each message: since when, which file, and what has failed when."""
    names = [spooled(1), spooled(2)]
    output = command("list").check(stderr="").stdout
    header, *rows, total = output.splitlines()
    assert header.split() == ["spooled", "message", "summary"]
    assert [row[13:].split()[0] for row in rows] == names
    assert rows[0].endswith("w 1.0 T1 manual__1 failed at 2026-09-10 00:26:40 UTC")
    assert total == f"2 pending in {spool.spool_folder()}, 0 of them damaged"


@pytest.mark.parametrize(
    ("changes", "end"),
    [
        ({"recipeRunId": 42, "error": "Traceback\nValueError: no flat\n"}, "recipe run 42 failed: ValueError: no flat"),
        ({"recipeRunId": 0}, "recipe run 0 failed"),
        ({"recipeRunId": "x", "error": None}, "recipe run x failed"),
        ({"error": "odd \x1b[31m\u202e\udce9"}, r"failed: odd \x1b[31m\u202e\udce9"),
        ({"error": "x" * 5000}, f"failed: {'x' * 900}"),
        ({"error": ["no", "text"]}, "failed: ['no', 'text']"),
    ],
    ids=["both", "zero", "text", "odd", "long", "list"],
)
def test_the_list_shows_recipe_run_and_error(command, changes, end):
    """In one line that a terminal can show, whatever the message holds."""
    body = {"workflowName": "w", "workflowVersion": "1.0", "taskName": "T", "dagRunId": "r", **changes}
    spooled(1, body=json.dumps(body), timestamp=0)
    _, row, _ = command("list")[1].splitlines()
    assert end in row
    assert len(row) < 1200


def test_programs_can_read_the_list(command):
    """As JSON, with the body as it will be sent."""
    name = spooled(1)
    [data] = json.loads(command("list", "--json")[1])
    assert data.pop("spooled_at").startswith("20")
    assert data == {
        "name": name,
        "path": str(spool.spool_folder() / name),
        "damage": None,
        "set_aside": False,
        "refusals": [],
        "message_id": f"{1:032x}",
        "routing_key": "recipe.run.failure.m",
        "body": {"workflowName": "w", "workflowVersion": "1.0", "taskName": "T1", "dagRunId": "manual__1"},
    }


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"queue": 3}', "\0", '{"routing_key": "k", "queue": "q", "body": 1, "message_id": "m"}'],
    ids=["empty", "cut", "list", "no-keys", "type", "zero", "body-is-no-text"],
)
def test_a_damaged_file_is_listed_as_such(command, text):
    """With the reason, beside the others."""
    damaged, good = damaged_file(text=text), spooled(1)
    _, first, second, total = command("list")[1].splitlines()
    assert "damaged: " in first
    assert damaged in first
    assert good in second
    assert total.endswith("1 of them damaged")
    data = json.loads(command("list", "--json")[1])
    assert [(each["name"], each["damage"] is None) for each in data] == [(damaged, False), (good, True)]
    assert data[0]["body"] is None


@pytest.mark.parametrize(
    ("changes", "summary"),
    [
        ({"body": "no JSON", "routing_key": "other.m"}, "other.m"),
        ({"body": '{"level": "INFO"}', "routing_key": "other.m"}, "other.m"),
        ({"timestamp": 0}, "w 1.0 T1 manual__1 failed"),
        ({"timestamp": 10**18}, "w 1.0 T1 manual__1 failed"),
    ],
    ids=["no-json", "another-kind", "no-time", "beyond-time"],
)
def test_what_a_message_does_not_say_is_left_out(command, changes, summary):
    """A message of another kind is listed with its routing key, and one without a time without it."""
    spooled(1, **changes)
    assert command("list")[1].splitlines()[1].endswith(f"json  {summary}")


ODD = {
    "mine.json": "{}",
    "1-x.json": "{}",
    f"{1:020d}-{'X' * 32}.json": "{}",
    f"{1:020d}-{2:032x}.json.bak": "{}",
    f".{1:020d}-{2:032x}.json.part": "{}",
    "raw\nframes": "",
    "odd \udce9": "",
}


def foreign_things(folder):
    """Put things that are not ours into a folder, some of them with a name of our form; return their names."""
    for name, text in ODD.items():
        (folder / name).write_text(text)
    names = [f"{number:020d}-{number:032x}.json" for number in range(10, 15)]
    os.mkfifo(folder / names[0])
    (folder / names[1]).symlink_to(folder / "gone")
    (folder / names[2]).symlink_to(folder / "mine.json")
    (folder / names[3]).mkdir()
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as peer:
        peer.bind(os.fsencode(os.path.relpath(folder / names[4])))
    return {*ODD, *names}


def everything_in(folder):
    return {each.name for each in folder.iterdir()}


@pytest.mark.parametrize("verb", ["list", "send", "drop"])
def test_what_is_not_ours_in_the_folder_is_left_alone_and_named(command, verb):
    """A FIFO, links, folders, a socket and other people's files, whatever they are called; nothing waits for them."""
    folder = spool.prepare(spool.spool_folder())
    aside = folder / spool.SET_ASIDE
    aside.mkdir()
    foreign = foreign_things(folder)
    assert foreign_things(aside) == foreign
    assert (len(spool.contents(folder).foreign), list(spool.pending())) == (10, [])
    error = command(verb, *(["--all"] if verb == "drop" else [])).check().stderr
    assert error.startswith(f"Warning: ignored in {folder}, since they are not messages of this library: 24 (")
    assert "\udce9" not in error
    assert (everything_in(folder), everything_in(aside)) == (foreign | {spool.MARK, aside.name}, foreign)


@pytest.mark.parametrize("verb", ["list", "send", "drop"])
def test_nothing_is_ours_in_a_folder_without_our_mark(command, tmp_path, verb):
    """Not even what looks exactly like a message: somebody has named the wrong folder."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / f"{1:020d}-{2:032x}.json").write_text(new_envelope().to_json())
    before = everything_in(folder)
    status, _, error = command(verb, "--spool", folder, *(["--all"] if verb == "drop" else []))
    assert (status, "Warning: ignored in" in error) == (0, True)
    assert everything_in(folder) == before


def test_another_folder_can_be_named(command, tmp_path, monkeypatch):
    """By --spool, in place of DKIST_ISB_SPOOL."""
    other = spool.spool_folder()
    name = spooled(1)
    monkeypatch.setenv("DKIST_ISB_SPOOL", str(tmp_path / "mine"))
    assert command("list")[1] == f"There are no pending messages in {tmp_path / 'mine'}, which does not exist.\n"
    assert name in command("list", "--spool", other)[1]
    assert command("drop", "--all", "--spool", other)[0] == 0
    assert command("list", "--spool", other)[1] == f"There are no pending messages in {other}.\n"


def test_messages_are_sent_all_or_by_name(command, broker):
    """The oldest is first; each is listed, and gone from the folder; a name that is given twice is sent once."""
    names = [spooled(number) for number in range(3)]
    assert command("send", names[2], names[0], names[2])[0] == 0
    assert left() == [names[1]]
    assert sorted(delivered(broker)) == [0, 2]
    names = [names[1], spooled(3), spooled(4)]
    assert command("send") == (0, "".join(f"sent: {name}\n" for name in names) + "3 sent, 0 not sent\n", "")
    assert left() == []
    assert delivered(broker) == [1, 3, 4]


def test_programs_can_read_what_was_sent(command, broker):
    """As JSON, with the reason for what stays."""
    damaged, good = damaged_file(), spooled(1)
    output = command("send", "--json").check(status=1, stderr="").stdout
    report = json.loads(output)
    assert report["sent"] == [good]
    [pending] = report["pending"]
    assert (pending["name"], pending["reason"].startswith("damaged: ")) == (damaged, True)


def test_files_of_the_previous_release_are_sent(command, broker):
    """They also hold exchange and queue type, which the settings decide now."""
    older = {"exchange": "another.x", "queue_arguments": {"x-queue-type": "quorum"}}
    known = {"body": '{"taskName": "T"}', "message_id": f"{7:032x}", "queue": QUEUE}
    name = damaged_file(text=json.dumps({**older, **known, "routing_key": "recipe.run.failure.m"}))
    assert command("send") == (0, f"sent: {name}\n1 sent, 0 not sent\n", "")
    assert delivered(broker) == [7]


def test_while_the_broker_is_away_all_messages_stay(command, broker, monkeypatch):
    """Exit status 1 in bounded time, more messages take no longer; once it is back one send delivers each once."""
    monkeypatch.setattr(pending, "BATCH_SECONDS", 3.0)
    monkeypatch.setattr(pending, "BATCH_MESSAGES", 5)
    names = [spooled(number) for number in range(12)]
    with broker.stopped():
        started = time.monotonic()
        status, output, error = command("send")
        assert time.monotonic() - started < 60  # each by itself would take 7.5 s
    assert (status, output) == (1, "0 sent, 12 not sent\n")
    assert [line.partition(": interservice")[0] for line in error.splitlines()] == [
        f"not sent: {name}" for name in names
    ]
    assert error.count("ConnectionRefusedError") == 12
    assert left() == names
    assert command("send")[0] == 0
    assert left() == []
    assert delivered(broker) == list(range(12))


def test_malformed_settings_are_one_error_message(command, monkeypatch):
    """Exit status 1 with what the variable must look like, in one line of the program, and the message stays."""
    name = spooled(1)
    monkeypatch.setenv("MESH_CONFIG", '{"interservice-bus": 3}')
    status, output, error = command("send")
    assert (status, output) == (1, "")
    assert "Error: MESH_CONFIG has no valid address for 'interservice-bus'" in error
    assert "must look like" in error
    monkeypatch.setenv("MESH_CONFIG", "{}")
    monkeypatch.setenv("DKIST_ISB_TLS", "perhaps")
    assert "Error: DKIST_ISB_TLS: Input should be a valid boolean" in command("send")[2]
    status, output, error = run_program("messages", "send", MESH_CONFIG="{", DKIST_ISB_TLS="")
    assert (status, output, error.count("\n")) == (1, "", 1)
    assert error.startswith("Error: MESH_CONFIG is not JSON")
    assert left() == [name]


def test_while_another_process_sends_nothing_is_sent(command, monkeypatch):
    """Exit status 1 after a while, and the message stays."""
    monkeypatch.setattr("dkist_processing_core.cli.messages.BUSY_SECONDS", 0.3)
    name = spooled(1)
    with spool.lock(spool.spool_folder(), seconds=0):
        status, output, error = command("send")
    assert (status, output) == (1, "")
    assert error == f"Error: another process is sending the messages in {spool.spool_folder()}; try again later.\n"
    assert left() == [name]


def test_a_message_that_another_process_sends_meanwhile_is_no_error(command, broker, monkeypatch):
    """Files that disappear before their turn are neither sent nor reported."""
    names = [spooled(1), spooled(2)]
    real_lock = spool.lock

    @contextlib.contextmanager
    def lock_after_others(folder, *, seconds=0):
        (folder / names[0]).unlink()
        with real_lock(folder, seconds=seconds) as is_ours:
            yield is_ours

    monkeypatch.setattr(spool, "lock", lock_after_others)
    assert command("send", *names) == (0, f"sent: {names[1]}\n1 sent, 0 not sent\n", "")
    assert delivered(broker) == [2]


def test_the_program_sends_what_is_pending(broker):
    """As a person starts it, several at once: each message is delivered once, and all of them succeed."""
    names = [spooled(number) for number in range(200)]
    processes = [start_command(PROGRAM, "messages", "send") for _ in range(3)]
    outputs = [ended(process).check(stderr="").stdout for process in processes]
    sent = [line for output in outputs for line in output.splitlines() if line.startswith("sent: ")]
    assert sent == [f"sent: {name}" for name in names]
    assert left() == []
    assert delivered(broker) == list(range(200))


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
@pytest.mark.parametrize(("arguments", "end"), [(["list"], "2 pending"), (["drop", "--all"], "dropped: ")])
def test_a_terminal_that_cannot_show_a_character_hides_no_message(arguments, end, encoding):
    """The character is escaped, and the command goes on behind it."""
    body = {"workflowName": "w", "workflowVersion": "1.0", "taskName": "T", "error": "\u2192 \U0001f52d"}
    for number in (1, 2):
        spooled(number, body=json.dumps(body))
    lines = run_program("messages", *arguments, PYTHONIOENCODING=encoding).check(stderr="").stdout.splitlines()
    assert sum("T failed at" in line for line in lines) == 2
    assert lines[-1].startswith(end)
    assert len(left()) == (2 if arguments == ["list"] else 0)


def test_messages_are_dropped_all_or_by_name(command):
    """The output shows each; the others stay, damaged ones go too with --all, and a dry run drops nothing."""
    names = [damaged_file(), *(spooled(number) for number in range(3))]
    _, first, between, last = names
    _, output, _ = command("drop", first, last, "--dry-run")
    assert [line.partition(": w ")[0] for line in output.splitlines()] == [
        f"would be dropped: {first}",
        f"would be dropped: {last}",
    ]
    assert command("drop", "--all", "--dry-run")[0] == 0
    assert left() == sorted(names)
    status, output, _ = command("drop", first, last)
    shown = f"dropped: {first}: w 1.0 T0 manual__1 failed at 2026-09-10 00:26:40 UTC"
    assert (status, output.splitlines()[0]) == (0, shown)
    assert left() == sorted([names[0], between])
    status, output, _ = command("drop", "--all")
    assert (status, output.count("dropped: ")) == (0, 2)
    assert left() == []


def test_a_file_that_cannot_be_dropped_does_not_keep_the_others(command, monkeypatch):
    """It is named, with exit status 1 (root may delete every file, so the error is made up)."""
    names = [spooled(1), spooled(2)]
    remove = spool.remove

    def remove_second(message):
        if message.file.name == names[0]:
            raise PermissionError("not yours")
        remove(message)

    monkeypatch.setattr(spool, "remove", remove_second)
    _, output, error = command("drop", "--all").check(status=1)
    assert output.count("dropped: ") == 1
    assert error == f"not dropped: {names[0]}: not yours\n"
    assert left() == [names[0]]


@pytest.mark.parametrize("arguments", [[], ["--dry-run"], ["--all", "name.json"]], ids=["neither", "dry-run", "both"])
def test_dropping_needs_names_or_all(command, arguments):
    """Neither or both is an error of the command line, and nothing is dropped."""
    name = spooled(1)
    command("drop", *arguments).check('give the names of messages, as shown by "list", or --all.', status=2)
    assert left() == [name]


@pytest.mark.parametrize("verb", ["send", "drop"])
def test_a_name_that_is_not_there_is_an_error_of_the_command_line(command, verb, monkeypatch):
    """With the closest one; nothing is sent or dropped, not even what is there."""
    [port] = free_ports(1)
    monkeypatch.setenv("MESH_CONFIG", mesh_config(port))
    name = spooled(1)
    error = command(verb, name, name.removesuffix(".json")).check(status=2).stderr
    words = " ".join(error.split())
    assert f"there is no message {name.removesuffix('.json')!r} (did you mean {name!r}?)" in words
    assert 'See "dkist-processing-core messages list".' in words
    assert left() == [name]
