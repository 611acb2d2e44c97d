"""The page: what it says, that nothing of a file is believed to be markup, every state a run can be in."""

import json
import re
from pathlib import Path

import pytest

from proximo.cli.main import main
from proximo.errors import RunError, UserError
from proximo.runs.report import write_report
from proximo.runs.report.html import h
from proximo.runs.report.read import read_run
from proximo.runs.run import Run


def report(tmp_path, *runs: Path) -> str:
    return write_report(list(runs), tmp_path / "report.html").read_text(encoding="utf-8")


# --- the page ---


def test_page_says_what_counts(tmp_path, make):
    page = report(tmp_path, *(make(seed=s) for s in (1, 2, 3)))
    for text in ("CartPole-v1", "3 seeds", "242", "22.5", "better than a random policy", "12,000", "learn 50.0\u00a0%",
                 "apart from their seed (1, 2, 3)", "torch", "processor"):  # fmt: skip
        assert text in page, text
    order = [
        page.index(f'data-metric="{key}"')
        for key in ("return_mean", "eval/return_mean", "policy_loss", "entropy")
    ]
    assert order == sorted(order)
    assert "None: no alarm" in page


def test_runs_are_held_against_what_they_learnt_from(tmp_path, make):
    hybrid, scratch = make(name="hybrid"), make(name="scratch", ppo={"gamma": 0.9}, rows=8)
    for name, mean, ends in (("data set", 122.5, [112.5, 132.5]), ("clone", 72.5, None)):
        fields = {"name": name, "return_mean": mean, "return_ci95": ends}
        Run(hybrid).event("reference", 0, fields)
    page = report(tmp_path, hybrid, scratch)
    part = page[page.index("<h2>Against the demonstrations</h2>") :]
    rows = re.findall(r"<tr>(.*?)</tr>", part[: part.index("</table>")])[1:]
    cells = [[re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row)] for row in rows]
    said = {row[0]: [cell.replace("\u2212", "-") for cell in row[1:]] for row in cells}
    # Random 22.5 is 0, the data set's 122.5 is 100; hybrid ends at 240, scratch at 160.
    assert said["data set"] == ["122.5", "112.5 to 132.5", "100", "90 to 110"]
    assert said["clone"][2] == "50"
    assert said["hybrid"][2] == "218"
    assert said["scratch"][2] == "138"
    assert said["random policy"][2] == "0"
    panel = page[page.index('data-metric="eval/return_mean"') :]
    assert ">clone 72.5<" in panel[: panel.index("</figure>")]
    assert "level-band" in panel[: panel.index("</figure>")]
    assert "Against the demonstrations" not in report(tmp_path, scratch)


def test_page_needs_nothing_but_itself(tmp_path, make):
    page = report(tmp_path, make())
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", page)
    assert "@import" not in page
    assert "url(" not in page
    assert "default-src 'none'" in page.replace("&#x27;", "'")


EVIL = '</script></style><script>alert(1)</script><img src=x onerror=alert(2)>" onload="alert(3)'


def test_nothing_from_a_file_is_markup(tmp_path, make):
    path = make()
    yaml = (path / "experiment.yaml").read_text()
    yaml = yaml.replace("name: base", f"name: {json.dumps(EVIL)}").replace(
        "id: CartPole-v1", f"id: {json.dumps(EVIL)}"
    )
    (path / "experiment.yaml").write_text(yaml)
    known = json.loads((path / "provenance.json").read_text())
    (path / "provenance.json").write_text(json.dumps(known | {"command": [EVIL], "versions": {EVIL: EVIL}}))
    Run(path).event(EVIL, 5, {EVIL: EVIL})
    Run(path).set_status("failed", EVIL, 5)
    header, *rows = (path / "progress.csv").read_text().splitlines()
    cell = EVIL.replace('"', '""')
    lines = [f'{header},"{cell}"', *(f"{row},{i}" for i, row in enumerate(rows))]
    (path / "progress.csv").write_text("\n".join(lines) + "\n")
    (path / "videos").mkdir()
    (path / "videos" / "<img src=x>.mp4").write_bytes(b"x")
    page = report(tmp_path, path)
    assert page.count("<script>") == 1
    assert "<img" not in page
    assert 'onload="' not in page
    assert page.count("alert(2)") > 8


def test_builder_escapes_unless_told():
    assert h("p", {"title": '"><', "class": None}, "a<b", h("b", {}, "&")) == (
        '<p title="&quot;&gt;&lt;">a&lt;b<b>&amp;</b></p>'
    )


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_short_runs(tmp_path, rows, make):
    page = report(tmp_path, make(rows=rows))
    assert ("no update on record yet" in page) is (rows == 0)
    assert ('class="dot"' in page) is (rows > 0)


