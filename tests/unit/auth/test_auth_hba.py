"""pg_hba.conf: rules and who comes in by them, as data."""

from __future__ import annotations

import time
from ipaddress import ip_interface
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgrouter.auth.hba import Arrival, Certificate, Missing, Rules, refusal
from pgrouter.auth.hba_options import SUPPORTED, UNSUPPORTED
from pgrouter.errors import ConfigError, InvalidAuthorization

HBA = Path("/etc/pg_hba.conf")


class Texts:
    """Files as a dict."""

    def __init__(self, **texts: str) -> None:
        self.texts = {Path("/etc") / name.replace("__", "/").replace("_conf", ".conf"): t for name, t in texts.items()}

    def read(self, path: Path) -> str:
        if path not in self.texts:
            raise FileNotFoundError(2, "No such file or directory")
        return self.texts[path]

    def listed(self, directory: Path) -> list[Path]:
        return [path for path in self.texts if path.parent == directory]


def rules(text: str, **others: str) -> Rules:
    return Rules.load(HBA, Texts(pg_hba_conf=dedent(text), **others))


def problems(text: str, **others: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        rules(text, **others)
    return caught.value.problems


def outcome(text: str, **facts: Any) -> str | Missing:
    """Return LINE METHOD of the line that decides; "" if there is none."""
    arrival = Arrival(**({"user": "joe", "database": "db", "address": "10.1.2.3"} | facts))
    verdict = rules(text).match(arrival, (ip_interface("10.1.0.1/16"), ip_interface("fe80::1/64")))
    if verdict.missing:
        return verdict.missing
    return f"{verdict.rule.place.rpartition(':')[2]} {verdict.rule.method}" if verdict.rule else ""


# The rules; then who arrives, and the line and method that decide
TABLE: list[tuple[str, list[tuple[dict[str, Any], str | Missing]]]] = [
    (
        "local all all peer\nhost all all 0.0.0.0/0 md5\nhost all all ::/0 trust",
        [
            ({}, "2 md5"),
            ({"address": ""}, "1 peer"),
            ({"address": "::1"}, "3 trust"),
            ({"address": "::ffff:10.0.0.1"}, "2 md5"),
            ({"address": "fe80::7%eth0"}, "3 trust"),
        ],
    ),
    ("host all all all trust", [({"address": ""}, ""), ({}, "1 trust"), ({"address": "::1"}, "1 trust")]),
    (
        "# nobody\n\n  # at all\nhost db,other joe,jim 10.0.0.0/8 scram-sha-256 # yes\n",
        [
            ({}, "4 scram-sha-256"),
            ({"database": "other", "user": "jim"}, "4 scram-sha-256"),
            ({"database": "third"}, ""),
            ({"user": "jack"}, ""),
            ({"address": "11.0.0.1"}, ""),
            ({"user": "JOE"}, ""),
        ],
    ),
    (
        "host db, other  joe  10.0.0.0/8 trust",
        [({}, "1 trust"), ({"database": "other"}, "1 trust"), ({"database": "x"}, "")],
    ),
    (
        "hostssl all all all md5\nhostnossl all all all reject",
        [({"encrypted": True}, "1 md5"), ({}, "2 reject"), ({"address": ""}, "")],
    ),
    (
        "hostgssenc all all all gss krb_realm=X\nhostnogssenc all all all md5",
        [({}, "2 md5"), ({"encrypted": True}, "2 md5")],
    ),
    (
        "host sameuser all all trust\nhost all all all reject",
        [({}, "2 reject"), ({"database": "joe"}, "1 trust")],
    ),
    (
        'host "sameuser","all" "all" all trust',
        [
            ({"user": "all", "database": "sameuser"}, "1 trust"),
            ({"user": "all", "database": "all"}, "1 trust"),
            ({}, ""),
        ],
    ),
    ('host "all" all all trust', [({}, ""), ({"database": "all"}, "1 trust")]),
    ('host all "jo""e" all trust', [({}, ""), ({"user": 'jo"e'}, "1 trust")]),
    (
        'host "d b","x#y" "j,o" all trust',
        [({"database": "d b", "user": "j,o"}, "1 trust"), ({"database": "x#y", "user": "j,o"}, "1 trust")],
    ),
    ("host replication all all trust", [({}, ""), ({"database": "replication"}, "")]),
    ('host "replication" all all trust', [({"database": "replication"}, "1 trust")]),
    (
        "host all all 10.1.2.3 255.255.255.255 trust\nhost a,db all 10.1.0.0 255.255.0.0 md5\nhost all all ::1 f:: md5",
        [
            ({}, "1 trust"),
            ({"address": "10.1.9.9"}, "2 md5"),
            ({"address": "10.2.0.0"}, ""),
            ({"address": "0:7::"}, "3 md5"),
        ],
    ),
    ("host all all 10.1.2.3/8 trust", [({"address": "10.9.9.9"}, "1 trust")]),  # bits beyond the mask do not count
    ("host all all 10.0.0.3 255.0.0.255 trust", [({}, "1 trust"), ({"address": "10.1.2.4"}, "")]),  # any mask will do
    ("host all all samehost trust", [({}, ""), ({"address": "10.1.0.1"}, "1 trust")]),
    (
        "host all all samenet trust",
        [({}, "1 trust"), ({"address": "10.2.0.1"}, ""), ({"address": "fe80::9%2"}, "1 trust")],
    ),
    ('host all all "samenet" trust', [({"host_name": "samenet"}, "1 trust"), ({"host_name": ""}, "")]),
    # Host names: asked for only where the rest fits
    (
        "host other all db.example.com trust\nhost all all db.example.com trust\nhost all all .Example.org md5",
        [
            ({}, Missing.HOST_NAME),
            ({"host_name": "DB.example.com"}, "2 trust"),
            ({"host_name": "a.b.example.org"}, "3 md5"),
            ({"host_name": "example.org"}, ""),
            ({"host_name": "xdb.example.com"}, ""),
            ({"host_name": ""}, ""),
        ],
    ),
    # Groups, likewise
    (
        "host other +staff all trust\nhost all jim,+staff all trust\nhost samerole all all md5",
        [
            ({}, Missing.ROLES),
            ({"user": "jim"}, "2 trust"),
            ({"roles": {"joe", "staff"}}, "2 trust"),
            ({"roles": {"joe"}}, ""),
            ({"roles": {"joe", "db"}}, "3 md5"),
            ({"roles": {"joe", "other"}, "database": "joe"}, "3 md5"),
        ],
    ),
    ('host all "+staff" all trust', [({"roles": {"staff"}}, ""), ({"user": "+staff"}, "1 trust")]),
    # Regular expressions
    (
        'host /^d[bc]$ "/^j.{2,2}$" all trust',
        [
            ({}, "1 trust"),
            ({"database": "dbx"}, ""),
            ({"user": "joey"}, ""),
            ({"user": "joe\n"}, ""),
            ({"database": "db\n"}, ""),
        ],
    ),
    ("host all /oe all trust", [({}, "1 trust"), ({"user": "jim"}, "")]),  # anywhere in the name
    ("host all all \\\n  all \\\n trust\nlocal all all trust", [({}, "1 trust"), ({"address": ""}, "4 trust")]),
    ("local all all ident", [({"address": ""}, "1 peer")]),
    ("host all all all trust\r\nhost all all all md5\r\n", [({}, "1 trust")]),
    ("host all all all md5\nhost all all all trust", [({}, "1 md5")]),  # the first one decides
]


@pytest.mark.parametrize(
    ("text", "facts", "expected"), [(text, facts, expected) for text, cases in TABLE for facts, expected in cases]
)
def test_who_comes_in_by_which_line(text: str, facts: dict[str, Any], expected: str | Missing) -> None:
    assert outcome(text, **facts) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("host db , other joe 10.0.0.0/8 trust", 'invalid authentication method "10.0.0.0/8"'),  # no list
        ("hosts all all all trust", 'invalid connection type "hosts"'),
        ("host,local all all all trust", "multiple values specified for connection type"),
        ("host", "end-of-line before database specification"),
        ("host all", "end-of-line before role specification"),
        ("host all all", "end-of-line before IP address specification"),
        ("host all all 10.0.0.1", "end-of-line before netmask specification"),
        ("host all all all", "end-of-line before authentication method"),
        ("local all all", "end-of-line before authentication method"),
        ("host all all 10.0.0.1,10.0.0.2 trust", "multiple values specified for host address"),
        ("host all all 10.0.0.1/33 trust", 'invalid CIDR mask in address "10.0.0.1/33"'),
        ("host all all 10.0.0.1/-1 trust", 'invalid CIDR mask in address "10.0.0.1/-1"'),
        ("host all all db.example.com/32 trust", "specifying both host name and CIDR mask is invalid"),
        ("host all all 10.0.0.1 trust", 'invalid IP mask "trust"'),
        ("host all all 10.0.0.1 ffff:: trust", "IP address and mask do not match"),
        ("host all all all trust,md5", "multiple values specified for authentication type"),
        ("host all all all nothing", 'invalid authentication method "nothing"'),
        ("host all all all gss", 'authentication method "gss" is not supported; there are trust'),
        ("host all all all peer", "peer authentication is only supported on local sockets"),
        ("host all all all cert", "cert authentication is only supported on hostssl connections"),
        ("host all all all md5 map", "authentication option not in name=value format: map"),
        ("host all all all md5 colour=red", 'unrecognized authentication option name: "colour"'),
        (
            "host all all all md5 map=x",
            'authentication option "map" is only valid for authentication methods peer, c',
        ),
        ("host all all all md5 clientcert=verify-full", 'clientcert can only be configured for "hostssl" rows'),
        ("hostssl all all all md5 clientcert=1", 'invalid value for clientcert: "1"'),
        ("hostssl all all all cert clientcert=verify-ca", 'clientcert only accepts "verify-full" when using "cert"'),
        ("host all all all oauth scope=x", 'authentication method "oauth" requires argument "issuer" to be set'),
        ("hostssl all all all cert clientname=X", 'invalid value for clientname: "X"'),
        ("host /( all all trust", 'invalid regular expression "("'),
        ("host all /[ all trust", 'invalid regular expression "["'),
        ("host @none all all trust", "could not open file '/etc/none': No such file or directory"),
        ("include none.conf", "could not open '/etc/none.conf': No such file"),
        ("include pg_hba.conf", "could not open '/etc/pg_hba.conf': maximum nesting depth exceeded"),
        ("host @pg_hba.conf all all trust", "could not open file '/etc/pg_hba.conf': maximum nesting depth exceeded"),
    ],
)
def test_a_line_that_cannot_be_used_is_told_by_its_place(line: str, expected: str) -> None:
    found = problems(f"\n{line}\n")
    assert found[0].startswith(f"{HBA}:2: {expected}")


