"""From what changes of an alert to its event, told again while it lasts. Knows changes and events; asks nothing."""

from dataclasses import dataclass, field

from omnimem_cli.live.alerts import UNCLEAR, Change
from omnimem_cli.live.events import ATTENTION, CLOSED
from omnimem_cli.live.teller import Teller


@dataclass
class AlertEvents:
    """``open``: of each alert that lasts, by the tag of its rule, the id of its event and the revisions told."""

    teller: Teller
    open: dict[str, tuple[str, int]] = field(default_factory=dict)

    def tell(self, change: Change) -> None:
        """Write the event, or its next revision."""
        tag, sentence = change.rule.tag, change.rule.sentence
        if change.what == UNCLEAR:
            text = f"The model gave no clear answer about: {sentence}."
            self.teller.status(f"unclear_{tag}", f"The alert {tag} has no answers", text, level=ATTENTION)
            return
        spans = tuple({"start_s": start_s, "end_s": end_s} for start_s, end_s in change.windows)
        how = {"text": change.reason, "tag": tag, "state": change.what, "level": ATTENTION, "evidence": spans}
        if tag in self.open:
            known, revision = self.open.pop(tag)
            how |= {"id": known, "revision": revision + 1}
        told = self.teller.event("alert", change.start_s, change.end_s, sentence, **how)
        if change.what != CLOSED:
            self.open[tag] = (told.id, told.revision)

    def state(self) -> dict:
        """Plain values to go on from: an alert that lasts keeps its event in another process."""
        return {"open": {tag: list(event) for tag, event in self.open.items()}}

    def load_state(self, state: dict) -> None:
        """Go on where ``state`` was taken."""
        self.open = {tag: tuple(event) for tag, event in state["open"].items()}