def test_a_run_without_anything_but_its_settings(tmp_path, make):
    path = make()
    for name in ("progress.csv", "events.jsonl", "provenance.json", "status.json"):
        (path / name).unlink()
    page = report(tmp_path, path)
    assert "no curve" in page
    assert "no provenance.json" in page


def test_crashed_runs_say_so(tmp_path, make):
    failed, killed = make(seed=1), make(seed=2, rows=6)
    Run(failed).set_status("failed", "policy_loss became nan at step 9", 9000)
    Run(killed).set_status("running", step=6000)
    with (killed / "progress.csv").open("a") as file:
        file.write("7000,12.5")
    page = report(tmp_path, failed, killed, make(seed=3))
    for text in ("policy_loss became nan", "the process was killed", "2 of 3 seeds not finished", "part few"):
        assert text in page, text


def test_numbers_that_are_none_are_left_out_and_named(tmp_path, make):
    path = make(seed=1)
    lines = (path / "progress.csv").read_text().splitlines()
    column = lines[0].split(",").index("value_loss")
    for i, bad in ((5, "nan"), (6, "inf")):
        cells = lines[i].split(",")
        cells[column] = bad
        lines[i] = ",".join(cells)
    (path / "progress.csv").write_text("\n".join(lines) + "\n")
    run = read_run(path)
    assert run.not_finite == {"value_loss": (2, 5000)}
    assert len(run.series("value_loss")[0]) == 10
    page = report(tmp_path, path, make(seed=2))
    assert "not a number in 2 rows from here: value_loss" in page
    drawn = "".join(re.findall(r' (?:d|style)="([^"]*)"', page))
    assert "nan" not in drawn
    assert "inf" not in drawn


def test_early_entropy_collapse_is_noted(tmp_path, make):
    path = make(ppo={"total_steps": 100_000})
    text = (path / "progress.csv").read_text().splitlines()
    lines = [text[0] + ",entropy_fraction", *(f"{row},{0.31 / (i + 1)}" for i, row in enumerate(text[1:]))]
    (path / "progress.csv").write_text("\n".join(lines) + "\n")
    page = report(tmp_path, path)
    assert "step 7,000</span> alarm: entropy fell to 4.4\u00a0% of its maximum" in page


# --- videos ---


def test_small_videos_are_embedded_and_others_linked_relative_to_the_page(tmp_path, capsys, make):
    path = make()
    (path / "videos").mkdir()
    (path / "videos" / "step-12000.mp4").write_bytes(b"v" * 600)
    (path / "videos" / "step 6000 #1.mp4").write_bytes(b"w" * 600)
    (path / "videos" / ".tmp-step.mp4").write_bytes(b"t")
    out = write_report([path], tmp_path / "page" / "r.html", video_bytes=1000)
    page = out.read_text()
    assert page.count("data:video/mp4;base64,") == 1
    (link,) = re.findall(r'href="([^"]*)"', page)
    assert link == f"../runs/CartPole-v1/{path.name}/videos/step%206000%20%231.mp4"
    assert "1 video (0.6 kB) linked, not embedded" in capsys.readouterr().err
    assert write_report([path], out).read_text().count("data:video/mp4;base64,") == 2
    assert capsys.readouterr().err == ""


# --- mistakes ---


def test_mistakes_are_one_line(tmp_path, make):
    path = make()
    cases = [
        ([tmp_path / "nowhere"], "nowhere: there is no such folder"),
        ([tmp_path], "is no run, it has no experiment.yaml"),
        ([], "no run is named"),
    ]
    for runs, text in cases:
        with pytest.raises(UserError, match=text) as caught:
            write_report(runs, tmp_path / "r.html")
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="is a folder"):
        write_report([path], tmp_path)
    with pytest.raises(RunError, match="cannot write"):
        write_report([path], path / "experiment.yaml" / "r.html")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("progress.csv", "step,return_mean\n1,apple\n"),
        ("events.jsonl", "{broken\n"),
        ("events.jsonl", '{"kind": "resume"}\n'),
        ("provenance.json", "[]"),
        ("experiment.yaml", "\xff"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, make):
    path = make()
    (path / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=name) as caught:
        write_report([path], tmp_path / "r.html")
    assert "\n" not in str(caught.value)


def test_command(tmp_path, capsys, make):
    path = make()
    out = tmp_path / "out.html"
    assert main(["report", str(path), str(path), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"report: {out}\n"
    assert "1 arm · 1 run ·" in out.read_text()
    assert main(["report", str(tmp_path / "nowhere"), "--out", str(out)]) == 2