def test_all_wrong_lines_are_told() -> None:
    found = problems("host all\nhost all all all trust\nhost all all all nothing\n")
    assert [problem.partition(" ")[0] for problem in found] == [f"{HBA}:1:", f"{HBA}:3:"]


def test_a_file_without_a_line_would_let_nobody_in() -> None:
    assert problems("# soon\n") == [f"{HBA}: it has no line: nobody could log in"]


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="none: No such file"):
        Rules.load(Path("/etc/none"))


def test_files_in_files() -> None:
    found = rules(
        """
        host @names,last joe all trust
        include_if_exists none.conf
        include_dir more
        include deep/one.conf
        host all all all reject
        """,
        names='one, two # three\n"all"\n@inner\n',
        inner="four",
        more__b_conf="host b all all md5",
        more__a_conf="host a all all md5",
        more__c="host c all all md5",
        deep__one_conf="include two.conf",
        deep__two_conf="host two all all password",
    )
    databases = [[name.text for name in rule.databases] for rule in found.rules]
    assert databases == [["one", "two", "all", "four", "last"], ["a"], ["b"], ["two"], ["all"]]
    places = [rule.place for rule in found.rules]
    assert places == [f"{HBA}:2", "/etc/more/a.conf:1", "/etc/more/b.conf:1", "/etc/deep/two.conf:1", f"{HBA}:6"]


