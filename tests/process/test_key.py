"""Where the key comes from, and what link prints when there is no usable key."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from shared import messages
from tests.support import servers
from tests.support.pipeline import PATIENCE_S, Pipeline, environment_of
from tests.support.servers import Connection, Server

pytestmark = pytest.mark.process

KEY, OTHER = "sk-test-SECRET-in-a-file", "sk-test-SECRET-in-the-environment"
#: The environment of a person's shell, in which they run a command.
TELLTALE = {"OPENAI_API_KEY": KEY}
REMOTE = "wss://api.openai.com/v1/realtime"


@pytest.mark.parametrize("written", [KEY, f"{KEY}\n", f"  {KEY}\r\n\n"], ids=repr)
def test_a_key_file_wins_over_the_environment(pipeline: Pipeline, written: str) -> None:
    path = pipeline.directory / "key"
    path.write_text(written)
    with Server(servers.serve) as server:
        settings = {"link.url": server.url, "link.key_file": path}
        child = pipeline.stage("link", settings=settings, env={"OPENAI_API_KEY": OTHER})
        assert server.wait().headers["authorization"] == f"Bearer {KEY}"
        child.wait_line("key set")
    assert "SECRET" not in child.output


def test_no_key_is_needed_on_this_machine(pipeline: Pipeline) -> None:
    with Server(servers.serve) as server:
        pipeline.settings["link.url"] = server.url
        child = pipeline.stage("link")
        assert "authorization" not in server.wait().headers
        child.wait_line("key none")


def unreadable(path: Path) -> None:
    """Write bytes that are not text."""
    path.write_bytes(b"\xff\xfe\x00\x01" * 20)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: None, "No such file or directory: set it to the path of a file, and put"),
        (Path.mkdir, "Is a directory: put the API key alone in it"),
        (os.mkfifo, "not a regular file: put the API key alone in it"),
        (unreadable, "not plain text: put the API key alone in it"),
        (Path.touch, "no API key: set OPENAI_API_KEY, or link.key_file to a file that holds it"),
        (lambda path: path.write_text(f"{KEY} {OTHER}"), "has blanks or odd characters in it"),
        (lambda path: path.write_text(f"{KEY}\nhost: evil"), "has blanks or odd characters in it"),
    ],
    ids=["missing", "a directory", "a pipe", "no text", "empty", "two keys", "two lines"],
)
def test_a_bad_key_file_is_reported_in_one_line(
    pipeline: Pipeline, make: object, told: str
) -> None:
    assert callable(make)
    path = pipeline.directory / "key"
    make(path)
    child = pipeline.stage("link", settings={"link.url": REMOTE, "link.key_file": path})
    assert child.wait() == 1
    [line] = child.lines
    assert told in line
    assert "SECRET" not in line


@pytest.mark.parametrize("key", [KEY, "9f3c" * 8, "x" * 5000], ids=["sk", "hex", "long"])
def test_a_key_in_the_place_of_its_file_is_not_shown(pipeline: Pipeline, key: str) -> None:
    env = {"BARGEIN_LINK__KEY_FILE": key, "BARGEIN_LINK__URL": REMOTE}
    children = [
        pipeline.stage("link", settings={"link.url": REMOTE, "link.key_file": key}),
        pipeline.python("commands", "preflight", env=env),
        pipeline.python("commands", "config", env=env),
    ]
    assert [child.wait() for child in children] == [1, 1, 0]
    assert not [child.output for child in children if key in child.output]
    assert children[0].lines[0].count("link.key_file") == 1


def test_a_key_file_that_others_can_read_is_reported(pipeline: Pipeline) -> None:
    path = pipeline.directory / "key"
    path.write_text(KEY)
    path.chmod(0o644)
    with Server(servers.serve) as server:
        settings = {"link.url": server.url, "link.key_file": path}
        child = pipeline.stage("link", settings=settings)
        told = f"link.key_file {path}: others can read it (mode 0644): run chmod 600 {path}"
        assert told in child.wait_line("others can read it")
        env = {"BARGEIN_LINK__KEY_FILE": str(path), "BARGEIN_LINK__URL": server.url}
        check = pipeline.python("commands", "preflight", env=env)
        assert check.wait() == 0
        assert told in check.output
        path.chmod(0o600)
        check = pipeline.python("commands", "preflight", env=env)
        assert check.wait() == 0
        assert "others can read it" not in check.output


@pytest.mark.parametrize("key", ["", " ", "sk-test-SECRET\nx: y"], ids=["none", "blank", "odd"])
def test_a_key_that_is_missing_or_odd_is_one_line(pipeline: Pipeline, key: str) -> None:
    env = {"OPENAI_API_KEY": key, "BARGEIN_LINK__URL": REMOTE}
    stage = pipeline.stage("link", settings={"link.url": REMOTE}, env=env)
    before = pipeline.python("commands", "preflight", env=env)
    for child in (stage, before):
        assert child.wait() == 1
        [line] = child.lines
        assert "OPENAI_API_KEY" in line
        assert "SECRET" not in line


@pytest.mark.parametrize(
    ("stages", "code"),
    [("capture playback", 0), ("-q capture,playback", 0), ("link capture", 1), ("-q a,link", 1)],
)
def test_a_machine_without_link_needs_no_key(pipeline: Pipeline, stages: str, code: int) -> None:
    env = {"BARGEIN_LINK__URL": REMOTE}
    assert pipeline.python("commands", "preflight", *stages.split(), env=env).wait() == code


def test_the_key_appears_in_no_output_file_or_page(pipeline: Pipeline, tmp_path: Path) -> None:
    def parrot(connection: Connection) -> None:
        servers.begin(connection)
        connection.read(lambda event: event["type"] == "session.update")
        # Wait until downlink reads the server's events.
        listened.wait(PATIENCE_S)
        # The server sends the key back in every place that it can.
        given = connection.headers["authorization"]
        connection.send("error", error={"code": given, "message": given, "param": given})
        # JSON can write the same key with an escape.
        odd = f"\\u{ord(given[7]):04x}{given[8:]}"
        text = f'{{"type":"error","error":{{"code":"{odd}","message":"\\n{odd}"}}}}'
        connection.frame(servers.TEXT, text.encode())
        connection.send("response.output_text.done", item_id=given, response_id="r", text=given)
        connection.read()

    listened = threading.Event()
    pipeline.settings |= {
        "recorder.directory": tmp_path,
        "log.level": "debug",
        "playback.device": f"file:{tmp_path / 'speaker.wav'}",
    }
    before = os.umask(0)
    try:
        with Server(parrot) as server:
            pipeline.settings["link.url"] = server.url
            names = ["uplink", "downlink", "playback", "capture", "recorder"]
            stages = pipeline.all_up(*names)
            # Only link gets the key, as under honcho.
            stages["link"] = pipeline.stage("link", env={"OPENAI_API_KEY": KEY})
            pipeline.bus.wait_for(messages.ReplyState, lambda state: state.session > 0)
            listened.set()
            said = pipeline.bus.wait_for(messages.Transcript).message
            echo = pipeline.python(
                "commands", "tap", "echo", "server.event", *pipeline.options({}), env=TELLTALE
            )
            shown = pipeline.python("commands", "config", *pipeline.options({}), env=TELLTALE)
            assert shown.wait() == 0
            shown.wait_line("OPENAI_API_KEY: set")
            for name, child in {**stages, "echo": echo}.items():
                if (line := Path(f"/proc/{child.pid}/cmdline")).exists():
                    assert b"SECRET" not in line.read_bytes()
                if name not in ("link", "echo"):
                    assert "SECRET" not in environment_of(child.pid)
            # No file is readable by others, whatever the umask is.
            made = [*pipeline.bus_directory.iterdir(), *tmp_path.iterdir()]
            assert len(made) > len(stages)
            assert {path.name: path.stat().st_mode & 0o077 for path in made} == {
                path.name: 0 for path in made
            }
    finally:
        os.umask(before)
    assert "****" in said.text
    assert stages["recorder"].end() == 0
    assert stages["downlink"].end() == 0
    stages["downlink"].wait_line("the server says")
    for child in (*stages.values(), echo, shown):
        assert "SECRET" not in child.output
    written = [path for path in tmp_path.iterdir() if b"SECRET" in path.read_bytes()]
    assert written == []
    record = tmp_path / "conversation.json"
    assert b"****" in record.read_bytes()
    assert record.stat().st_mode & 0o777 == 0o600


def test_a_refused_key_is_one_line_and_no_retry(pipeline: Pipeline) -> None:
    emulator = pipeline.emulator("--key", KEY)
    link = pipeline.stage("link", env={"OPENAI_API_KEY": OTHER})
    assert link.wait() == 1
    [line] = link.matching(r" [WE] ")
    assert "3000 invalid_request_error.invalid_api_key" in line
    assert "check OPENAI_API_KEY (or link.key_file)" in line
    assert emulator.end() == 0
    assert len(emulator.matching("refused a connection")) == 1


def test_downlink_does_not_report_a_refused_key_a_second_time(pipeline: Pipeline) -> None:
    def refuse(connection: Connection) -> None:
        servers.begin(connection)
        met.wait(PATIENCE_S)
        connection.send("error", error={"code": "invalid_api_key", "message": "Incorrect key."})
        counted.wait(PATIENCE_S)
        connection.close(3000, "invalid_request_error.invalid_api_key")

    met, counted = threading.Event(), threading.Event()
    with Server(refuse) as server:
        pipeline.settings["link.url"] = server.url
        downlink, link = pipeline.all_up("downlink", "link").values()
        pipeline.bus.wait_for(messages.ReplyState, lambda state: state.session)
        met.set()
        pipeline.bus.health("downlink", lambda h: h.counters.get("error.invalid_api_key"))
        counted.set()
        assert link.wait() == 1
    assert len(link.matching(r" [WE] ")) == 1
    assert downlink.end() == 0
    assert downlink.matching(r" [WE] ") == []


def test_a_command_prints_the_token_and_nothing_shows_it(pipeline: Pipeline) -> None:
    command = pipeline.directory / "token"
    command.write_text(f"#!/bin/sh\necho {KEY}\n")
    command.chmod(0o700)
    with Server(servers.serve) as server:
        owners = {
            "link.organization": "org-1",
            "link.project": "proj_2",
            "link.safety_identifier": "user-3",
        }
        settings = {"link.url": server.url, "link.token_command": command, **owners}
        child = pipeline.stage("link", settings=settings, env={"OPENAI_API_KEY": OTHER})
        headers = server.wait().headers
        pipeline.bus.wait_for(messages.LinkState, lambda s: s.state == "open")
    assert headers["authorization"] == f"Bearer {KEY}"
    assert (headers["openai-organization"], headers["openai-project"]) == ("org-1", "proj_2")
    assert headers["openai-safety-identifier"] == "user-3"
    assert "SECRET" not in child.output
