// Recordings stay in this browser's own store until the server says that it has them.
const booth = document.querySelector("meta[name=booth]").dataset;
const LONGEST_PAUSE_S = 60;
const PATIENCE_MS = 90000; // for one upload

function database() {
  return new Promise((resolve, reject) => {
    const asked = indexedDB.open("twiza", 1);
    asked.onupgradeneeded = () => asked.result.createObjectStore("clips", { keyPath: "key" });
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });
}

async function within(mode, work) {
  const open = await database();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = open.transaction("clips", mode, { durability: "strict" });
      const asked = work(transaction.objectStore("clips"));
      transaction.oncomplete = () => resolve(asked.result);
      transaction.onerror = transaction.onabort = () => reject(transaction.error);
    });
  } finally {
    open.close();
  }
}

// An upload: its key never changes, so that sent twice it is one clip.
export function packed(prompt, wav) {
  return { key: crypto.randomUUID(), owner: booth.owner, prompt, wav };
}

export const put = (clip) => within("readwrite", (clips) => clips.put(clip));
export const drop = (key) => within("readwrite", (clips) => clips.delete(key));

// What waits, of this session's speaker; a phone goes through many hands.
export async function waiting(owner = booth.owner) {
  const all = await within("readonly", (clips) => clips.getAll());
  return all.filter((clip) => clip.owner === owner);
}

export async function forget(owner) {
  for (const clip of await waiting(owner)) await drop(clip.key);
}

// Sends one clip and tells what the server says of it. Throws when there is no answer, or none that counts.
export async function send(clip, keep) {
  const query = new URLSearchParams({ prompt: clip.prompt, owner: clip.owner, keep: keep ? "1" : "0" });
  const headers = { "x-csrf": booth.csrf, "idempotency-key": clip.key, "content-type": "audio/wav" };
  const options = { method: "POST", body: clip.wav, headers, signal: AbortSignal.timeout(PATIENCE_MS) };
  const answer = await fetch(`/clip?${query}`, options);
  if (!(answer.headers.get("content-type") || "").startsWith("application/json")) throw new Error(answer.status);
  return answer.json();
}

// Sends what waits, over and over, until nothing does. `tell(count, refusals)` hears of it.
export class Courier {
  constructor(tell) {
    this.tell = tell;
    this.failures = 0;
    this.held = new Set(); // keys that the page itself is sending
    addEventListener("online", () => { this.failures = 0; this.go(); });
  }

  async go() {
    clearTimeout(this.timer);
    if (this.busy || !booth.owner) return;
    this.busy = true;
    const why = [];
    try {
      for (const clip of await waiting()) {
        if (this.held.has(clip.key)) continue;
        const said = await send(clip, true);
        if (said.state === "stranger" || said.state === "other") break;
        if (said.state === "refused") why.push(...said.why);
        await drop(clip.key);
        this.failures = 0;
      }
    } catch {
      this.failures += 1;
    }
    this.busy = false;
    const left = (await waiting()).filter((clip) => !this.held.has(clip.key)).length;
    this.tell(left, why);
    const pause_s = Math.min(LONGEST_PAUSE_S, 2 ** Math.min(this.failures, 10)) * (0.75 + Math.random() / 2);
    if (left) this.timer = setTimeout(() => this.go(), 1000 * pause_s);
  }
}
