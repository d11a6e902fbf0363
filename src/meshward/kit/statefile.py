"""Files of state: read whole or refused with a remedy, whichever release wrote them.

A file is one JSON object: `format`, a number that rises when its shape changes, and the fields of a dataclass. One
without `format` is of format 0, as release 0.1.0 wrote it. `migrations[n]` makes of what format n held what the
next one holds.

Damage never reads as nothing. It is one error, which names the file, what is wrong (never what is in it: some hold
secrets), and the remedy that the file declares.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from meshward.kit import codes
from meshward.kit.durable import write_atomic
from meshward.kit.errors import MeshwardError
from meshward.kit.strict import json_value

_FORMAT = "format"
_MOST_PLAIN = 1_000_000  # bytes
T = TypeVar("T")


class StateFileDamaged(MeshwardError):
    """What a file of state holds is not what it should hold."""


def damage_error(
    path: Path, why: str, remedy: str, code: codes.Code = codes.STATE_DAMAGED
) -> StateFileDamaged:
    """Also for what is read in another way than a `StateFile` is."""
    return StateFileDamaged(code, f"`{path}` is damaged: {why}", remedy)


def unchanged(value: Any) -> Any:
    """The migration of a file that only got its `format`."""
    return value


def put_under(name: str) -> Callable[[Any], Any]:
    """The migration of a file that was nothing but what its field `name` is now."""
    return lambda value: {name: value}


def read_regular(
    path: Path, limit: int, damage: Callable[[str], Exception], *, private: bool = False
) -> bytes | None:
    """At most `limit` bytes of a regular file; None where there is none.

    Raises what `damage` makes of a link, of what is no file, of one that is longer, and where it must be `private`
    of one that others can read or write; and MeshwardError (MW3016) for one that cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise damage("it is a symbolic link") from None
        raise unreadable_error(path, error) from None
    try:
        if fault := _fault(os.fstat(descriptor), private):
            raise damage(fault)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise unreadable_error(path, error) from None
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise damage(f"it is longer than {limit} bytes")
    return data


def read_plain(path: Path, limit: int = _MOST_PLAIN) -> bytes:
    """All of what lies beside a `StateFile`, a key or a certificate, without waiting: of a regular file alone.

    Raises FileNotFoundError, ValueError for what is no such file, MeshwardError (MW3016).
    """
    data = read_regular(path, limit, ValueError)
    if data is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    return data


def _fault(found: os.stat_result, private: bool) -> str:
    if not stat.S_ISREG(found.st_mode):
        return "it is no regular file"
    if private and (found.st_uid != os.geteuid() or found.st_mode & 0o077):
        return "others can read or write it, or it is somebody else's"
    return ""


