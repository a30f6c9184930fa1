"""Tables of what leader changes were for the clients, as JSON, Markdown and a picture."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from bench.failover import timeline
from bench.failover.figures import BEFORE_S, Figures, Window, by_client, drawn, evaluate, kept, servers_gap
from bench.failover.stage import OBSERVER
from bench.report import TITLES as KNOWN
from bench.report import markdown, put_between

if TYPE_CHECKING:
    from pathlib import Path

    from bench.failover.events import Event
    from bench.failover.figures import Outcome
    from bench.failover.stage import Rows

Result = dict[str, Any]  # what the JSON file holds
TITLES = KNOWN | {"pgbouncer": "PgBouncer", "pgbouncer-confd": "PgBouncer, told by confd", OBSERVER: "the servers"}
BEGIN, END = "<!-- bench: written by `make bench-failover` -->\n", "<!-- bench: end of failover -->"
NAME = "failover"
PICTURE = """\
![Writes while the leader changes](bench/results/failover.svg)

By SQLSTATE and in detail: [bench/results/failover.md](bench/results/failover.md)."""
HANGS_S = 2.0  # a client that waits so much longer than the others is worth a word


def event_as_json(
    event: Event, window: Window, members: tuple[str, str], outcomes: dict[str, list[Outcome]], rows: Rows
) -> Result:
    """Make of an event what can be written as JSON; `members` are the leaders before and after it."""
    observed = outcomes[OBSERVER]
    servers = servers_gap(observed, rows[OBSERVER], window)
    subjects = [name for name in outcomes if name != OBSERVER]
    return {
        "name": event.name, "title": event.title, "old": members[0], "new": members[1],
        "seconds": round(window.end_s - window.at_s, 1),
        "servers_pause_s": round(servers.length_s, 3),
        "subjects": {name: asdict(evaluate(outcomes[name], rows[name], servers, window)) for name in subjects},
        "timeline": {
            OBSERVER: {"written": as_one(kept(observed, rows[OBSERVER]), window), "lost": [], "errors": []},
            **{name: drawn(outcomes[name], rows[name], window) for name in subjects},
        },
    }  # fmt: skip


def as_one(writes: list[Outcome], window: Window) -> list[list[float]]:
    """Give the spans of the servers' own writes: whichever of them it was."""
    near = (replace(o, client=0) for o in writes if window.at_s - BEFORE_S <= o.end_s <= window.end_s)
    return by_client(near, window.at_s)


def title(name: str) -> str:
    """Name a subject for people."""
    return TITLES.get(name, name)


def figures_of(event: Result) -> dict[str, Figures]:
    """Give each subject's figures of an event."""
    return {name: Figures(**figures) for name, figures in event["subjects"].items()}


def pause(figures: Figures) -> str:
    """Show how long no write was acknowledged that lasted; a pause that did not end with the window is longer."""
    return f"{'' if figures.resumed else '> '}{figures.pause_s:.1f}"


def per_client(count: int, clients: int) -> str:
    """Show a count for one client."""
    each = count / clients
    return f"{each:.0f}" if each >= 10 or each == int(each) else f"{each:.1f}"


def overview(result: Result) -> str:
    """Give the short table: a row per subject, a column per event."""
    clients = result["about"]["clients"]
    events = result["events"]
    lines = [["through", *(event["title"] for event in events)]]
    servers = [f"{event['servers_pause_s']:.1f} s" for event in events]
    lines.append(["*the servers themselves*", *servers])
    for name in result["about"]["subjects"]:
        cells = [cell(figures_of(event)[name], clients) for event in events]
        lines.append([title(name), *cells])
    return markdown(lines)


def cell(figures: Figures, clients: int) -> str:
    """Show an event for the clients of one subject in a few words."""
    words = [f"{pause(figures)} s"]
    if figures.worst_client_s > figures.pause_s + HANGS_S:
        words.append(f"a client {figures.worst_client_s:.0f} s")
    words.append(f"{per_client(figures.error_count, clients)} errors")
    if figures.rows_not_replicated:
        words.append(f"{figures.rows_not_replicated} rows not replicated")
    if misled := figures.rows_lost - figures.rows_not_replicated:
        words.append(f"**{misled} rows lost**")
    return ", ".join(words)


