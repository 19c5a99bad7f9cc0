"""A service outside that is asked about each listener: a panel's register, a check against robots.

It gets the listener's pseudonym and nothing else, `POST {"listener": …}`, and answers `{"result": "pass"}` or
`"fail"`. Whatever else happens (no answer, another status, no JSON) is an error of the service: it is
written down as such, says nothing of the listener and excludes nobody.
"""

from typing import TYPE_CHECKING

import httpx

from evaluate.panel import Outcome

if TYPE_CHECKING:
    from evaluate.listen.visit import Running

_PATIENCE_S = 10.0
_ANSWERS: dict[object, Outcome] = {"pass": "pass", "fail": "fail"}


async def ask(running: "Running", listener: str) -> None:
    """Ask, and keep what came of it. Nobody waits for it."""
    await running.do(running.panel.change, listener, screening="error")  # until there is an answer
    outcome = await asked(str(running.settings.screening), listener)
    await running.do(running.panel.change, listener, screening=outcome)


async def asked(url: str, listener: str) -> Outcome:
    """What the service says: pass, fail, or that it failed itself."""
    try:
        async with httpx.AsyncClient(timeout=_PATIENCE_S, follow_redirects=False) as client:
            answer = await client.post(url, json={"listener": listener})
        said = answer.json() if answer.status_code == 200 else None
    except (httpx.HTTPError, ValueError):
        return "error"
    return _ANSWERS.get(said.get("result"), "error") if isinstance(said, dict) else "error"
