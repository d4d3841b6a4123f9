"""What a request may cost, in numbers that do not depend on the machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.gateway import Database, Gateway
from tests.programs import ROOT, eventually
from tests.resilience.conftest import Databases
from tests.resilience.rows import row_of, row_of_request
from tests.resilience.streams import Stream, create, question
from tests.scripted_vllm import Reply, ScriptedVLLM, pause, text

DEEP = 200

READS = ["anonymous", "load_history"]


class Answer:
    """What one request took."""

    def __init__(self, facts: dict[str, Any]) -> None:
        assert facts["status"] == 200, facts
        self.hops: int = facts["hops"]
        self.sends: list[str] = facts["sends"]
        self.units: list[str] = [name for name, _ in facts["units"]]
        self.statements: dict[str, list[str]] = dict(facts["units"])

    @property
    def response_id(self) -> str:
        first = self.sends[0].split("\n")[1]
        response_id: str = json.loads(first.removeprefix("data: "))["response"]["id"]
        return response_id

    @property
    def number_of_statements(self) -> int:
        return sum(map(len, self.statements.values()))


class Counted:
    """``counted.py`` on a database of its own."""

    def __init__(self, database: Database, upstream: str) -> None:
        self.database = database
        environment = {
            **os.environ,
            "DATABASE_URL": database.url,
            "GATEWAY_SECRET_KEY": "a key",
            "GATEWAY_UPSTREAM_URL": upstream,
            "GATEWAY_LEASE_SECONDS": "3600",
            "GATEWAY_LOG_LEVEL": "ERROR",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.resilience.counted"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ask()  # the first one opens connections

    def begin(self, **fields: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(question(stream=True, **fields)) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Answer:
        assert self.process.stdout is not None
        return Answer(json.loads(self.process.stdout.readline()))

    def ask(self, **fields: Any) -> Answer:
        self.begin(**fields)
        return self.answer()

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        assert self.process.wait(30) == 0
        self.process.stdout.close()


@pytest.fixture(scope="module")
def counted(databases: Databases, vllm: ScriptedVLLM) -> Iterator[Counted]:
    database = databases.new()
    running = Counted(database, vllm.url)
    yield running
    running.close()
    databases.drop(database)


@pytest.fixture(scope="module")
def chain(counted: Counted) -> list[tuple[Answer, int]]:
    """A long conversation: what each turn took, and the size of the database after it."""
    turns: list[tuple[Answer, int]] = []
    previous = None
    for _ in range(DEEP):
        answer = counted.ask(previous_response_id=previous)
        previous = answer.response_id
        turns.append((answer, size(counted.database)))
    return turns


def size(database: Database) -> int:
    """Bytes in tables and indexes."""
    if database.is_sqlite:
        [(pages,)] = database.query("PRAGMA page_count")
        return int(pages) * 4096
    [(total,)] = database.query(
        "SELECT sum(pg_total_relation_size(oid)) FROM pg_class"
        " WHERE relkind = 'r' AND relname LIKE %s",
        "store\\_%",
    )
    return int(total)


def content(database: Database, response_id: str) -> int:
    """Bytes that one turn has stored."""
    [(total,)] = database.query(
        "SELECT (SELECT sum(length(payload)) FROM store_storeditem WHERE response_id = %s)"
        " + (SELECT length(body) FROM store_responsepayload WHERE response_id = %s)",
        response_id,
        response_id,
    )
    return int(total)


# --- The database ---------------------------------------------------------------------------------


def test_a_short_turn_takes_two_reads_and_one_write(chain: list[tuple[Answer, int]]) -> None:
    turn, _ = chain[1]
    assert turn.units == [*READS, "finish_responses"]
    assert [len(turn.statements[name]) for name in READS] == [1, 1]
    writes = [sql.split()[0] for sql in turn.statements["finish_responses"]]
    assert [verb for verb in writes if verb != "BEGIN"] == ["INSERT", "INSERT", "INSERT", "UPDATE"]


def test_a_deep_turn_takes_no_more_statements_than_a_shallow_one(
    chain: list[tuple[Answer, int]],
) -> None:
    assert chain[1][0].statements.keys() == chain[-1][0].statements.keys()
    assert chain[1][0].number_of_statements == chain[-1][0].number_of_statements


@pytest.mark.parametrize("databases", ["postgres"], indirect=True)
def test_a_chain_is_read_row_by_row_whatever_the_database_thinks_of_its_tables(
    counted: Counted, chain: list[tuple[Answer, int]]
) -> None:
    """It takes another way through small tables, or those that it knows nothing of; SQLite has one way
    only."""
    turn, _ = chain[-1]
    [sql] = turn.statements["load_history"]
    for known in ("", "ANALYZE"):
        assert rows_read(counted.database, known, sql, turn.response_id) <= 10 * DEEP


def test_a_turn_of_text_is_one_row_of_its_history(
    counted: Counted, chain: list[tuple[Answer, int]]
) -> None:
    """What each turn adds to the prompt is read as it is sent, whatever items it consists of; only the
    last one is read as items, its input and its output."""
    turn, _ = chain[-1]
    [sql] = turn.statements["load_history"]
    sql = sql.replace("%%", "%")
    rows = counted.database.query(sql, turn.response_id, project_id(counted.database))
    assert len(rows) == DEEP - 1 + 2


def rows_read(database: Database, before: str, sql: str, response_id: str) -> int:
    """Rows of tables that reading the history of this response looks at."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(before.encode())
        with connection.transaction():
            connection.execute(sql.encode(), (response_id, project_id(database))).fetchall()
            found = connection.execute(
                "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables"
            ).fetchone()
    assert found is not None
    return int(found[0])


