"""The listening test in Label Studio: what goes there, and what comes back."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from evaluate import blind, seal, studio, unseal
from evaluate.answers import ratings
from evaluate.listen.visit import Running
from recipes.schema import Recipe, UserError
from tests.test_listen import SECRETS, begin, browser, finish, made


def exported(recipe: Recipe, tmp_path: Path, listeners: int = 2) -> tuple[Running, Path]:
    running = Running(recipe)
    return running, studio.export(running, listeners, "ary", "/data/local-files/?d=listening/")


def annotated(folder: Path, values: dict[str, Any], who: int = 0) -> Path:
    """An export of the project, in which each listener's tasks were done by an annotator of their own."""
    tasks = json.loads((folder / "tasks.json").read_text(encoding="utf-8"))
    for task in tasks:
        result = [{"from_name": name, "to_name": "a", "value": value} for name, value in values.items()]
        person = {"id": 100 + who + task["data"]["listener"]}
        task["annotations"] = [{"completed_by": person, "result": result}, {"was_cancelled": True, "result": []}]
    path = folder / "export.json"
    path.write_text(json.dumps(tasks), encoding="utf-8")
    return path


def test_what_goes_there_names_no_system_and_its_clips_are_there(tmp_path: Path) -> None:
    running, folder = exported(made(tmp_path, method="cmos"), tmp_path)
    tasks = json.loads((folder / "tasks.json").read_text(encoding="utf-8"))
    assert [task["data"]["place"] for task in tasks] == [*range(4)] * 2
    names = [task["data"][clip].rpartition("/")[2] for task in tasks for clip in ("clip_a", "clip_b")]
    assert sorted(names) == sorted(path.name for path in (folder / "clips").iterdir()) and len(set(names)) == 16
    for path in (folder / "tasks.json", folder / "config.xml"):
        assert not SECRETS.findall(path.read_text(encoding="utf-8"))
    choices = ElementTree.parse(folder / "config.xml").findall(".//Choice")
    assert [choice.get("alias") for choice in choices] == ["3", "2", "1", "0", "-1", "-2", "-3"]
    running.close()


def test_annotations_come_back_once_as_ratings_of_the_sealed_test(tmp_path: Path) -> None:
    recipe = made(tmp_path, method="acr")
    running, folder = exported(recipe, tmp_path)
    path = annotated(folder, {"choice": {"choices": ["4"]}})
    assert studio.bring(running, path) == 12
    assert studio.bring(running, path) == 0
    assert seal.unsealings(recipe, blind.test_of_results(recipe)[0]) == []
    unseal.main(recipe)
    found = ratings(recipe)
    assert {one.score for one in found.scores} == {4.0} and len({one.listener for one in found.scores}) == 2
    assert {person.checks["comprehension"] for person in found.people} == {"not_run"}
    running.close()


def test_sliders_come_back_each_to_its_system(tmp_path: Path) -> None:
    recipe = made(tmp_path, method="mushra")
    running, folder = exported(recipe, tmp_path, 1)
    assert 'value="$clip_r"' in (folder / "config.xml").read_text(encoding="utf-8")
    values = {f"slider_{letter}": {"number": 10 * place} for place, letter in enumerate("abcde", 1)}
    assert studio.bring(running, annotated(folder, values)) == 6
    unseal.main(recipe)
    assert {(one.slot, one.score) for one in ratings(recipe).scores} == {(n, 10.0 * (n + 1)) for n in range(5)}
    running.close()


def test_the_closing_question_is_a_second_project_and_comes_back(tmp_path: Path) -> None:
    recipe = made(tmp_path, method="preference", guess=True)
    running, folder = exported(recipe, tmp_path)
    tasks = json.loads((folder / "closing.json").read_text(encoding="utf-8"))
    trials = json.loads((folder / "tasks.json").read_text(encoding="utf-8"))
    assert [task["data"]["listener"] for task in tasks] == [0, 1]
    assert all(task["data"]["place"] > max(one["data"]["place"] for one in trials) for task in tasks)
    root = ElementTree.parse(folder / "closing.xml")
    assert [choice.get("alias") for choice in root.findall(".//Choice")] == ["-1", "1", "0"]
    assert not root.findall(".//Text") and not SECRETS.findall((folder / "closing.xml").read_text(encoding="utf-8"))
    for task in tasks:
        assert all(
            (folder / "clips" / task["data"][clip].rpartition("/")[2]).is_file() for clip in ("clip_a", "clip_b")
        )
        task["annotations"] = [
            {
                "completed_by": 100 + task["data"]["listener"],
                "result": [{"from_name": "choice", "value": {"choices": ["0"]}}],
            }
        ]
    path = folder / "answered.json"
    path.write_text(json.dumps(tasks), encoding="utf-8")
    assert studio.bring(running, annotated(folder, {"choice": {"choices": ["1"]}})) == len(trials)
    assert studio.bring(running, path) == 2
    unseal.main(recipe)
    assert [person.checks["guess"] for person in ratings(recipe).people] == ["not_run", "not_run"]
    running.close()


