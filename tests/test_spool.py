"""The spool folder: what is sent first, what is refused, what a power cut leaves, and where the folder is."""

import contextlib
import fcntl
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.command_line import run_python
from support.mesh import mesh_config
from support.messages import OTHER_QUEUE, QUEUE, new_envelope
from support.peers import relay
from support.waiting import PATIENCE_SECONDS

from dkist_processing_core.failure_callback import chat_ops_notification
from dkist_processing_core.isb import pending, spool
from dkist_processing_core.isb.pending import send_pending
from dkist_processing_core.isb.publisher import deliver

LIMIT_BYTES = 20_000


def put(text, number=1):
    """Write a file with a name of our form into the spool folder; return its name."""
    name = f"{number:020d}-{number:032x}.json"
    file = spool.prepare(spool.spool_folder()) / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return name


def put_messages(numbers):
    return [put(new_envelope(number).to_json(), number) for number in numbers]


def ids(broker, queue=QUEUE):
    return [int(properties.message_id, 16) for properties, _ in broker.take_all(queue)]


@pytest.fixture(scope="module")
def limited(rabbitmq):
    """A broker that takes no message of more than some bytes; it closes the channel, and does not say for which."""
    before = rabbitmq.control("eval", "rabbit_misc:get_env(rabbit, max_message_size, 134217728).").strip()
    rabbitmq.control("eval", f"application:set_env(rabbit, max_message_size, {LIMIT_BYTES}).")
    yield
    rabbitmq.control("eval", f"application:set_env(rabbit, max_message_size, {before}).")


@pytest.fixture
def small_messages(limited, broker):
    """The queues of that broker, empty."""
    return broker


def too_large(number=1):
    return new_envelope(number, body=json.dumps({"x": "x" * LIMIT_BYTES}))


UNSENDABLE = {
    "long-id": new_envelope(message_id="x" * 300).to_json(),
    "long-type": new_envelope(type="x" * 300).to_json(),
    "no-queue": new_envelope(queue="").to_json(),
    "line-break": new_envelope(queue="a\n", routing_key="k").to_json(),
    "surrogate": new_envelope(body="\ud800").to_json(),
    "surrogate-id": new_envelope(message_id="\ud800").to_json(),
    "surrogate-key": new_envelope(routing_key="\udfff").to_json(),
    "negative-time": new_envelope(timestamp=-1).to_json(),
    "huge-time": new_envelope(timestamp=2**70).to_json(),
    "nested": "[" * 200000,
    "no-utf-8": new_envelope(body="\xe9").to_json().encode().replace(b"\\u00e9", b"\xe9"),
    "utf-16": new_envelope().to_json().encode("utf-16"),
    "binary": bytes(range(256)),
    "empty": "",
    "huge": b" " * (spool.LARGEST_BYTES + 1),
    "list": "[]",
    "too-large-for-the-broker": too_large().to_json(),
    "reserved-queue": new_envelope(queue="amq.reserved", routing_key="k").to_json(),
}


@pytest.mark.parametrize("text", UNSENDABLE.values(), ids=UNSENDABLE.keys())
def test_a_message_that_can_never_be_sent_costs_no_other_its_turn(small_messages, text):
    """It remains with what is wrong with it, and what is behind it is sent, each message once."""
    name = put(text)
    put_messages(range(2, 30))
    report = send_pending(seconds=PATIENCE_SECONDS)
    assert [each for each, _ in report.pending] == [name]
    assert len(report.sent) == 28
    taken = ids(small_messages)
    assert sorted(set(taken)) == list(range(2, 30))


