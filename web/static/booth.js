// The pages of the recording booth. Without this file everything but recording works.
import { aloud, play as sound, silence } from "./aloud.js";
import { Microphone, wav } from "./microphone.js";
import { Courier, drop, forget, packed, put, send, waiting } from "./outbox.js";

const find = (what, where = document) => where.querySelector(what);
const microphone = new Microphone();

function meter(element) {
  const bar = find("i", element);
  microphone.onLevel = (level_db, peak) => {
    bar.style.inlineSize = `${Math.max(0, Math.min(100, (level_db + 60) * 1.9))}%`;
    bar.className = peak > 0.98 ? "over" : "";
  };
}

// ---------------------------------------------------------------- what can be heard

function hush() {
  silence();
  microphone.hush();
}

aloud(hush);
for (const button of document.querySelectorAll("[data-print]")) button.addEventListener("click", () => print());

// ---------------------------------------------------------------- what waits to be sent

const line = find("[data-waiting]");
const courier = new Courier((count, why) => {
  line.hidden = !count && !why.length;
  const unused = why.map((reason) => `${line.dataset.unused} ${said(reason)}`);
  line.textContent = [...(count ? [`${line.dataset.waiting} ${count}`] : []), ...unused].join(" ");
  for (const note of document.querySelectorAll("[data-pending]")) note.hidden = !count;
});
const sheet = find("#booth") ? JSON.parse(find("#booth").textContent) : null;
const said = (reason) => (sheet && sheet.said[`say_${reason}`]) || "";
courier.go();
const gone = find("[data-forget]");
if (gone) forget(gone.dataset.forget);

// ---------------------------------------------------------------- consent, spoken

const spoken = find("#voice");
if (spoken && navigator.mediaDevices) {
  const state = find(".state", spoken);
  const button = (name) => find(`[data-do=${name}]`, spoken);
  const show = (...names) => {
    for (const each of spoken.querySelectorAll("[data-do]")) each.hidden = !names.includes(each.dataset.do);
  };
  let taken = null;
  const stop = () => {
    taken = microphone.stop();
    const files = new DataTransfer();
    files.items.add(new File([wav(taken)], "voice.wav", { type: "audio/wav" }));
    find("[name=voice]", spoken).files = files.files;
    state.textContent = "";
    show("record", "replay");
  };
  spoken.hidden = false;
  microphone.onLevel = () => { if (microphone.seconds > spoken.dataset.max - 1) stop(); };
  button("record").onclick = async () => {
    hush();
    try {
      await microphone.open();
    } catch {
      state.textContent = spoken.dataset.none;
      return;
    }
    microphone.start();
    state.textContent = spoken.dataset.recording;
    show("stop");
  };
  button("stop").onclick = stop;
  button("replay").onclick = () => microphone.play(taken);
}

// ---------------------------------------------------------------- microphone check

const check = find("#check");
if (check) {
  const state = find(".state", check);
  const button = find("button", check);
  const levels = (seconds) => new Promise((resolve) => {
    const heard = { db: [], peak: 0 };
    const show = microphone.onLevel;
    microphone.onLevel = (level_db, peak) => {
      show(level_db, peak);
      heard.db.push(level_db);
      heard.peak = Math.max(heard.peak, peak);
    };
    setTimeout(() => { microphone.onLevel = show; resolve(heard); }, 1000 * seconds);
  });
  const quantile = (values, share) => [...values].sort((a, b) => a - b)[Math.floor(share * (values.length - 1))] ?? -120;
  button.onclick = async () => {
    button.disabled = true;
    try {
      await microphone.open();
      meter(find(".meter", check));
      state.textContent = check.dataset.quiet;
      const noise_db = quantile((await levels(3)).db.slice(10), 0.5);
      state.textContent = check.dataset.speak;
      const speech = await levels(5);
      const level_db = quantile(speech.db, 0.9);
      const faults = [];
      if (level_db < -38) faults.push(check.dataset.low);
      else if (speech.peak > 0.98) faults.push(check.dataset.loud);
      if (level_db - noise_db < 20 && noise_db > -55) faults.push(check.dataset.noise);
      state.textContent = faults.join(" ") || check.dataset.fine;
      state.classList.toggle("well", !faults.length);
      button.textContent = button.dataset.again;
    } catch {
      state.textContent = check.dataset.none;
    }
    button.disabled = false;
  };
}

// ---------------------------------------------------------------- prompt by prompt

const stage = find("#record");
if (stage) booth();

