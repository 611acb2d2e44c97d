"""The page in a real browser: a phone's width, dark and light, the numbers under the pointer."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from proximo.runs.report import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium here; install it with: apt-get install -y chromium"
)
PROBE = """<script>
const errors = [];
addEventListener("securitypolicyviolation", (e) => errors.push(e.violatedDirective));
addEventListener("load", () => {
  document.querySelectorAll("details").forEach((d) => { d.open = true; });
  const plot = document.querySelector(".plot"), box = plot.getBoundingClientRect();
  plot.dispatchEvent(new PointerEvent("pointermove", {clientX: box.right - 1, clientY: box.top + 20}));
  const small = [...document.querySelectorAll("span, td, th, p, li, text")].filter((e) => e.textContent.trim());
  parent.postMessage(JSON.stringify({
    inner: innerWidth, width: document.documentElement.scrollWidth, hint: plot.querySelector(".hint")?.textContent,
    panels: document.querySelectorAll(".panel").length, violations: errors,
    scrolls: [...document.querySelectorAll(".scroll")].some((e) => e.scrollWidth > e.clientWidth),
    font: Math.min(...small.map((e) => parseFloat(getComputedStyle(e).fontSize))),
    paper: getComputedStyle(document.body).backgroundColor,
  }), "*");
});</script>"""
FRAME = """<!doctype html><script>
addEventListener("message", (e) => { document.documentElement.dataset.probe = e.data; });
</script><iframe src="page.html" style="width: WIDTHpx; height: 2000px; border: 0"></iframe>"""


def browse(tmp_path: Path, page: Path, width: int, *options: str) -> dict:
    """Open the page in headless Chromium, in a frame (a window has a least width) of `width` pixels."""
    # Before the page's own policy, which rightly forbids any other script.
    probed = page.read_text(encoding="utf-8").replace("<head>", f"<head>{PROBE}", 1)
    (tmp_path / "page.html").write_text(probed, encoding="utf-8")
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.replace("WIDTH", str(width)), encoding="utf-8")
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--disable-dev-shm-usage", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,2000",
        "--virtual-time-budget=3000", *options, "--dump-dom", frame.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    found = re.search(r'data-probe="([^"]*)"', done.stdout)
    assert found, f"Chromium did not load the page: {done.stderr[-500:]}"
    return json.loads(html.unescape(found[1]))


@needs_browser
def test_in_a_browser_at_a_phones_width(tmp_path, make):
    long = "a-rather-long-name-of-an-experiment-without-any-space-in-it"
    runs = [make(seed=s, name=long) for s in (1, 2, 3)]
    runs += [
        make(name=long, ppo={"clip": 0.1, "gamma": 0.9}),
        make(rows=0, env="a_module:Env"),
    ]
    page = write_report(runs, tmp_path / "report.html")
    seen = browse(tmp_path, page, 360)
    assert seen["inner"] == 360
    assert seen["width"] <= 360, "the page scrolls sideways"
    assert seen["scrolls"], "the wide tables must scroll inside their own box"
    assert seen["font"] >= 11
    assert seen["panels"] >= 9
    assert seen["violations"] == []
    # The hint under the pointer reads the curve back: mean of 121, 122, 123 and t(2)/√3 around it.
    assert re.match(r"step 12,000.*: 122\.0 \(119\.5 to 124\.5\), n = 3", seen["hint"]), seen["hint"]


@needs_browser
def test_in_a_browser_dark_and_wide(tmp_path, make):
    page = write_report([make()], tmp_path / "report.html")
    light = browse(tmp_path, page, 1280)
    dark = browse(tmp_path, page, 1280, "--blink-settings=preferredColorScheme=0")
    assert light["width"] <= 1280
    assert light["paper"] == "rgb(252, 252, 250)"
    assert dark["paper"] == "rgb(20, 23, 27)"
