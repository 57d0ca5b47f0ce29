"""Options from files: ``omnimem.yaml`` in the working directory and the user's ``config.yaml``.

Knows option names and YAML; the precedence over flags and ``OMNIMEM_*`` variables is the parser's own: what this
module returns becomes the context's default map. Top-level keys hold for every command, a mapping under a
command's name for that command alone.
"""

import difflib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.texts import decode_text

PROJECT_FILE = "omnimem.yaml"
ALTERNATIVES = (("question", "preset", "questions"), ("focus", "focus_questions"), ("workers", "ray"))
"""Options that say one thing in several ways: where a place says it in any way, lower places do not count."""


def user_file() -> Path:
    """Where the user's own defaults live (``$XDG_CONFIG_HOME/omnimem/config.yaml`` on Linux)."""
    import platformdirs

    return Path(platformdirs.user_config_dir("omnimem", appauthor=False)) / "config.yaml"


def config_files(explicit: Path | None) -> tuple[Path, Path]:
    """The user's file and the project's, which beats it; ``explicit`` (--config) stands in for the project's."""
    return user_file(), explicit or Path(PROJECT_FILE)


def load_defaults(
    explicit: Path | None, command: str, known: Mapping[str, Collection[str]]
) -> dict[str, tuple[Any, Path]]:
    """The value of every option that the config files set for ``command``, and the file that does.

    ``explicit`` must exist. ``known`` maps each command to its option names. Raises UsageError naming file and key
    where something is unknown or malformed.
    """
    defaults: dict[str, tuple[Any, Path]] = {}
    for file in config_files(explicit):
        if file.is_file():
            read = {name: (value, file) for name, value in _read(file, command, known).items()}
            defaults = over(defaults, read)
        elif file == explicit:
            raise UsageError(f"--config {file} does not exist.", "Name an existing YAML file.")
    return defaults


def _read(file: Path, command: str, known: Mapping[str, Collection[str]]) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(decode_text(file.read_bytes(), str(file)))
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.", "Check its permissions.") from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise UsageError(f"{file}{line} is not valid YAML.", "Write one `option: value` per line.") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"{file} holds no options.", "Write one `option: value` per line.")
    everywhere = {name for names in known.values() for name in names}
    groups = {k for k, v in content.items() if k in known and (k not in everywhere or isinstance(v, dict))}
    general = {k: v for k, v in content.items() if k not in groups}  # report is a command and an option
    own = content.get(command) or {}
    if not isinstance(own, dict):
        raise UsageError(f"{file}: {command} must hold options, one per line.")
    usable = set(known.get(command, ()))
    shared = {k: v for k, v in _checked(general, everywhere, file).items() if k in usable}
    return over(shared, _checked(own, usable, file))


def over(lower: Mapping[str, Any], higher: Mapping[str, Any]) -> dict[str, Any]:
    """Options of two places; of alternatives only those of the higher one."""
    beaten = {name for group in ALTERNATIVES if higher.keys() & set(group) for name in group}
    return {name: value for name, value in lower.items() if name not in beaten} | dict(higher)


def _checked(options: Mapping[Any, Any], known: Collection[str], file: Path) -> dict[str, Any]:
    checked = {}
    for key, value in options.items():
        name = str(key).replace("-", "_")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0].replace('_', '-')}?" if near else "See `omnimem summarize --help-all`."
            raise UsageError(f"{file}: {key} is no option.", hint)
        if isinstance(value, dict):
            raise UsageError(f"{file}: {key} needs a value, not a mapping.")
        checked[name] = value
    return checked