def test_a_message_that_can_never_be_sent_is_set_aside_with_its_reason(small_messages, caplog):
    """After some tries, of which each is in the list; from then on it is sent only when somebody asks for it."""
    name = put(too_large().to_json())
    for number in range(spool.TRIES):
        assert [each for each, _ in send_pending(seconds=PATIENCE_SECONDS).pending] == [name], number
        [message] = spool.pending()
        assert (len(message.refusals), message.is_set_aside) == (number + 1, number + 1 == spool.TRIES)
        assert "406 PRECONDITION_FAILED - message size " in message.refusals[-1]
        assert "ISB_QUEUE_TYPE" not in message.refusals[-1]
    assert f"{name} was refused {spool.TRIES} times and is set aside in" in caplog.text
    assert send_pending(seconds=PATIENCE_SECONDS) == pending.SendReport()
    assert [each for each, _ in send_pending(seconds=PATIENCE_SECONDS, is_complete=True).pending] == [name]
    aside = spool.spool_folder() / spool.SET_ASIDE
    (aside / name).write_text(new_envelope(1).to_json())  # as if the broker took it by now
    assert send_pending(seconds=PATIENCE_SECONDS, is_complete=True).sent == [name]
    assert ids(small_messages) == [1]
    assert {*aside.parent.iterdir(), *aside.iterdir()} == {aside, aside.parent / spool.MARK}


@pytest.mark.parametrize("numbers", [[0], [29], [0, 29], [3, 4, 5, 20], range(30)], ids=str)
def test_messages_that_are_too_large_are_found_among_others(small_messages, numbers):
    """First, last, side by side, all: each is refused for itself, and the others arrive in one call."""
    envelopes = [too_large(each) if each in numbers else new_envelope(each) for each in range(30)]
    errors = deliver(envelopes, seconds=PATIENCE_SECONDS)
    assert sorted(errors) == list(numbers)
    assert all(error.is_refusal and not error.retryable for error in errors.values())
    assert set(ids(small_messages)) == set(range(30)) - set(numbers)


def test_a_message_for_which_the_connection_is_closed_costs_no_other_its_turn(broker, monkeypatch):
    """Such as by a broker that finds a fault in a frame; here the relay spoils it."""

    def spoil(data):
        return data.replace(b"POISON", b"POISON\xff\xff\xff") if b"POISON" in data else data

    put(new_envelope(1, body='"POISON"').to_json())
    names = put_messages(range(2, 10))
    with relay(broker.port, to_broker=spoil) as port:
        monkeypatch.setenv("MESH_CONFIG", mesh_config(port))
        report = send_pending(seconds=PATIENCE_SECONDS)
    assert sorted(report.sent) == names
    assert set(ids(broker)) == set(range(2, 10))


def test_what_was_refused_is_tried_after_what_never_was(broker, monkeypatch):
    """However many were refused, those behind them have their turn first, and the refused ones take turns."""
    refused = [put(new_envelope(each, queue="amq.reserved", routing_key="k").to_json(), each) for each in (1, 2)]
    send_pending(seconds=PATIENCE_SECONDS)
    tried = []
    found = spool.contents(spool.spool_folder())
    assert (found.messages, found.refused) == ([], refused)
    put_messages([3])
    monkeypatch.setattr(pending, "BATCH_MESSAGES", 1)
    monkeypatch.setattr(
        pending, "_send_batch", lambda batch, *_: [tried.append(each.file.name) for each, _ in batch] and {}
    )
    send_pending()
    assert tried == [f"{3:020d}-{3:032x}.json", *refused]


def test_a_full_queue_sets_nothing_aside(broker):
    """A message that is refused for now remains in its place however often it is tried."""
    broker.forget(OTHER_QUEUE)
    connection = broker.connect()
    channel = connection.channel()
    arguments = {"x-queue-type": "classic", "x-max-length": 1, "x-overflow": "reject-publish"}
    channel.queue_declare(OTHER_QUEUE, durable=True, arguments=arguments)
    channel.exchange_declare("master.direct.x", exchange_type="direct", durable=True)
    channel.queue_bind(OTHER_QUEUE, "master.direct.x", "other.m")
    connection.close()
    for number in range(1, 4):
        put(new_envelope(number, queue=OTHER_QUEUE, routing_key="other.m").to_json(), number)
    for _ in range(spool.TRIES + 2):
        report = send_pending(seconds=PATIENCE_SECONDS)
    assert {"basic.nack" in reason for _, reason in report.pending} == {True}
    assert not any(each.is_set_aside for each in spool.pending())
    broker.forget(OTHER_QUEUE)


