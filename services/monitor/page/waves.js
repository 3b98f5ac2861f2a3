// Both voices on one time axis, which scrolls, with marks.

// How much of the past is shown, ms, and the length of one step of the levels, ms.
const SPAN_MS = 12000;
const STEP_MS = 20;
// The newest levels are so old, ms, when they arrive: the axis ends there.
const LATE_MS = 300;
// ms between two pictures: as smooth as an eye can follow.
const FRAME_MS = 40;
// ms between two pictures where the person wants less motion.
const CALM_MS = 1000;
const VOICES = ["person", "assistant"];

export class Waves {
  constructor(canvas) {
    this.canvas = canvas;
    this.levels = { person: [], assistant: [] };
    this.marks = [];
    this.offset = null; // the machine's clock minus the page's, ms
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    this.drawn = 0;
    const draw = (now) => {
      requestAnimationFrame(draw);
      if (now - this.drawn < (this.calm.matches ? CALM_MS : FRAME_MS)) return;
      this.drawn = now;
      this.draw(now);
    };
    requestAnimationFrame(draw);
  }

  add({ voice, at_ms, peaks }) {
    const line = this.levels[voice];
    peaks.forEach((peak, n) => line.push([at_ms + n * STEP_MS, peak]));
    this.follow(at_ms + peaks.length * STEP_MS);
    const old = at_ms - SPAN_MS - 1000;
    while (line.length && line[0][0] < old) line.shift();
    this.marks = this.marks.filter((mark) => mark.at_ms > old);
  }

  mark(mark) {
    this.marks.push(mark);
  }

  // Let the axis follow the machine's clock.
  follow(at_ms) {
    const offset = at_ms - performance.now();
    if (this.offset === null || Math.abs(offset - this.offset) > 1500) this.offset = offset;
    else this.offset += (offset - this.offset) / 50;
  }

  draw(now) {
    const { canvas } = this;
    const scale = devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * scale);
    const height = Math.round(canvas.clientHeight * scale);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const pen = canvas.getContext("2d");
    const style = getComputedStyle(canvas);
    const colour = (name) => style.getPropertyValue(`--${name}`);
    pen.clearRect(0, 0, width, height);
    const end = now + (this.offset ?? 0) - LATE_MS;
    const x = (at_ms) => width - ((end - at_ms) / SPAN_MS) * width;
    const step = Math.max(1, (STEP_MS / SPAN_MS) * width);
    VOICES.forEach((voice, n) => {
      const middle = (height * (2 * n + 1)) / 4;
      pen.fillStyle = colour(voice);
      pen.fillRect(0, middle, width, 1);
      for (const [at_ms, peak] of this.levels[voice]) {
        const half = (peak / 100) * (height / 4 - 4);
        if (half >= 1) pen.fillRect(x(at_ms), middle - half, step, 2 * half);
      }
    });
    for (const { kind, at_ms } of this.marks) {
      pen.fillStyle = colour(kind);
      const voice = kind === "onset" || kind === "turn_end" ? 0 : height / 2;
      pen.fillRect(x(at_ms), voice, 2 * scale, height / 2);
    }
  }
}
