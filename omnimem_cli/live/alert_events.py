"""From what changes of an alert to its event, told again while it lasts. Knows changes and events; asks nothing."""

from dataclasses import dataclass, field

from omnimem_cli.live.alerts import UNCLEAR, Change
from omnimem_cli.live.events import ATTENTION, CLOSED, Event
from omnimem_cli.live.teller import Teller


@dataclass
class AlertEvents:
    """``open``: the event of each alert that lasts, by the tag of its rule."""

    teller: Teller
    open: dict[str, Event] = field(default_factory=dict)

    def tell(self, change: Change) -> None:
        """Write the event, or its next revision."""
        tag, sentence = change.rule.tag, change.rule.sentence
        if change.what == UNCLEAR:
            text = f"The model gave no clear answer about: {sentence}."
            self.teller.status(f"unclear_{tag}", f"The alert {tag} has no answers", text, level=ATTENTION)
            return
        data = {"windows": [list(window) for window in change.windows]}
        known = self.open.pop(tag, None)
        if known is None:
            how = {"text": change.reason, "tag": tag, "state": change.what, "level": ATTENTION, "data": data}
            told = self.teller.event("alert", change.start_s, change.end_s, sentence, **how)
        else:
            told = self.teller.update(known, change.end_s, state=change.what, text=change.reason, data=data)
        if change.what != CLOSED:
            self.open[tag] = told
