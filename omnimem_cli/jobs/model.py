"""The model of a run: located and identified without loading it, loaded when the first input that fits needs it.

Imports torch only when the model is located.
"""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from omnimem_cli.base.process import import_once
from omnimem_cli.base.settings import Settings

if TYPE_CHECKING:
    from omnimem_cli.media.segment import Media
    from omnimem_cli.models.adapter import Adapter
    from omnimem_cli.models.catalogue import Row
    from omnimem_cli.models.loader import LocalModel
    from omnimem_cli.session.preflight import ModelOutline, Prepared
    from omnimem_cli.session.sound_pass import SoundPass
    from omnimem_cli.tasks.task import Task


class LazyModel:
    """One model for all inputs of a process."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self._found: LocalModel | None = None
        self._outline: ModelOutline | None = None
        self._adapter: Adapter | None = None
        self._facts: dict | None = None

    def check_name(self) -> None:
        """Raise UsageError for a name that is no model's, or a folder that is no adapter, before any work.

        Raises MissingError for a broken adapter. Without torch.
        """
        from omnimem_cli.models import hub
        from omnimem_cli.models.catalogue import row
        from omnimem_cli.models.lora_folder import check_adapter

        if self.settings.adapter is not None:
            check_adapter(Path(self.settings.adapter))
        name = self.settings.model
        if name == "auto" or Path(name).is_dir():
            return
        if "/" in name:
            hub.check_id(name)
        else:
            row(name)

    def to_download(self) -> "Row | None":
        """The row that was named and whose weights are not on this machine, else None. Without torch."""
        from omnimem_cli.models.catalogue import ROWS
        from omnimem_cli.models.folder import is_installed

        wanted = self.settings.model.lower()
        named = [row for row in ROWS if row.hub_id and wanted in (row.name, row.hub_id.lower())]
        return named[0] if named and not Path(wanted).is_dir() and not is_installed(named[0]) else None

    def identify(self) -> dict[str, str]:
        """Name and revision, and those of the adapter where there is one.

        Raises UsageError for an unknown name or a folder that is no adapter, MissingError where nothing is installed.
        """
        from omnimem_cli.models.folder import revision_of

        found = self._located()
        return {"name": found.row.name, "revision": revision_of(found.folder)} | self._adapter_facts()

    def _adapter_facts(self) -> dict[str, str]:
        if self.settings.adapter is None:
            return {}
        from omnimem_cli.models.lora_folder import adapter_facts

        facts = adapter_facts(Path(self.settings.adapter))
        return {"adapter": f"{facts['name']}@{facts['revision']}"}

    def facts(self) -> dict:
        """How a memory file names the model: name, hub id, revision, digest of its config. Raises MissingError."""
        if self._facts is None:
            from omnimem_cli.models.folder import config_digest

            found = self._located()
            self._facts = self.identify() | {"hub_id": found.row.hub_id, "config": config_digest(found.folder)}
        return self._facts

    def prepare(self, path: str, recent_s: float = 0.0, media: "Media | None" = None) -> "Prepared":
        """What watching ``path`` takes (see `preflight.prepare`). Before the first load the model's shape answers.

        Reading gigabytes of weights costs minutes, the shape half a second.
        """
        from omnimem_cli.session.preflight import prepare

        if self._adapter is not None:
            return prepare(path, self.settings, self._adapter, recent_s, media=media)
        outline = self.outline()
        return prepare(path, self.settings, outline.adapter, recent_s, outline.free_bytes, media)

    def outline(self) -> "ModelOutline":
        """The shape of the model, made once before it is loaded. Raises MissingError."""
        if self._outline is None:
            from omnimem_cli.session.preflight import outline_of_folder

            self._outline = outline_of_folder(self._located(), self.settings)
        return self._outline

    def listening(self, prepared: "Prepared", task: "Task") -> "AbstractContextManager[SoundPass | None]":
        """The first pass over the sound of an input, to be made beside ``load``; None where the model is loaded."""
        if self._outline is None:
            return nullcontext()
        from omnimem_cli.session.sound_pass import sound_pass

        listen = task.scan_audio if task.needs_audio_scan else None
        heard = sound_pass(self.settings, prepared.media, self._outline.adapter, listen)
        return heard or nullcontext()

    def load(self) -> "Adapter":
        """The loaded model. Raises MissingError and DoesNotFitError."""
        if self._adapter is None:
            from omnimem_cli.models.loader import load_local

            s = self.settings
            self._adapter = load_local(self._located(), device=s.device, dtype=s.dtype, lora=s.adapter)
            self._outline = None
        return self._adapter

    @property
    def row(self) -> "Row":
        """Its defaults. Raises UsageError and MissingError, as `identify` does."""
        return self._located().row

    def _located(self) -> "LocalModel":
        if self._found is None:
            import_once("omnimem_cli.models.loader")  # torch and the library
            from omnimem_cli.models.loader import locate

            s = self.settings
            self._found = locate(s.model, device=s.device, dtype=s.dtype)
        return self._found
