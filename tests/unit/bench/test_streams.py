"""What background programs say is read line by line, in order, and waited for with a limit."""

from __future__ import annotations

import base64
import json
import os
import time

import pytest

from bench.streams import DockerEvent, EtcdEvent, Line, Stream, docker_event, etcd_changes


def test_a_line_that_is_still_to_come_is_waited_for() -> None:
    with Stream(["sh", "-c", "echo one; sleep 0.2; echo two"]) as stream:
        found = stream.first(lambda line: line.text if line.text == "two" else None, 5)
        assert found == "two"
        assert [line.text for line in stream.lines()] == ["one", "two"]


def test_lines_before_the_start_do_not_count() -> None:
    with Stream(["sh", "-c", "echo one; echo two; sleep 5"]) as stream:
        stream.first(lambda line: line if line.text == "two" else None, 5)
        assert stream.first(lambda line: line.text, 5, start=1) == "two"


def test_silence_ends_in_a_timeout() -> None:
    with Stream(["sleep", "5"]) as stream, pytest.raises(TimeoutError):
        stream.first(lambda line: line, 0.1)


def test_what_the_program_started_ends_with_it() -> None:
    with Stream(["sh", "-c", "sleep 60 & echo $!; wait"]) as stream:
        pid = int(stream.first(lambda line: line.text, 5))
    for _ in range(50):
        try:
            with open(f"/proc/{pid}/stat") as file:
                gone = file.read().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            gone = True
        if gone:
            break
        time.sleep(0.05)
    assert gone, f"{pid} runs on, killed by {os.getpid()}"


def test_a_docker_event_is_read() -> None:
    text = json.dumps(
        {
            "Type": "service",
            "Action": "remove",
            "Actor": {"ID": "abc", "Attributes": {"name": "orders-n1-aaaaaa"}},
            "timeNano": 17,
        }
    )
    assert docker_event(Line(99, text)) == DockerEvent(17, "remove", "orders-n1-aaaaaa", "", "abc")


def test_an_answer_of_an_etcd_watch_is_read() -> None:
    def encoded(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    text = json.dumps(
        {
            "Events": [
                {"kv": {"key": encoded("a"), "value": encoded("1")}},
                {"type": 1, "kv": {"key": encoded("b")}},
            ]
        }
    )
    assert list(etcd_changes(Line(5, text))) == [EtcdEvent(5, "a", "1", False), EtcdEvent(5, "b", "", True)]
