"""Every setting is in docs/configuration.md and in configs/full.yml, with its default; all samples load."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args, get_origin

import msgspec
import pytest
import yaml

from pgrouter.auth.users import UserStore
from pgrouter.config.decode import Decoder
from pgrouter.config.diff import needs_restart
from pgrouter.config.load import load
from pgrouter.config.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
SAMPLES = sorted((ROOT / "configs").glob("*.yml"))
ROW = re.compile(r"^\| `([a-z_.\[\]]+)` \| (`[^`]*`|required) \| (.+) \| (yes|restart) \|$", re.MULTILINE)

# Settings that have a default but cannot do with it in a sample
EXAMPLES = {"auth.users_file"}


@dataclass(frozen=True, slots=True)
class Documented:
    """A setting as the file knows it."""

    path: str
    kind: Any
    default: object  # msgspec.NODEFAULT: required


def leaves(kind: type[msgspec.Struct] = Settings, prefix: str = "") -> Iterator[Documented]:
    """Give every setting that is no section, in order; of lists of sections the settings of an item."""
    for entry in msgspec.structs.fields(kind):
        path = f"{prefix}{entry.encode_name}"
        inner = next((part for part in (entry.type, *get_args(entry.type)) if _is_section(part)), None)
        if inner is None:
            has_default = entry.default_factory is msgspec.NODEFAULT
            yield Documented(path, entry.type, entry.default if has_default else entry.default_factory())
        else:
            yield from leaves(inner, f"{path}[]." if get_origin(entry.type) is tuple else f"{path}.")


def _is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def value_of(setting: Documented, written: object) -> object:
    """Give what a written value means for this setting."""
    converter = Decoder(Path())
    value = converter.value(setting.kind, written, setting.path)
    assert not converter.problems
    return value


LEAVES = tuple(leaves())


def test_there_are_settings() -> None:
    paths = [setting.path for setting in LEAVES]
    assert {"listen[].host", "pool.size", "cluster.etcd.tls.ca"} <= set(paths)


def test_the_documentation_has_every_setting_and_no_other() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    rows = ROW.findall(text)
    assert [path for path, *_ in rows] == [*dict.fromkeys(path for path, *_ in rows)]
    assert sorted(path for path, *_ in rows) == sorted(setting.path for setting in LEAVES)


@pytest.mark.parametrize("setting", LEAVES, ids=lambda setting: setting.path)
def test_the_documented_default_is_the_real_one(setting: Documented) -> None:
    rows = {path: rest for path, *rest in ROW.findall((ROOT / "docs" / "configuration.md").read_text())}
    default, _, reload = rows[setting.path]
    if setting.default is msgspec.NODEFAULT:
        assert default == "required"
    else:
        assert value_of(setting, yaml.safe_load(default.strip("`"))) == setting.default
    assert reload == ("restart" if needs_restart(setting.path) else "yes")


@pytest.mark.parametrize("setting", LEAVES, ids=lambda setting: setting.path)
def test_the_full_sample_has_every_setting_with_its_default(setting: Documented) -> None:
    data = yaml.safe_load((ROOT / "configs" / "full.yml").read_text())
    for part in setting.path.split("."):
        data = data[part.removesuffix("[]")]
        if part.endswith("[]"):
            data = data[0]
    value = value_of(setting, data)
    if setting.default is not msgspec.NODEFAULT and setting.path not in EXAMPLES:
        assert value == setting.default
    assert setting.kind is not NoneType


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_samples_load(path: Path) -> None:
    settings = load(path)
    assert settings.auth.users_file is not None
    assert len(UserStore.load(settings.auth.users_file)) == 3


def test_there_are_samples() -> None:
    assert {"full.yml", "patroni.yml", "static.yml"} <= {path.name for path in SAMPLES}
