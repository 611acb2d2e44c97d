"use strict";
// The numbers under the pointer. The curves themselves are the data: nothing is stored twice.
for (const plot of document.querySelectorAll(".plot")) {
  const x1 = Number(plot.dataset.x1), y0 = Number(plot.dataset.y0), y1 = Number(plot.dataset.y1);
  const digits = Number(plot.dataset.digits), share = plot.dataset.share === "1";
  const points = (path) => {
    const numbers = path ? path.getAttribute("d").match(/-?\d+(\.\d+)?/g).map(Number) : [];
    return Array.from({ length: numbers.length / 2 }, (_, i) => [numbers[2 * i], numbers[2 * i + 1]]);
  };
  const value = (y) => {
    const v = (y0 + (1 - y / 1000) * (y1 - y0)) * (share ? 100 : 1);
    const text = v.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
    return (Number(v.toFixed(digits)) === 0 ? text.replace("-", "") : text.replace("-", "−")) + (share ? " %" : "");
  };
  let arms = null;
  const read = () => [...plot.querySelectorAll(".arm")].map((arm) => ({
    name: arm.dataset.arm, over: arm.dataset.over,
    parts: [...arm.querySelectorAll(".part")].map((part) => ({
      n: part.dataset.n, mean: points(part.querySelector(".mean")), band: points(part.querySelector(".band")),
    })),
  }));
  const cursor = document.createElement("div"), hint = document.createElement("div");
  cursor.className = "cursor";
  hint.className = "hint";
  const hide = () => { cursor.remove(); hint.remove(); };
  const line = (text, strong) => {
    const row = document.createElement("div"), inner = document.createElement(strong ? "b" : "span");
    inner.textContent = text;
    row.append(inner);
    return row;
  };
  const show = (event) => {
    arms ??= read();
    const box = plot.getBoundingClientRect();
    const at = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) * 1000;
    let nearest = null;
    for (const arm of arms) for (const part of arm.parts) for (const [x] of part.mean)
      if (nearest === null || Math.abs(x - at) < Math.abs(nearest - at)) nearest = x;
    if (nearest === null) return;
    const rows = [line("step " + Number((nearest / 1000 * x1).toPrecision(5)).toLocaleString("en"), true)];
    for (const arm of arms) {
      let best = null;
      for (const part of arm.parts) part.mean.forEach(([x, y], i) => {
        if (best === null || Math.abs(x - nearest) < Math.abs(best.x - nearest)) best = { x, y, i, part };
      });
      if (best === null || Math.abs(best.x - nearest) > 30) continue;
      const { part, i } = best, other = part.band[part.band.length - 1 - i];
      const band = other ? ` (${value(other[1])} to ${value(part.band[i][1])})` : "";
      rows.push(line(`${arm.name}: ${value(best.y)}${band}${arm.over === "seeds" ? `, n = ${part.n}` : ""}`, false));
    }
    hint.replaceChildren(...rows);
    cursor.style.left = nearest / 10 + "%";
    plot.append(cursor, hint);
    const left = nearest / 1000 * box.width, width = hint.offsetWidth;
    hint.style.left = Math.max(0, left + width + 12 > box.width ? left - width - 12 : left + 12) + "px";
  };
  plot.addEventListener("pointermove", show);
  plot.addEventListener("pointerdown", show);
  plot.addEventListener("pointerleave", hide);
}