def project_id(database: Database) -> int:
    [(found,)] = database.query("SELECT DISTINCT project_id FROM store_response")
    return int(found)


def test_a_turn_that_lasts_takes_one_write_more(counted: Counted, vllm: ScriptedVLLM) -> None:
    go_on = threading.Event()
    vllm.script(text("A") + pause(go_on))
    number = len(vllm.requests)
    counted.begin()
    request_id = vllm.wait_for_requests(number + 1)[-1].headers["x-request-id"]
    eventually(lambda: row_of_request(counted.database, request_id))
    go_on.set()
    assert counted.answer().units == ["anonymous", "begin_response", "finish_responses"]


def test_an_unstored_turn_is_written_after_its_end(counted: Counted) -> None:
    answer = counted.ask(store=False)
    assert answer.units == ["anonymous", "finish_responses"]
    inserted = [sql for sql in answer.statements["finish_responses"] if sql.startswith("INSERT")]
    assert len(inserted) == 1


def test_a_deep_turn_stores_as_many_bytes_as_a_shallow_one(
    counted: Counted, chain: list[tuple[Answer, int]]
) -> None:
    first, last = (content(counted.database, chain[at][0].response_id) for at in (1, -1))
    assert first == last


def test_the_database_grows_linearly_with_a_conversation(chain: list[tuple[Answer, int]]) -> None:
    sizes = [after for _, after in chain]
    early, late = sizes[DEEP // 2] - sizes[0], sizes[-1] - sizes[DEEP // 2]
    assert late <= 1.3 * early


# --- Threads and writes ---------------------------------------------------------------------------


def together(number: int) -> Reply:
    """So many tokens that arrive in one read."""
    return text(*["word "] * number, one_write=True)


def test_chunks_that_arrive_together_leave_together(counted: Counted, vllm: ScriptedVLLM) -> None:
    vllm.script(together(2), together(40))
    few, many = counted.ask(), counted.ask()
    assert len(few.sends) == len(many.sends)
    with_tokens = [sent for sent in many.sends if "response.output_text.delta" in sent]
    assert [sent.count("event: response.output_text.delta") for sent in with_tokens] == [40]


def test_no_token_visits_a_thread(counted: Counted, vllm: ScriptedVLLM) -> None:
    vllm.script(text("A"), text(*["word "] * 500, delay=0.0001))
    few, many = counted.ask(), counted.ask()
    assert len(many.sends) > len(few.sends)
    for answer in (few, many):
        assert answer.hops == len(answer.units) <= 3


# --- The upstream and the client ------------------------------------------------------------------


def test_connections_to_the_upstream_are_used_again(
    stateful_gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    create(stateful_gateway)
    before = vllm.connections
    for number in range(10):
        vllm.script(text("A", "B", "C", delay=0.001 * (number % 3)))
        Stream(stateful_gateway).end()
        create(stateful_gateway)
    assert vllm.connections - before <= 1  # the idle one may have been closed meanwhile


def test_connections_are_used_again_after_refusals(
    stateful_gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    create(stateful_gateway)
    before = vllm.connections
    for _ in range(5):
        vllm.script(Reply(options={"status": 400, "body": {"detail": "No."}}))
        answer = stateful_gateway.http.post("/v1/responses", json=question())
        assert answer.status_code == 400
    assert vllm.connections - before <= 1


def test_headers_and_first_events_do_not_wait_for_the_first_token(
    stateful_gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    go_on = threading.Event()
    vllm.script(pause(go_on) + text("A"))
    stream = Stream(stateful_gateway)
    assert stream.answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    stream.begun()
    stream.until("response.in_progress")
    assert not vllm.chats[-1].finished.is_set()
    go_on.set()
    response = stream.end()
    row = row_of(stateful_gateway.database, response["id"])
    assert row is not None
    assert row.status == "completed"
