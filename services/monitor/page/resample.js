// Converts a stream of samples from one rate to another, with a polyphase filter whose delay is half
// its length. The same filter as shared/audio/resample.py: flat up to 10.4 kHz at 24 kHz, 80 dB down
// from a little above 12 kHz.

// Half the filter's length, in samples of the lower rate.
const HALF = 32;
const BETA = 8;
const CUTOFF = 0.95;

function bessel(x) {
  let sum = 1;
  let term = 1;
  for (let k = 1; term > sum * 1e-12; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function gcd(a, b) {
  return b ? gcd(b, a % b) : a;
}

// The filter for a pair of rates. Output n lies at input n * step, and phase n % up gives its taps.
export class Filter {
  constructor(rateIn, rateOut) {
    const common = gcd(rateIn, rateOut);
    this.up = rateOut / common;
    this.down = rateIn / common;
    // The taps reach so far to both sides of an output's place.
    this.half = Math.ceil(HALF * Math.max(1, rateIn / rateOut));
    const cutoff = CUTOFF * Math.min(1, rateOut / rateIn);
    this.bank = [];
    for (let phase = 0; phase < this.up; phase++) {
      const taps = new Float32Array(2 * this.half);
      let sum = 0;
      for (let k = 0; k < taps.length; k++) {
        // Tap k weighs the input at (k - half + 1) after the place's whole part.
        const x = k - this.half + 1 - phase / this.up;
        const inside = Math.max(0, 1 - (x / this.half) ** 2);
        const sinc = x === 0 ? 1 : Math.sin(Math.PI * x * cutoff) / (Math.PI * x * cutoff);
        taps[k] = sinc * bessel(BETA * Math.sqrt(inside));
        sum += taps[k];
      }
      // Each phase has the same gain, or a steady tone would flutter.
      this.bank.push(taps.map((tap) => tap / sum));
    }
  }
}

// Takes blocks of any length and passes on each output that is ready, with its number.
export class Resampler {
  constructor(rateIn, rateOut) {
    this.filter = new Filter(rateIn, rateOut);
    this.line = new Float32Array(0); // the input from sample `first` on
    this.first = -this.filter.half; // the stream begins with silence
    this.line = new Float32Array(this.filter.half);
    this.next = 0; // the number of the next output
  }

  push(block, pass) {
    const { up, down, half, bank } = this.filter;
    const line = new Float32Array(this.line.length + block.length);
    line.set(this.line);
    line.set(block, this.line.length);
    for (;;) {
      const place = Math.floor((this.next * down) / up);
      if (place + half >= this.first + line.length) break;
      const taps = bank[(this.next * down) % up];
      const begin = place - half + 1 - this.first;
      let sum = 0;
      for (let k = 0; k < taps.length; k++) sum += taps[k] * line[begin + k];
      pass(sum);
      this.next++;
    }
    const keep = Math.floor((this.next * down) / up) - half + 1;
    const drop = Math.max(0, keep - this.first);
    this.line = line.subarray(Math.min(drop, line.length));
    this.first += Math.min(drop, line.length);
  }
}