def test_the_words_of_a_refusal_are_postgresqls() -> None:
    arrival = Arrival("joe", "db", "10.1.2.3")
    error = refusal(None, arrival)
    assert error.message == 'no pg_hba.conf entry for host "10.1.2.3", user "joe", database "db", no encryption'
    assert (error.sqlstate, error.severity) == ("28000", "FATAL")
    (line,) = rules("local all all reject").rules
    error = refusal(line, Arrival("joe", "db"))
    assert (
        error.message == 'pg_hba.conf rejects connection for host "[local]", user "joe", database "db", no encryption'
    )
    assert "SSL encryption" in refusal(None, Arrival("joe", "db", "::1", encrypted=True)).message


def test_a_regular_expression_that_takes_too_long_refuses() -> None:
    slow = rules("host all /^(a|aa)+$ all reject\nhost all all all trust")
    began = time.monotonic()
    with pytest.raises(InvalidAuthorization, match="connection rejected"):
        slow.match(Arrival("a" * 60 + "!", "db", "::1"))
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("method", [method for method in SUPPORTED if method not in ("reject", "oauth")])
def test_an_auth_type_is_for_everybody(method: str) -> None:
    for arrival in (Arrival("joe", "db"), Arrival("all", "replication", "::1", True, Certificate("joe", "CN=joe"))):
        rule = Rules.always(method).match(arrival).rule
        assert rule is not None
        assert rule.method == method
        assert (rule.options.client_cert == "verify-full") == (method == "cert")


def test_a_method_is_supported_or_not() -> None:
    assert not set(SUPPORTED) & set(UNSUPPORTED)


WORDS = st.sampled_from(
    [
        "host",
        "local",
        "hostssl",
        "all",
        "+g",
        "@x",
        '"',
        "/a",
        "/(",
        ",",
        "10.0.0.0/8",
        "::/0",
        "md5",
        "map=x",
        "\\",
        "#",
        "\n",
        " ",
    ]
)


@given(st.lists(WORDS | st.text(max_size=3)).map(" ".join) | st.text())
def test_any_text_is_rules_or_problems(text: str) -> None:
    try:
        found: Rules | list[str] = rules(text, x="a b")
    except ConfigError as error:
        found = error.problems
    if isinstance(found, Rules):
        found.match(Arrival("joe", "db", "10.0.0.1"))
    else:
        assert found
        assert all(problem.startswith(str(HBA)) for problem in found)