def test_each_callback_sends_the_fresh_message_and_some_of_a_large_spool(broker, monkeypatch, caplog):
    """What is read is bounded, so the number of waiting messages does not matter; the oldest go first."""
    monkeypatch.setattr(pending, "BATCH_MESSAGES", 100)
    put_messages(range(1, 3001))
    read = []
    real = spool.read
    monkeypatch.setattr(spool, "read", lambda file: read.append(file) or real(file))
    monkeypatch.setattr("dkist_processing_core.isb.publisher.TOTAL_SECONDS", 20)
    monkeypatch.setattr(pending, "time", Clock(steps=600))
    with caplog.at_level(logging.INFO):
        message = chat_ops_notification({"run_id": "r"}, "w", "1", "T")
    left = sum(1 for _ in spool.spool_folder().glob("*.json"))
    assert len(read) <= 3000 - left + 100
    assert f"{3000 - left} pending messages were sent, {left} remain" in caplog.text
    fresh, *others = (properties.message_id for properties, _ in broker.take_all(QUEUE))
    assert fresh == message.message_id
    assert [int(each, 16) for each in others] == list(range(1, 3001 - left))
    assert 0 < left < 3000


class Clock:
    """A clock that passes its limit after so many looks at it, so that no test depends on speed."""

    def __init__(self, steps):
        self.left = steps

    def monotonic(self):
        self.left -= 1
        return time.monotonic() if self.left > 0 else time.monotonic() + 1000


def test_a_fresh_message_that_is_refused_does_not_keep_the_others_from_being_sent(small_messages):
    """The broker answers, so what is pending is sent; the fresh one joins it."""
    put_messages(range(1, 4))
    message = chat_ops_notification({"run_id": "r" * LIMIT_BYTES}, "w", "1", "T")
    assert ids(small_messages) == [1, 2, 3]
    assert [each.envelope.message_id for each in spool.pending()] == [message.message_id]


def part_of(text, name=f"{1:020d}-{1:032x}.json"):
    part = spool.prepare(spool.spool_folder()) / f".{name}.0123abcd.part"
    part.write_text(text)
    return part


def test_a_part_that_a_power_cut_has_left_is_taken_over():
    """Nobody holds its lock, so its writer is gone; it is a message like any other, and if cut off a damaged one."""
    half = part_of(new_envelope(1).to_json()[:40])
    whole = part_of(new_envelope(2).to_json(), f"{10**18:020d}-{2:032x}.json")
    first, second = spool.pending()
    assert first.damage.startswith("JSONDecodeError")
    assert (second.envelope, second.spooled_at) == (new_envelope(2), datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC))
    assert not whole.exists()
    assert not half.exists()


