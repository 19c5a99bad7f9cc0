"""What a listening test found."""

from evaluate.findings.analysis import analyse
from evaluate.findings.kinds import Confirmation, Difference, Effect, Findings, Heard

__all__ = ["Confirmation", "Difference", "Effect", "Findings", "Heard", "analyse"]
