"""Where figures, sound and pictures of a run go: Weights & Biases, offline unless told otherwise, and TensorBoard."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from recipes.schema import Recipe, UserError
from train.families import Samples
from train.pictures import Picture, attention_pictures
from train.probes import Heard, Probes


class Tracker:
    """What follows a run; silent where the recipe names nobody, and in all processes but the first."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.run: Any = None
        self.board: Any = None

    def __enter__(self) -> "Tracker":
        if os.environ.get("RANK", "0") == "0":
            if self.recipe.train.wandb.mode != "disabled":
                self.run = _open_wandb(self.recipe)
            if self.recipe.train.tensorboard:
                self.board = _open_board(self.recipe)
        return self

    def __exit__(self, *error: object) -> None:
        if self.run:
            self.run.finish()
        if self.board:
            self.board.close()

    def row(self, row: dict[str, Any]) -> None:
        """One row of metrics, with its warnings."""
        step, warnings = row["step"], row.get("warnings", {})
        numbers = {k: v for k, v in row.items() if isinstance(v, int | float) and k != "step"}
        if self.run:
            self.run.log(numbers, step=step)
            for rule, says in warnings.items():
                self.run.summary[f"warnings/{rule}"] = f"step {step}: {says}"
                self.run.alert(title=rule, text=says, level="WARN")
        if self.board:
            for name, value in numbers.items():
                self.board.add_scalar(name.replace("_", "/", 1), value, step)
            for rule, says in warnings.items():
                self.board.add_text(f"warnings/{rule}", says, step)
            self.board.flush()

    def probes(self, step: int, probes: Probes, results: Sequence[Heard]) -> None:
        """Probes as audio, and how text and sound belong together in them as pictures."""
        if not (self.run or self.board):
            return
        pictures = attention_pictures(probes)
        spoken = [(result.text, result.samples) for result in results if result.samples is not None]
        if self.run:
            self._log_wandb(step, probes.family.rate_hz, spoken, pictures)
        if self.board:
            for number, (_, samples) in enumerate(spoken):
                clipped = np.clip(np.nan_to_num(samples), -1, 1)
                self.board.add_audio(f"probe/{number}", clipped[None], step, probes.family.rate_hz)
            for number, picture in enumerate(pictures):
                self.board.add_image(f"attention/{number}", picture.pixels, step, dataformats="HWC")

    def _log_wandb(
        self, step: int, rate_hz: int, spoken: Sequence[tuple[str, Samples]], pictures: Sequence[Picture]
    ) -> None:
        import wandb

        logged: dict[str, Any] = {}
        if spoken:
            logged["probe"] = [wandb.Audio(samples, rate_hz, caption=text) for text, samples in spoken]
        if pictures:
            logged["attention"] = [wandb.Image(picture.pixels, caption=picture.caption) for picture in pictures]
        if logged:
            self.run.log(logged, step=step)


def _open_wandb(recipe: Recipe) -> Any:
    import wandb

    settings = recipe.train.wandb
    try:
        return wandb.init(
            project=settings.project,
            name=recipe.name,
            mode=settings.mode,
            dir=recipe.folder("train"),
            config=recipe.model_dump(mode="json"),
            settings=wandb.Settings(silent=True, console="off"),
        )
    except wandb.Error as error:
        cause = " ".join(str(error).split())
        raise UserError(f"train.wandb: {cause} (or train.wandb.mode=offline)") from None


def _open_board(recipe: Recipe) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("train.tensorboard: needs TensorBoard: pip install tensorboard; or set it to false") from None
    return SummaryWriter(str(recipe.folder("train") / "tensorboard"))
