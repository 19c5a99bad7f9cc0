"""The bar on the terminal: how far, how long still, the loss and the speed."""

import math
from collections import deque

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_STEPS = 50  # over which the speed is taken, without the validations and probes between them


class Bar:
    """What `train.loop` shows while it runs; `start` where it begins or goes on."""

    def __init__(self, total: int, start: int, visible: bool) -> None:
        columns = TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        texts = (TextColumn(f"{{task.fields[{name}]}}") for name in ("loss", "speed"))
        self.progress = Progress(*columns, *texts, disable=not visible, console=Console(stderr=True))
        self._task = self.progress.add_task("training", total=total, completed=start, loss="", speed="")
        self._steps: deque[tuple[float, int, float]] = deque(maxlen=_STEPS)

    def show(self, step: int, loss: float, took_s: float, utterances: int, audio_s: float) -> None:
        """A step has been taken, in `took_s`, over so many utterances, which last `audio_s` together."""
        self._steps.append((took_s, utterances, audio_s))
        told = "" if math.isnan(loss) else f"loss {loss:.3f}"
        self.progress.update(self._task, completed=step, loss=told, speed=self.speed())

    def speed(self) -> str:
        """Utterances a second, and how much faster than they are spoken."""
        took_s = sum(step[0] for step in self._steps)
        utterances, audio_s = sum(step[1] for step in self._steps), sum(step[2] for step in self._steps)
        return f"{utterances / took_s:.1f} utterances/s, {audio_s / took_s:.0f} × real time" if took_s else ""
