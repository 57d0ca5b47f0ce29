"use strict";
// One time is pointed at: by a click, a key, or the player. Everything on the page that belongs to it follows.
(() => {
  const slider = document.getElementById("slider");
  const cursor = document.getElementById("cursor");
  const clock = document.getElementById("clock");
  const here = document.getElementById("here");
  const player = document.getElementById("player");
  const first = Number(slider.getAttribute("aria-valuemin"));
  const last = Number(slider.getAttribute("aria-valuemax"));
  const spans = [...document.querySelectorAll("[data-start]")].map((element) => ({
    element,
    start: Number(element.dataset.start),
    end: Number(element.dataset.end),
  }));
  let now = first;

  const clockOf = (seconds) => {
    const whole = Math.floor(Math.max(seconds, 0));
    const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
    const two = (number) => String(number).padStart(2, "0");
    return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
  };

  const markSpans = () => {
    const there = [];
    for (const { element, start, end } of spans) {
      const on = start <= now && (now < end || (now === last && end >= last));
      if (on) there.push(element);
      if (on === element.classList.contains("on")) continue;
      element.classList.toggle("on", on);
      if (on) element.setAttribute("aria-current", "true");
      else element.removeAttribute("aria-current");
    }
    return there;
  };

  const say = (there) => {
    const titles = there.map((element) => element.querySelector(":scope > title, :scope > span")).filter(Boolean);
    const said = [...new Set(titles.map((title) => title.textContent))].join(" · ");
    clock.textContent = clockOf(now);
    here.textContent = said;
    slider.setAttribute("aria-valuenow", now.toFixed(1));
    slider.setAttribute("aria-valuetext", said ? `${clockOf(now)}, ${said}` : clockOf(now));
  };

  const show = (seconds) => {
    now = Math.min(Math.max(seconds, first), last);
    const place = `${(100 * (now - first)) / (last - first)}%`;
    cursor.setAttribute("x1", place);
    cursor.setAttribute("x2", place);
    const there = markSpans();
    say(there);
    return there;
  };

  const pointAt = (seconds, from) => {
    const there = show(seconds);
    if (player && now <= player.duration) player.currentTime = now;
    const text = there.filter((element) => element.matches("li, article")).at(-1);
    // In one column the timeline must not leave the screen while it is used.
    const apart = from !== slider || matchMedia("(min-width: 64rem)").matches;
    if (text && apart && !text.contains(from)) text.scrollIntoView({ block: "nearest" });
  };

  const timeAt = (event) => {
    const box = slider.getBoundingClientRect();
    return first + ((event.clientX - box.left) / box.width) * (last - first);
  };

  const step = Math.max(1, (last - first) / 100);
  const keys = {
    ArrowLeft: () => now - step,
    ArrowDown: () => now - step,
    ArrowRight: () => now + step,
    ArrowUp: () => now + step,
    PageDown: () => now - 10 * step,
    PageUp: () => now + 10 * step,
    Home: () => first,
    End: () => last,
  };

  slider.addEventListener("keydown", (event) => {
    if (!(event.key in keys) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    pointAt(keys[event.key](), slider);
  });
  slider.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    slider.setPointerCapture(event.pointerId);
    pointAt(timeAt(event), slider);
  });
  slider.addEventListener("pointermove", (event) => {
    if (slider.hasPointerCapture(event.pointerId)) pointAt(timeAt(event), slider);
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-time]");
    if (button) pointAt(Number(button.dataset.time), button);
  });

  if (player) {
    const lost = () => {
      player.hidden = true;
      document.getElementById("unplayable").hidden = false;
    };
    player.addEventListener("loadedmetadata", () => pointAt(now, slider));
    player.addEventListener("timeupdate", () => show(player.currentTime));
    player.addEventListener("error", lost);
    if (player.error) lost();
  }
  show(first);
})();
