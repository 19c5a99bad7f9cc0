"""The encoder that the published weights lack, brought along by the user as an ONNX network.

ONNX is a graph of known operators: reading one runs no code of its author's, unlike a pickle or a script.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers.utils.hub import cached_file

from prepare.dataset import pretrained
from recipes.schema import UserError
from train.voxtral_tts.config import Codes

FILE = "encoder.onnx"
Samples = NDArray[np.float32]


class Encoder:
    """Recordings as codes. The network: float32 (1, 1, samples), whole frames → integers (1, codes, frames)."""

    def __init__(self, name: str, codes: Codes, hop: int) -> None:
        import onnxruntime

        self._codes, self._hop = codes, hop
        self.path = str(pretrained(_file, name))
        try:
            self._session = onnxruntime.InferenceSession(self.path, providers=["CPUExecutionProvider"])
        except Exception as error:  # of the runtime's own kinds
            cause = " ".join(str(error).split())[:200]
            raise UserError(f"train.codec: {self.path} is no ONNX network: {cause}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(outputs) != 1:
            raise UserError(
                f"train.codec: {self.path}: a network with one input, of float32, and one output is needed"
            )
        self._input = inputs[0].name

    def __call__(self, samples: Samples) -> NDArray[np.int64]:
        """A clip at the codec's rate: (frames, codes); silence fills the last one. Raises UserError for no codes."""
        whole = np.pad(samples, (0, -len(samples) % self._hop)).astype(np.float32)
        try:
            found: Any = self._session.run(None, {self._input: whole[None, None]})[0]
        except Exception as error:
            cause = " ".join(str(error).split())[:200]
            raise UserError(f"train.codec: {self.path} fails on {len(whole)} samples: {cause}") from error
        wanted = (1, self._codes.count, len(whole) // self._hop)
        if found.shape != wanted or not np.issubdtype(found.dtype, np.integer):
            said = f"{found.dtype} {found.shape}"
            raise UserError(f"train.codec: {self.path} gives {said} for {len(whole)} samples, not int64 {wanted}")
        codes: NDArray[np.int64] = found[0].T.astype(np.int64)
        sizes = [self._codes.semantic_codebook_size] + [self._codes.acoustic_codebook_size] * (wanted[1] - 1)
        if codes.size and (codes.min() < 0 or (codes >= sizes).any()):
            raise UserError(f"train.codec: {self.path} gives codes outside of 0 to {sizes[0] - 1} and {sizes[1] - 1}")
        return codes


def _file(name: str, revision: str | None = None, trust_remote_code: bool = False) -> str:
    found = cached_file(name, FILE, revision=None if Path(name).is_dir() else revision)
    return str(found)
