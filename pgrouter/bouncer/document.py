"""The table of docs/from-pgbouncer.md: `python -m pgrouter.bouncer.document` prints it."""

from __future__ import annotations

from pgrouter.bouncer.parameters import PARAMETERS

NOTHING = "not needed: it has no effect that anybody could notice"


def table() -> str:
    """Return a row for each setting of PgBouncer."""
    rows = ["| setting | default | becomes |", "| --- | --- | --- |"]
    for each in PARAMETERS.values():
        default = f"`{each.default:04o}`" if each.name == "unix_socket_mode" else f"`{each.default}`"
        what = each.becomes or each.note or NOTHING
        becomes = f"`{what}`" if each.becomes and " " not in what else what
        rows.append(f"| `{each.name}` | {default if each.default != '' else ''} | {becomes} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(table(), end="")  # noqa: T201  (what was asked for)
