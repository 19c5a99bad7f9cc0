"""What a listening test found."""

from evaluate.findings.analysis import analyse, counted
from evaluate.findings.kinds import Confirmation, Difference, Effect, Findings, Heard

__all__ = ["Confirmation", "Difference", "Effect", "Findings", "Heard", "analyse", "counted"]
