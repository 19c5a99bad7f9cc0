// The microphone without loss: 48 kHz, one channel, nothing "improved" by the browser, 16-bit WAV made here.
const RATE_HZ = 48000;

export class Microphone {
  constructor() {
    this.blocks = null; // while recording
    this.onLevel = () => {};
  }

  // Asks for the microphone; throws when it cannot be had.
  async open() {
    if (this.context) {
      await this.context.resume();
      return;
    }
    if (!navigator.mediaDevices) throw new Error("no microphone on this page");
    const wish = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    this.stream = await navigator.mediaDevices.getUserMedia({ audio: wish });
    try {
      this.context = new AudioContext({ sampleRate: RATE_HZ });
      this.source = this.context.createMediaStreamSource(this.stream);
    } catch { // a browser that joins only what has the same rate
      this.context = new AudioContext();
      this.source = this.context.createMediaStreamSource(this.stream);
    }
    await this.context.audioWorklet.addModule("/static/capture.js");
    const node = new AudioWorkletNode(this.context, "capture", { numberOfOutputs: 0, channelCount: 1 });
    node.port.onmessage = (message) => this.take(message.data);
    this.source.connect(node);
    await this.context.resume();
  }

  take(block) {
    let sum = 0;
    let peak = 0;
    for (const sample of block) {
      sum += sample * sample;
      peak = Math.max(peak, Math.abs(sample));
    }
    this.onLevel(10 * Math.log10(sum / block.length + 1e-12), peak);
    if (this.blocks) this.blocks.push(block);
  }

  get seconds() {
    return this.blocks ? this.blocks.reduce((sum, block) => sum + block.length, 0) / this.context.sampleRate : 0;
  }

  start() {
    this.blocks = [];
  }

  // What was recorded since `start`.
  stop() {
    const blocks = this.blocks || [];
    this.blocks = null;
    const samples = new Float32Array(blocks.reduce((sum, block) => sum + block.length, 0));
    let at = 0;
    for (const block of blocks) {
      samples.set(block, at);
      at += block.length;
    }
    return { samples, rate: this.context.sampleRate };
  }

  // Plays a recording; resolves when it is over.
  play({ samples, rate }) {
    this.hush();
    if (!samples.length) return Promise.resolve();
    const buffer = this.context.createBuffer(1, samples.length, rate);
    buffer.copyToChannel(samples, 0);
    this.player = this.context.createBufferSource();
    this.player.buffer = buffer;
    this.player.connect(this.context.destination);
    this.player.start();
    return new Promise((done) => { this.player.onended = done; });
  }

  hush() {
    if (this.player) this.player.stop();
    this.player = null;
  }
}

// A recording as a WAV file: PCM, 16 bits, one channel.
export function wav({ samples, rate }) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, letters) => [...letters].forEach((letter, n) => view.setUint8(at + n, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((sample, n) => {
    view.setInt16(44 + 2 * n, Math.max(-32768, Math.min(32767, Math.round(sample * 32768))), true);
  });
  return new Blob([view.buffer], { type: "audio/wav" });
}
