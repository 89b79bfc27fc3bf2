// Says what the point nearest to the pointer is: a finger cannot hover over it.
const note = document.createElement("div");
note.className = "note";
note.hidden = true;
document.body.append(note);
for (const plot of document.querySelectorAll("svg.plot")) {
  const points = [...plot.querySelectorAll(".ask")];
  if (!points.length) continue;
  plot.addEventListener("pointermove", (event) => {
    const distance = (point) => {
      const box = point.getBoundingClientRect();
      return Math.hypot(box.x + box.width / 2 - event.clientX, box.y + box.height / 2 - event.clientY);
    };
    const nearest = points.reduce((best, point) => (distance(point) < distance(best) ? point : best));
    const box = nearest.getBoundingClientRect();
    note.textContent = nearest.textContent;
    note.hidden = false;
    const left = Math.min(box.x + scrollX, document.documentElement.clientWidth - note.offsetWidth - 8);
    note.style.left = `${Math.max(8, left)}px`;
    note.style.top = `${box.y + scrollY - note.offsetHeight - 6}px`;
  });
  plot.addEventListener("pointerleave", () => { note.hidden = true; });
}
document.documentElement.dataset.ready = "yes";