def test_a_part_that_somebody_writes_is_left_to_him():
    """A lock says so, whatever its age; an empty one may be locked next, unless it is old."""
    part = part_of(new_envelope(1).to_json())
    os.utime(part, (0, 0))
    code = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"
    writer = subprocess.Popen([sys.executable, "-c", code, part], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    writer.stdout.readline()
    assert spool.contents(part.parent) == spool.Contents()
    writer.communicate(b"\n")
    empty = part_of("", name=f"{2:020d}-{2:032x}.json")
    assert len(spool.contents(part.parent).messages) == 1
    os.utime(empty, (0, 0))
    assert len(spool.contents(part.parent).messages) == 1
    assert not empty.exists()


def test_a_file_system_without_locks_holds_up_no_message(monkeypatch, caplog):
    """A part is taken over once it is old, and pending messages are sent, with a warning."""

    def flock(*_):
        raise OSError("no locks")

    part = part_of(new_envelope().to_json())
    monkeypatch.setattr(fcntl, "flock", flock)
    assert spool.contents(part.parent) == spool.Contents()
    os.utime(part, (0, 0))
    assert len(spool.contents(part.parent).messages) == 1
    with spool.lock(part.parent, seconds=0) as is_locked:
        assert is_locked
    assert caplog.messages == [f"The spool folder {part.parent} cannot be locked: no locks"]


def test_a_lock_is_waited_for():
    """As long as the caller likes."""
    folder = spool.prepare(spool.spool_folder())
    with contextlib.ExitStack() as first:
        first.enter_context(spool.lock(folder, seconds=0))
        with spool.lock(folder, seconds=0) as is_locked:
            assert not is_locked
        threading.Timer(0.3, first.close).start()
        with spool.lock(folder, seconds=PATIENCE_SECONDS) as is_locked:
            assert is_locked


def test_a_file_that_is_too_large_for_a_message_is_damaged():
    """It is not read into memory; one that is not there is no message, and what is no file may pass."""
    text, limit = new_envelope().to_json(), 4 * 2**20
    for size in (limit, limit + 1):
        put(text.ljust(size), size)
    largest, larger = spool.pending()
    assert largest == spool.SpooledMessage(largest.file, new_envelope())
    assert larger.damage == f"the file has {limit + 1} bytes, and at most {limit} are sent"
    assert (larger.envelope, larger.is_readable) == (None, True)
    assert spool.contents(larger.file) == spool.Contents()
    with pytest.raises(FrozenInstanceError):
        larger.damage = ""
    larger.file.unlink()
    assert spool.read(larger.file) is None
    larger.file.mkdir()
    assert not spool.read(larger.file).is_readable


def test_a_message_that_is_refused_again_and_again_is_set_aside(caplog):
    """After five refusals, whose reasons are kept however long they are; it still counts."""
    folder = spool.spool_folder()
    assert spool.pending_count(folder) == 0
    names = put_messages([1, 2])
    for number in range(5):
        for message in spool.pending():
            assert (len(message.refusals), message.is_set_aside) == (number, False)
            spool.note_refusal(message.file, "\U0001f600" * 2000, is_final=True)
    assert spool.contents(folder) == spool.Contents(set_aside=names)
    assert spool.pending_count(folder) == 2
    assert caplog.text.count(f"was refused 5 times and is set aside in {folder / spool.SET_ASIDE}: ") == 2
    for message in spool.pending():
        assert [len(each) for each in message.refusals] == [len("2026-01-01T00:00:00Z ") + 1000] * 5
        spool.remove(message)
        spool.remove(message)
    assert list((folder / spool.SET_ASIDE).iterdir()) == []


def test_a_refusal_that_cannot_be_noted_costs_nothing(caplog):
    """A file in the place of the subfolder is named; what may pass, and what somebody has dropped, needs none."""
    file = spool.prepare(spool.spool_folder()) / put(new_envelope().to_json())
    (file.parent / spool.SET_ASIDE).touch()
    for _ in range(spool.TRIES):
        spool.note_refusal(file, "no", is_final=True)
    spool.note_refusal(file, "not now", is_final=False)
    spool.note_refusal(file.parent / "gone" / file.name, "no", is_final=True)
    [text] = caplog.messages
    assert text.startswith(f"The reason why {file} was refused cannot be kept: [Errno 17]")


def test_a_message_is_on_the_disk_before_its_name_and_its_name_before_the_call_returns(monkeypatch, tmp_path):
    """The file is synchronised, then renamed, then its folder; a new folder's name is in its parent by then."""
    monkeypatch.setenv("DKIST_ISB_SPOOL", str(tmp_path / "new" / "spool"))
    order = []
    real_sync, real_rename = os.fsync, os.rename
    here = Path("/proc/self/fd")
    monkeypatch.setattr(os, "fsync", lambda each: order.append(str((here / str(each)).readlink())) or real_sync(each))
    monkeypatch.setattr(os, "rename", lambda *each: order.append("rename") or real_rename(*each))
    file = spool.write(new_envelope(1))
    folder = file.parent
    assert order[-2:] == ["rename", str(folder)]
    assert spool.PART.fullmatch(Path(order[-3]).name)
    assert {str(tmp_path), str(folder.parent), str(folder / spool.MARK)} < set(order)


def test_nothing_is_left_of_a_message_that_could_not_be_written(monkeypatch):
    """Such as on a full disk."""

    def full_disk(_):
        raise OSError("full")

    spool.prepare(spool.spool_folder())
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="full"):
        spool.write(new_envelope(1))
    assert [each.name for each in spool.spool_folder().iterdir()] == [spool.MARK]


@pytest.mark.parametrize(
    "message_id", ["m", "a/b", "x" * 300, "", "\ud800"], ids=["short", "slash", "long", "no", "odd"]
)
def test_any_message_id_gives_a_name_of_our_form(message_id):
    """The id itself stays in the message."""
    file = spool.write(new_envelope(message_id=message_id))
    assert spool.MESSAGE.fullmatch(file.name)
    assert json.loads(file.read_text())["message_id"] == message_id


