"""Transaction control and SET: what they do to the transaction and which settings they leave."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pgrouter.routing import knowledge
from pgrouter.routing.statement import NO_ROLE, Effect, Reason, Setting, Statement, Target, Tx

if TYPE_CHECKING:
    from pgrouter.routing.nodes import Node

# kind -> (command tag, what it does to the transaction); for BEGIN and START their options count, too.
_CONTROL: dict[str, tuple[str, Tx]] = {
    "TRANS_STMT_BEGIN": ("BEGIN", Tx.BEGIN),
    "TRANS_STMT_START": ("START TRANSACTION", Tx.BEGIN),
    "TRANS_STMT_COMMIT": ("COMMIT", Tx.COMMIT),
    "TRANS_STMT_ROLLBACK": ("ROLLBACK", Tx.ROLLBACK),
    "TRANS_STMT_SAVEPOINT": ("SAVEPOINT", Tx.INSIDE),
    "TRANS_STMT_RELEASE": ("RELEASE", Tx.INSIDE),
    "TRANS_STMT_ROLLBACK_TO": ("ROLLBACK TO", Tx.INSIDE),
}
# Two-phase commit is written to WAL.
_TWO_PHASE: dict[str, tuple[str, Tx]] = {
    "TRANS_STMT_PREPARE": ("PREPARE TRANSACTION", Tx.COMMIT),
    "TRANS_STMT_COMMIT_PREPARED": ("COMMIT PREPARED", Tx.NONE),
    "TRANS_STMT_ROLLBACK_PREPARED": ("ROLLBACK PREPARED", Tx.NONE),
}
_FALSE = frozenset({"0", "f", "false", "off", "of", "n", "no", "fa", "fal", "fals"})  # any unique prefix, guc.c
_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_$]*")


def transaction_statement(node: Node) -> Statement:
    """Classify transaction control, from BEGIN to COMMIT PREPARED."""
    kind = node.get("kind", "TRANS_STMT_BEGIN")
    if kind in _TWO_PHASE:
        tag, tx = _TWO_PHASE[kind]
        return Statement(Target.PRIMARY, Reason.TRANSACTION, tag, tx=tx, tag=tag)
    if kind not in _CONTROL:
        return Statement(Target.PRIMARY, Reason.UNKNOWN_NODE, kind, effects=int(Effect.OTHER_STATE))
    tag, tx = _CONTROL[kind]
    if node.get("chain"):
        tx = Tx.INSIDE
    elif tx is Tx.BEGIN:
        tx = {Tx.SET_READ_ONLY: Tx.BEGIN_READ_ONLY, Tx.SET_READ_WRITE: Tx.BEGIN_PRIMARY}.get(
            _modes(node.get("options", ())), Tx.BEGIN
        )
    return Statement(Target.SESSION, Reason.TRANSACTION, tag, tx=tx, tag=tag)


def _modes(options: list[Node]) -> Tx:
    """Return what transaction modes ask for: SET_READ_WRITE if a standby refuses any of them."""
    said = [_mode(name, value) for name, value in _options(options)]
    for tx in (Tx.SET_READ_WRITE, Tx.SET_READ_ONLY):
        if tx in said:
            return tx
    return Tx.SET_OTHER


def _mode(name: str, value: str | None) -> Tx:
    if name == "transaction_read_only":
        return Tx.SET_READ_WRITE if value is None or value.lower() in _FALSE else Tx.SET_READ_ONLY
    if name == "transaction_isolation" and (value is None or value.lower() == "serializable"):
        return Tx.SET_READ_WRITE
    return Tx.SET_OTHER


def _options(options: list[Node]) -> list[tuple[str, str | None]]:
    elements = [option.get("DefElem", {}) for option in options]
    return [(element.get("defname", ""), _value(element.get("arg", {}))) for element in elements]


def _value(node: Node) -> str | None:
    """Return a constant as SET would store it; None if it is not a plain constant."""
    constant = node.get("A_Const")
    if constant is None:
        return None
    if "ival" in constant:
        return str(constant["ival"].get("ival", 0))
    for key in ("sval", "fval"):
        if key in constant:
            text: str = constant[key].get(key, "")
            return text
    return None


# -- SET ------------------------------------------------------------------------------------------------------------


def set_statement(node: Node) -> Statement:  # noqa: PLR0911 (a kind of SET each)
    """Classify SET, RESET, SET TRANSACTION, SET SESSION CHARACTERISTICS in all spellings."""
    kind = node.get("kind", "VAR_SET_VALUE")
    name = node.get("name", "").lower()
    if kind == "VAR_SET_MULTI":
        return _set_several(name, node)
    if kind == "VAR_RESET_ALL":
        return _setting(Setting("all", None), "RESET")
    if kind in ("VAR_RESET", "VAR_SET_DEFAULT"):
        return _reset(name, kind, node)
    values = [_value(argument) for argument in node.get("args", ())]
    if kind != "VAR_SET_VALUE" or not values or None in values:
        return _state(Effect.SETTINGS | Effect.OTHER_STATE, name)
    texts = [value for value in values if value is not None]
    if name in knowledge.TRANSACTION_SETTINGS:
        return _set_transaction(_mode(name, texts[0]))
    if name == "seed":  # like setseed(): no query reports it
        return _state(Effect.OTHER_STATE, name)
    return _setting(Setting(name, _joined(name, texts), is_local=bool(node.get("is_local"))), "SET")


def _reset(name: str, kind: str, node: Node) -> Statement:
    if name in knowledge.TRANSACTION_SETTINGS:
        return _set_transaction(Tx.SET_READ_WRITE)
    tag = "RESET" if kind == "VAR_RESET" else "SET"
    if name == "seed":
        return _state(Effect.NONE, name, tag)
    return _setting(Setting(name, None, is_local=bool(node.get("is_local"))), tag)


def _set_several(name: str, node: Node) -> Statement:
    if name == "transaction":
        return _set_transaction(_modes(node.get("args", [])))
    if name != "session characteristics":  # TRANSACTION SNAPSHOT: one that the primary has exported
        return _set_transaction(Tx.SET_READ_WRITE)
    settings = []
    for option, value in _options(node.get("args", [])):
        if value is None:
            return _state(Effect.SETTINGS | Effect.OTHER_STATE, name)
        boolean = option != "transaction_isolation"
        settings.append(Setting(f"default_{option}", ("on" if value == "1" else "off") if boolean else value))
    return _state(Effect.SETTINGS, name, settings=tuple(settings))


def _set_transaction(tx: Tx) -> Statement:
    return Statement(Target.SESSION, Reason.TRANSACTION, "SET TRANSACTION", tx=tx, tag="SET", literal_sensitive=True)


def _setting(setting: Setting, tag: str) -> Statement:
    # A custom setting that did not exist before exists afterwards, too
    effects = Effect.NONE if setting.is_local and "." not in setting.name else Effect.SETTINGS
    if setting.name == "search_path" and "pg_temp" in (setting.value or ""):
        effects |= Effect.TEMP  # evaluating the path creates the temporary schema, which a standby cannot do
    touched = (setting, NO_ROLE) if setting.name == "session_authorization" else (setting,)
    return _state(effects, setting.name, tag, settings=touched)


def _state(effects: Effect, cause: str, tag: str = "SET", **more: Any) -> Statement:
    return Statement(
        Target.SESSION, Reason.SETTING, cause, effects=int(effects), tag=tag, literal_sensitive=True, **more
    )


def _joined(name: str, values: list[str]) -> str:
    """Return the list as set_config takes it: with each name quoted if the setting is a list of names."""
    if name in knowledge.NAME_LIST_SETTINGS:
        values = [value if _PLAIN_NAME.fullmatch(value) else '"' + value.replace('"', '""') + '"' for value in values]
    return ", ".join(values)