def details(event: Result, clients: int) -> str:
    """Give the table of one event."""
    lines = [[
        "through", "no lasting write for, s", "beyond the servers' own, s", "one client for, s",
        "acknowledged writes paused for, s", "first write after the new primary's, s", "errors per client",
        "clients with errors", "connections lost per client", "acknowledged rows lost", "of these not replicated",
        "reads that missed an own write", "writes",
    ]]  # fmt: skip
    for name, figures in figures_of(event).items():
        after = figures.after_new_primary_s
        lines.append([
            title(name), pause(figures), f"{figures.beyond_s:.2f}", f"{figures.worst_client_s:.1f}",
            f"{figures.acknowledged_pause_s:.2f}", "never" if after is None else f"{after:.2f}",
            per_client(figures.error_count, clients), str(figures.clients_with_errors),
            per_client(figures.connections_lost, clients), str(figures.rows_lost), str(figures.rows_not_replicated),
            str(figures.stale_reads), str(figures.writes),
        ])  # fmt: skip
    return markdown(lines)


def errors(event: Result) -> str:
    """List the errors of one event by kind and SQLSTATE."""
    lines = []
    for name, figures in figures_of(event).items():
        counts = ", ".join(f"{kind}: {count}" for kind, count in figures.errors.items()) or "none"
        helped = "; an operator had to help afterwards" if name in event.get("helped", []) else ""
        hung = event.get("hung", {}).get(name, 0)
        ended = f"; {hung} clients did not find back and were started anew" if hung else ""
        lines.append(f"- {title(name)}: {counts}{helped}{ended}")
    return "\n".join(lines)


def conditions(result: Result) -> str:
    """Say what was measured, where and when."""
    about = result["about"]
    versions = ", ".join(f"{title(name)} {version}".strip() for name, version in about["subjects"].items())
    return (
        f"{about['when'][:10]}: {versions}; PostgreSQL {about['postgresql']}, Patroni {about['patroni']} with "
        f"{about['members']} members (ttl {about['ttl']} s, loop_wait {about['loop_wait']} s, retry_timeout "
        f"{about['retry_timeout']} s), etcd, replication asynchronous; {about['clients']} clients through each at the "
        f"same time; {about['machine']}, on which all of it runs; load of the machine before: {about['load']}."
    )


def summary(result: Result) -> str:
    """Give the short form."""
    meaning = (
        "Longest time without an acknowledged write that was still there in the end (of one client, where it had to "
        "wait longer than the others), errors per client, acknowledged rows that were missing in the end; > means that "
        "it lasted until the event was undone and longer. Rows not replicated were acknowledged before the server died "
        "and had not left it, as asynchronous replication has it, whoever stands in front."
    )
    return f"{overview(result)}\n\n{meaning} {conditions(result)}"


def page(result: Result) -> str:
    """Give everything as one page."""
    parts = [f"# Leader changes, measured\n\n{conditions(result)}\n\n{overview(result)}\n"]
    for name, why in result["absent"].items():
        parts.append(f"Left out: {title(name)}, {why}\n")
    for event in result["events"]:
        head = f"{event['old']} led before, {event['new']} after; the servers themselves took no lasting write for "
        parts.append(
            f"## {event['title']}\n\n{head}{event['servers_pause_s']:.2f} s.\n\n"
            f"{details(event, result['about']['clients'])}\n\nErrors of all clients:\n\n{errors(event)}\n"
        )
    return "\n".join(parts)


def write(out: Path, result: Result) -> None:
    """Write JSON, page and picture."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{NAME}.json").write_text(json.dumps(result) + "\n")
    (out / f"{NAME}.md").write_text(page(result))
    (out / f"{NAME}.svg").write_text(timeline.draw(result, title))


def read(path: Path) -> Result:
    """Read an earlier result."""
    found: Result = json.loads(path.read_text())
    return found


def show_in(readme: Path, result: Result) -> None:
    """Put the short form and the picture between the marks of a page."""
    put_between(readme, BEGIN, END, f"{summary(result)}\n\n{PICTURE}")
