"""A speech server in OpenAI's protocol, for the recipe's models: `python -m evaluate.serve RECIPE`.

It answers to this machine alone unless `evaluate.serve.host` says otherwise, and asks for a key where
`evaluate.serve.key_env` names the environment variable that holds one.
"""

from evaluate.serve.app import application
from evaluate.serve.desk import Desk
from recipes.command import run
from recipes.schema import Recipe
from web.serve import address, door, serve


def main(recipe: Recipe) -> None:
    asked = recipe.evaluate.serve
    app = application(recipe)
    with door(asked.host, asked.port, "try another: evaluate.serve.port=0") as listening:
        greet(app.state.desk, asked.address or address(listening))
        serve(app, listening)


def greet(desk: Desk, place: str) -> None:
    """Where the server is, what it offers, and what its keeper should know."""
    asked = desk.settings
    print(f"speech server: {place}/v1   (Ctrl-C ends it)")
    for name in desk.offered:
        waits = "" if name in desk.models else ", opened when it is first asked for"
        print(f"  {name}: {'transcribes' if desk.recognises else 'speaks as ' + ', '.join(desk.voices)}{waits}")
    if desk.voices:
        print(f"  {desk.marks}")
    print(f"  metrics: {place}/metrics   what users say of it: {desk.feedback}", flush=True)
    if asked.key_env is None and asked.host not in ("127.0.0.1", "localhost", "::1"):
        print(
            "other machines can reach this without a key: set evaluate.serve.key_env, and put TLS in front",
            flush=True,
        )


if __name__ == "__main__":
    run(main, __doc__ or "")
