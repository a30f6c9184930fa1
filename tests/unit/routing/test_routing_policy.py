"""The decision, rule by rule."""

from __future__ import annotations

import pytest

from pgrouter.routing.classify import classify
from pgrouter.routing.policy import PLAIN, Facts, decide, facts_of
from pgrouter.routing.statement import Target

P, R = Target.PRIMARY, Target.REPLICA

RULES = [
    ("select 1", PLAIN, R),
    ("insert into t values (1)", PLAIN, P),
    ("set a.b = 1", PLAIN, P),
    ("show work_mem", PLAIN, P),
    ("foo", PLAIN, P),
    ("begin", PLAIN, P),
    ("begin read only", PLAIN, R),
    ("begin read write", PLAIN, P),
    ("commit", PLAIN, P),
    # the listener
    ("insert into t values (1)", Facts(mode="replica"), R),
    ("select 1", Facts(mode="primary"), P),
    ("select 1", Facts(mode="primary", route="replica"), P),
    ("select 1", Facts(pinned=True), P),
    ("select 1", Facts(mode="replica", pinned=True), R),
    # the session's route
    ("select 1", Facts(route="primary"), P),
    ("begin read only", Facts(route="primary"), P),
    ("select f()", Facts(route="replica"), R),
    ("show work_mem", Facts(route="replica"), R),
    ("begin", Facts(route="replica"), R),
    ("begin read write", Facts(route="replica"), P),
    ("insert into t values (1)", Facts(route="replica"), P),
    ("select pg_advisory_lock(1)", Facts(route="replica"), R),
    # the session's defaults
    ("begin", Facts(default_read_only=True), R),
    ("begin; insert into t values (1)", Facts(default_read_only=True), P),
    ("begin read write", Facts(default_read_only=True), P),
    ("select 1", Facts(serializable=True), P),
    ("begin read only", Facts(serializable=True), P),
    ("select f()", Facts(serializable=True, route="replica"), P),
]


@pytest.mark.parametrize(("sql", "facts", "target"), RULES)
def test_rules(sql: str, facts: Facts, target: Target) -> None:
    route = decide(classify(sql), facts)
    assert route.target is target
    assert route.reason


def test_reasons_name_the_rule() -> None:
    assert decide(classify("select 1"), Facts(mode="primary")).reason == "primary listener"
    assert decide(classify("select 1"), Facts(route="primary")).reason == "session route"
    assert decide(classify("select 1"), Facts(serializable=True)).reason == "serializable session"
    assert decide(classify("select 1"), Facts(pinned=True)).reason == "session pooling"
    assert decide(classify("select f()"), PLAIN).reason == "unknown function"


@pytest.mark.parametrize("sql", [sql for sql, facts, _ in RULES if facts is PLAIN])
def test_a_statement_keeps_what_is_decided_for_a_plain_session(sql: str) -> None:
    statement = classify(sql)
    assert (decide(statement, PLAIN).target is R) == statement.verdict.reads
    assert decide(statement, PLAIN).reason == statement.verdict.reason == statement.reason


@pytest.mark.parametrize(
    ("settings", "facts"),
    [
        ({}, PLAIN),
        ({"work_mem": "4MB", "default_transaction_read_only": "off"}, PLAIN),
        ({"default_transaction_read_only": "on"}, Facts(default_read_only=True)),
        ({"default_transaction_read_only": "TRUE"}, Facts(default_read_only=True)),
        ({"default_transaction_isolation": "Serializable"}, Facts(serializable=True)),
        ({"default_transaction_isolation": "repeatable read"}, PLAIN),
        ({"pgrouter.route": "primary"}, Facts(route="primary")),
        ({"pgrouter.route": "Replica"}, Facts(route="replica")),
        ({"pgrouter.route": "auto"}, PLAIN),
        ({"pgrouter.route": "nonsense"}, PLAIN),
    ],
)
def test_facts_of_settings(settings: dict[str, str], facts: Facts) -> None:
    assert facts_of(settings) == facts
    assert facts_of(settings, mode="replica", pinned=True).mode == "replica"