@dataclass(frozen=True, slots=True)
class StateFile(Generic[T]):
    """One kind of file. `holds` is a dataclass; `place` and `what` are for people (docs/state.md)."""

    name: str
    holds: type[T]
    place: str  # STATE, or what docs call another directory
    what: str
    remedy: str
    code: codes.Code = codes.STATE_DAMAGED  # of damage
    former: str | None = None  # what it was called at format 0
    renewed: bool = False  # each start writes it anew, so that a damaged one hinders none
    private: bool = False  # refused where others can read or write it
    limit: int = 4_000_000  # bytes
    may_lack: frozenset[str] = frozenset()  # fields that an older format did not always have
    migrations: tuple[Callable[[Any], Any], ...] = (unchanged,)

    @property
    def format(self) -> int:
        return len(self.migrations)

    def read(self, directory: Path) -> T | None:
        """None where there is no such file. Raises MeshwardError for one that cannot be used."""
        for name in filter(None, (self.name, self.former)):
            data = self._data(directory / name)
            if data is not None:
                return self.decode(data, directory / name)
        return None

    def write(self, directory: Path, value: T, mode: int = 0o600, gid: int | None = None) -> None:
        """Replace the file, durably. Raises OSError; then it is as it was."""
        text = self.encode(value)
        if len(text) > self.limit:
            raise OSError(errno.EFBIG, "more than can be read again", str(directory / self.name))
        write_atomic(directory / self.name, text, mode, gid)
        if self.former is not None:
            (directory / self.former).unlink(missing_ok=True)

    def encode(self, value: T) -> bytes:
        """What is not text in UTF-8 (a lone surrogate from an argument) becomes `?`: what is written can be read."""
        document = {_FORMAT: self.format, **_to_json(value)}
        return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False).encode(errors="replace")

    def decode(self, data: bytes, path: Path) -> T:
        """What `data`, read from `path`, holds. Raises MeshwardError.

        1. One spelling: UTF-8, JSON, no name twice.
        2. No newer format than ours; an older one is brought up to ours.
        3. The right types, and nothing more than belongs there.
        """
        try:
            value = _json_of(data)  # 1
        except ValueError as error:
            raise self.damage_error(path, _why_unreadable(data, error)) from None
        found = _format_of(value)  # 2
        if found > self.format:
            raise _newer_error(path, found, self.format)
        if found < 0:
            raise self.damage_error(path, "its `format` is none")
        try:
            for migrate in self.migrations[found:]:
                value = migrate(value)
            held: T = self._adapter.validate_json(json.dumps(value), strict=True)  # 3
        except ValidationError as error:
            raise self.damage_error(path, self._misfit(error)) from None
        except (ValueError, TypeError, LookupError, AttributeError):
            raise self.damage_error(path, f"it is nothing of format {found}") from None
        written = _to_json(held)
        if written != value and (found == self.format or not self._is_older(written, value)):
            raise self.damage_error(path, "it holds more, or less, than belongs there")
        return held

    def damage_error(self, path: Path, why: str) -> StateFileDamaged:
        """The error for what `read` could not know to be wrong."""
        return damage_error(path, why, self.remedy, self.code)

    def _is_older(self, written: dict[str, Any], value: Any) -> bool:
        """Whether what would be written is `value`, and defaults where that may lack something."""
        return _covers(written, value) and written.keys() - value.keys() <= self.may_lack

    @property
    def _adapter(self) -> TypeAdapter[T]:
        kind: Any = self.holds
        return _adapter_of(kind)

    def _data(self, path: Path) -> bytes | None:
        return read_regular(path, self.limit, lambda why: self.damage_error(path, why), private=self.private)

    def _misfit(self, error: ValidationError) -> str:
        """Names a field of ours, never a name that was found in the file."""
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        if field not in getattr(self.holds, "__dataclass_fields__", {}):
            return "it does not hold what belongs there"
        lacks = first["type"] == "missing" and len(first["loc"]) == 1
        return f"`{field}` {'is missing' if lacks else 'is not what belongs there'}"


@cache
def _adapter_of(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _to_json(value: Any) -> dict[str, Any]:
    """As JSON would give it back."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(value), allow_nan=False))
    return plain


def _covers(written: Any, found: Any) -> bool:
    """Whether all that was `found` is in what would be written, which may hold defaults besides."""
    if isinstance(written, dict) and isinstance(found, dict):
        return all(name in written and _covers(written[name], each) for name, each in found.items())
    if isinstance(written, list) and isinstance(found, list):
        return len(written) == len(found) and all(map(_covers, written, found))
    return bool(written == found)


def _json_of(data: bytes) -> Any:
    """Release 0.1.0 kept half a surrogate pair (of a file's name, in a reason) as it was: `?`, as `encode` has it."""
    try:
        return json_value(data)
    except UnicodeEncodeError:
        whole = json.dumps(json.loads(data), ensure_ascii=False).encode(errors="replace")
        if isinstance(value := json_value(whole), dict) and _FORMAT in value:
            raise
        return value


def _format_of(value: Any) -> int:
    """Taken out of `value`; 0 where there is none, -1 where it is none. A model of format 0 may be called `format`."""
    if not isinstance(value, dict) or type(value.get(_FORMAT)) is not int:
        return 0
    found: int = value.pop(_FORMAT)
    return found if found > 0 else -1


def _why_unreadable(data: bytes, error: ValueError) -> str:
    if not data.strip():
        return "it is empty"
    if isinstance(error, UnicodeError):
        return "it is not UTF-8 text"
    if isinstance(error, json.JSONDecodeError):
        return f"it is not JSON (line {error.lineno}, column {error.colno})"
    return f"it is not JSON that is taken: {error}"


def _newer_error(path: Path, found: int, ours: int) -> MeshwardError:
    return MeshwardError(
        codes.STATE_OF_NEWER_RELEASE,
        f"`{path}` was made by a newer meshward (format {found}; this one knows up to {ours})",
    )


def machine_error(error: OSError, *, told: bool = True) -> MeshwardError:
    """Of a disk, a mode, a limit that nobody has words of their own for. `told`: the file's place, too."""
    where = f"`{error.filename}`: " if told and error.filename is not None else ""
    return MeshwardError(codes.MACHINE_REFUSED, f"{where}{error.strerror or error}")


def unreadable_error(path: Path, error: OSError) -> MeshwardError:
    """For what is no damage: a mode, a disk."""
    return MeshwardError(
        codes.STATE_UNREADABLE,
        f"`{path}` cannot be read: {error.strerror}",
    )