WITHOUT_PASSWD_ENTRY = """
import logging, os
from dkist_processing_core.failure_callback import chat_ops_notification, dag_run_failure_notification
# Python may lie where that user cannot read it.
import encodings.idna
from dkist_processing_core.isb import pending, publisher
from dkist_processing_core.isb.failures import context, message
os.setgid(54321)
os.setuid(54321)
logging.basicConfig(level="WARNING")
chat_ops_notification({"run_id": "r", "exception": ValueError("no flat")}, "w", "1", "T")
dag_run_failure_notification({"run_id": "s"}, "w", "1")
"""


@pytest.fixture
def open_folder():
    """A folder that every user can write to; those of pytest let in nobody else."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


AS_ANOTHER_USER = """
import os
from dkist_processing_core.isb import spool
os.setgid(65534)
os.setuid(65534)
found = spool.contents(spool.spool_folder())
with spool.lock(spool.spool_folder(), seconds=0) as is_locked:
    print(len(found.messages), found.foreign, is_locked)
"""


@pytest.fixture
def shared(open_folder, monkeypatch):
    """A spool folder with two messages that every user can write to; return it, and what another user finds there."""
    monkeypatch.setenv("DKIST_ISB_SPOOL", str(open_folder))
    put_messages([1, 2])

    def as_another_user():
        return run_python(AS_ANOTHER_USER).check().stdout

    return open_folder, as_another_user


as_root = pytest.mark.skipif(os.getuid() != 0, reason="root alone can become another user")


@as_root
@pytest.mark.parametrize("make", [lambda path: path.mkdir(0o700), lambda path: path.symlink_to(path)])
def test_a_subfolder_that_cannot_be_read_holds_up_no_message(shared, make):
    """That of another user who has set messages aside, for example; it is named as what is left alone."""
    folder, as_another_user = shared
    make(folder / spool.SET_ASIDE)
    (folder / spool.MARK).chmod(0o666)
    assert as_another_user() == f"2 ['{spool.SET_ASIDE}'] True\n"


@as_root
def test_users_who_share_a_folder_exclude_each_other(shared):
    """The mark, which is locked, belongs to the one who came first, and the others may only read it."""
    folder, as_another_user = shared
    assert as_another_user() == "2 [] True\n"
    assert (folder / spool.MARK).stat().st_mode & 0o111 == 0
    with spool.lock(folder, seconds=0):
        assert as_another_user() == "2 [] False\n"


@pytest.mark.skipif(os.getuid() != 0, reason="root alone can become a user who has no passwd entry")
@pytest.mark.parametrize("with_cache", [True, False], ids=["cache", "nothing"])
@pytest.mark.parametrize("is_up", [True, False], ids=["broker", "no-broker"])
@pytest.mark.parametrize("home", [None, "", "/nonexistent", "relative"], ids=str)
def test_without_a_home_folder_no_failure_is_lost(broker, open_folder, with_cache, is_up, home):
    """It is sent; where the broker is away, it is kept beside the environments, and without these it is in the log."""
    cache = open_folder
    environment = {**os.environ, "MESH_CONFIG": broker.mesh_config if is_up else "{"}
    for name in ("DKIST_ISB_SPOOL", "HOME", "XDG_STATE_HOME", "DKIST_ENVIRONMENT_CACHE"):
        environment.pop(name, None)
    environment |= {} if home is None else {"HOME": home}
    environment |= {"DKIST_ENVIRONMENT_CACHE": str(cache)} if with_cache else {}
    done = run_python(WITHOUT_PASSWD_ENTRY, cwd="/", env=environment).check()
    assert "Traceback" not in done.stderr
    if is_up:
        assert len(broker.take_all(QUEUE)) == 1
    elif with_cache:
        [message] = spool.pending(cache / "isb-spool")
        assert json.loads(message.envelope.body)["error"] == "ValueError: no flat"
    else:
        assert "Forward it by hand: {" in done.stderr
        assert "ValueError: no flat" in done.stderr


def test_a_delivery_without_time_is_an_error():
    """Without an attempt."""
    [error] = deliver([new_envelope()], seconds=0).values()
    assert str(error).endswith("no time left")