def test_without_a_closing_question_there_is_no_second_project(tmp_path: Path) -> None:
    exported(made(tmp_path, method="preference", guess=True), tmp_path)[0].close()
    running, folder = exported(made(tmp_path, method="preference"), tmp_path)
    running.close()
    assert not [*folder.glob("closing.*")] and (folder / "tasks.json").is_file()


def test_what_is_no_answer_of_this_test_is_refused_in_one_line(tmp_path: Path) -> None:
    recipe = made(tmp_path, method="acr")
    running, folder = exported(recipe, tmp_path)
    with pytest.raises(UserError, match="listener 0, place 0: no answer of this test"):
        studio.bring(running, annotated(folder, {"choice": {"choices": ["9"]}}))
    path = annotated(folder, {"choice": {"choices": ["2"]}})
    tasks = json.loads(path.read_text(encoding="utf-8"))
    tasks[1]["annotations"][0]["completed_by"] = 999
    path.write_text(json.dumps(tasks), encoding="utf-8")
    with pytest.raises(UserError, match="listener 0 was answered by two annotators"):
        studio.bring(running, path)
    path.write_text("[{}]", encoding="utf-8")
    with pytest.raises(UserError, match="no export of Label Studio as JSON"):
        studio.bring(running, path)
    running.close()


FOUR = {"from_name": "choice", "value": {"choices": ["4"]}}


@pytest.mark.parametrize(
    ("result", "data"),
    [
        ([], {}),
        (["x", None], {}),
        ([{"from_name": "choice", "value": {"choices": []}}], {}),
        ([{"from_name": "choice", "value": {"choices": ["4", "5"]}}], {}),
        ([{"from_name": "choice", "value": {"choices": None}}], {}),
        ([{"from_name": "choice", "value": {"number": None}}], {}),
        ([{"from_name": "choice"}], {}),
        ([{"value": {"choices": ["4"]}}], {}),
        ([FOUR], {"place": -1}),
        ([FOUR], {"listener": -3}),
        ([FOUR], {"listener": 2**40}),
    ],
)
def test_one_annotation_that_is_none_of_this_test_leaves_nothing_behind_of_the_others(
    tmp_path: Path, result: list[Any], data: dict[str, Any]
) -> None:
    running, folder = exported(made(tmp_path, method="acr"), tmp_path)
    path = annotated(folder, {"choice": {"choices": ["4"]}})
    tasks = json.loads(path.read_text(encoding="utf-8"))
    tasks[-1]["annotations"][0]["result"] = result
    tasks[-1]["data"] |= data
    path.write_text(json.dumps(tasks), encoding="utf-8")
    with pytest.raises(UserError, match=r"export\.json: listener -?\d+.*no (answer of this test|number that)"):
        studio.bring(running, path)
    assert running.panel.listeners() == [] == running.panel.all()
    running.close()


def test_sliders_that_were_not_set_are_no_ratings(tmp_path: Path) -> None:
    running, folder = exported(made(tmp_path, method="mushra_nr"), tmp_path, 1)
    values: dict[str, Any] = {f"slider_{letter}": {"number": 7.5} for letter in "ab"}
    for unset in (None, "x", [], 1e300, float("nan"), 101, -1):
        with pytest.raises(UserError, match="listener 0, place 0: no answer of this test"):
            studio.bring(running, annotated(folder, values | {"slider_c": {"number": unset}}))
    assert studio.bring(running, annotated(folder, values | {"slider_c": {"number": 0}})) == 6
    assert {tuple(answer.value) for answer in running.panel.all()} == {(7, 7, 0)}
    running.close()


def test_what_annotators_add_beside_the_answer_is_passed_over(tmp_path: Path) -> None:
    running, folder = exported(made(tmp_path, method="acr"), tmp_path, 1)
    path = annotated(folder, {"remark": {"choices": ["noisy"]}, "choice": {"choices": ["4"]}, "sure": {"number": 3}})
    tasks = json.loads(path.read_text(encoding="utf-8"))
    for task in tasks:
        task["annotations"][0]["result"].append({"type": "relation", "from_id": "x", "to_id": "y"})
    path.write_text(json.dumps(tasks), encoding="utf-8")
    assert studio.bring(running, path) == 6
    assert {tuple(answer.value) for answer in running.panel.all()} == {(4,)}
    running.close()


def test_a_number_that_somebody_has_on_the_web_is_not_taken_again(tmp_path: Path) -> None:
    recipe = made(tmp_path, method="acr")
    client = browser(recipe)
    finish(client, begin(client))
    running, folder = exported(recipe, tmp_path)
    with pytest.raises(UserError, match=r"number 0 is taken by a listener of evaluate\.listen"):
        studio.bring(running, annotated(folder, {"choice": {"choices": ["4"]}}))
    running.close()