async function booth() {
  const state = find(".state", stage);
  const review = find("[data-review]", stage);
  const button = (name) => find(`[data-do=${name}]`);
  const there = new Set((await waiting()).map((clip) => clip.prompt));
  const prompts = sheet.prompts.filter((prompt) => !there.has(prompt.id));
  let prompt = null;
  let taken = null;
  let clip = null; // packed and put, not yet kept
  meter(find(".meter", stage));
  const level = microphone.onLevel;
  microphone.onLevel = (...heard) => {
    level(...heard);
    if (microphone.seconds > sheet.max_s - 0.5) stop();
  };

  function say(...keys) {
    state.textContent = keys.map(said).join(" ");
    state.classList.toggle("well", keys[0] === "kept");
  }

  function show(name) {
    button("record").hidden = name !== "ready";
    button("stop").hidden = name !== "recording";
    review.hidden = name !== "review";
    stage.dataset.state = name;
    for (const each of review.children) each.disabled = false;
    find("span", button("keep")).textContent = button("keep").dataset.first;
  }

  function next() {
    hush();
    prompt = prompts.shift();
    if (!prompt) {
      show("over");
      find(".sentence", stage).textContent = "";
      button("skip").hidden = true;
      say("no_more");
      ahead();
      return;
    }
    find(".kind", stage).textContent = sheet.said[`kind_${prompt.kind}`];
    const sentence = find(".sentence", stage);
    sentence.textContent = prompt.text;
    sentence.lang = prompt.lang;
    sentence.dir = prompt.dir;
    const picture = find(".picture", stage);
    picture.hidden = !prompt.picture;
    if (prompt.picture) picture.src = prompt.picture;
    button("hear").hidden = !prompt.audio;
    show("ready");
  }

  // The next page comes when what was recorded here is there, and the server answers.
  async function ahead() {
    courier.go();
    const answer = await fetch("/record", { method: "HEAD" }).catch(() => null);
    if (answer && answer.ok && !(await waiting()).length) location.reload();
    else setTimeout(ahead, 3000);
  }

  function stop() {
    taken = microphone.stop();
    say("listen");
    show("review");
  }

  async function record() {
    hush();
    try {
      await microphone.open();
    } catch {
      say("no_microphone");
      return;
    }
    if (clip) await release();
    microphone.start();
    say("recording");
    show("recording");
  }

  // What was sent and left undecided is given up for another take.
  async function release() {
    await drop(clip.key);
    courier.held.delete(clip.key);
    clip = null;
  }

  async function keep() {
    hush();
    for (const each of review.children) each.disabled = true;
    say("sending");
    const sure = clip !== null;
    try {
      clip = clip || packed(prompt.id, wav(taken));
      courier.held.add(clip.key);
      await put(clip);
    } catch {
      clip = null;
      say("no_room");
      show("review");
      return;
    }
    const answer = await send(clip, sure).catch(() => null);
    if (answer && answer.state === "doubt") {
      show("review");
      find("span", button("keep")).textContent = button("keep").dataset.anyway;
      say(...answer.why);
    } else if (answer && ["refused", "forbidden"].includes(answer.state)) {
      await release();
      show("ready");
      say(...(answer.why || ["forbidden"]));
    } else {
      await settle(answer);
    }
  }

  // Kept there, or kept here until there is a connection.
  async function settle(answer) {
    const kept = answer && answer.state === "kept";
    if (kept) {
      await drop(clip.key);
      find("[data-done]").textContent = answer.done;
      find("progress").value = answer.done;
    }
    courier.held.delete(clip.key);
    clip = null;
    next();
    if (prompt || !kept) say(kept ? "kept" : answer ? "stranger" : "offline");
    find("[data-code-link]").hidden = kept || !answer;
    courier.failures = kept ? 0 : 1;
    courier.go();
  }

  button("hear").onclick = () => { microphone.hush(); sound(prompt.audio); };
  button("record").onclick = record;
  button("stop").onclick = stop;
  button("replay").onclick = () => { hush(); microphone.play(taken); };
  button("again").onclick = record;
  button("keep").onclick = keep;
  button("skip").onclick = async () => {
    if (microphone.blocks) microphone.stop();
    if (clip) await release();
    const headers = { "x-csrf": find("meta[name=booth]").dataset.csrf };
    fetch(`/skip?prompt=${prompt.id}`, { method: "POST", headers }).catch(() => {});
    state.textContent = "";
    next();
  };
  addEventListener("visibilitychange", () => { if (document.hidden && microphone.blocks) stop(); });
  next();
}
