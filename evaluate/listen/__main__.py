"""A blind listening test in the browser: `python -m evaluate.listen RECIPE [--public] [--pilot] [--invite N]`.

It answers to this machine alone; with --public to others too. Where a plan is frozen it is the planned test,
else, or with --pilot, a pilot. --invite N prints N one-time codes and ends.
"""

import argparse
from contextlib import closing

from evaluate import seal
from evaluate.listen.app import application
from evaluate.listen.told import recordings
from evaluate.listen.visit import Running
from recipes.command import next_command, run
from recipes.schema import Recipe, UserError
from web.codes import new_code, shown
from web.serve import address, door, serve


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--public", action="store_true", help="answer to other machines too")
    parser.add_argument("--pilot", action="store_true", help="a test beside the planned one, to try it")
    parser.add_argument("--invite", type=int, metavar="N", help="print N one-time codes and end")


def main(recipe: Recipe, arguments: argparse.Namespace) -> None:
    if arguments.invite:
        invite(recipe, arguments.invite, arguments.pilot)
        return
    asked = recipe.evaluate.listen
    host = "0.0.0.0" if arguments.public else asked.host
    app = application(recipe, host, arguments.pilot)
    with door(host, asked.port, "try another: evaluate.listen.port=0") as listening:
        greet(app.state.running, address(listening), host)
        serve(app, listening)


def greet(running: Running, place: str, host: str) -> None:
    """Where the test is, and what the organiser should know."""
    if running.over:
        raise UserError("the planned test was unsealed and is over; freeze another plan, or run a pilot (--pilot)")
    asked, shape = running.settings, running.blind.shape
    print(f"listening test: {asked.address or place}/   (Ctrl-C ends it)")
    print(f"  {asked.method}: {shape.trials} sentences for each listener, of {len(shape.items)}")
    for reason, count in running.blind.left_out.items():
        print(f"  left out: {count} sentences, {reason}")
    if running.blind.plan:
        print(f"  planned: {running.blind.plan}")
    else:
        print(f"  a pilot: its ratings prove nothing; {next_command('evaluate.plan', 'for a test, freeze a plan')}")
    public = seal.commitment(running.recipe, running.blind.name)
    print(f"  sealed; SHA-256 of the key: {public['sha256'] if public else ''}")
    for language, recorded in running.spoken.items():
        wanted = recordings(asked)
        if lacking := [name for name in wanted if name not in recorded]:
            print(f"  not read aloud in {language}: {len(lacking)} of {len(wanted)} ({', '.join(lacking[:3])} …)")
    print(f"  progress: {asked.address or place}/progress with the code {shown(running.organiser)}")
    if host not in ("127.0.0.1", "localhost", "::1"):
        print("other machines can reach this. Put TLS in front, and set evaluate.listen.address")
        if not (asked.controller and asked.contact):
            print("and say who asks: evaluate.listen.controller and contact stand in the notice")
    if (running.recipe.folder("evaluate") / "answers.sqlite").is_file():
        print("answers.sqlite holds answers to an earlier version of the test; they do not count")
    print(next_command("evaluate.unseal", "when it is over"), flush=True)


def invite(recipe: Recipe, count: int, pilot: bool) -> None:
    """Print one-time codes; what is kept of them opens nothing."""
    if not recipe.evaluate.listen.invited:
        raise UserError("evaluate.listen.invited is false: anybody who has the address can take part without a code")
    codes = [new_code() for _ in range(count)]
    with closing(Running(recipe, pilot)) as running:
        running.panel.invite(running.fingerprint(code) for code in codes)
    for code in codes:
        print(shown(code))


if __name__ == "__main__":
    run(main, __doc__ or "", options=options)
