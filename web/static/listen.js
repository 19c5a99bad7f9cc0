// Plays clips, and opens the answers when every clip was heard to the end, in media time.
import { aloud, silence } from "./aloud.js";

const HEARD = 0.95; // share of the clip that must have been played
const form = document.querySelector("form[data-trial]");
const clips = form ? [...form.querySelectorAll("[data-clip]")] : [];

function heardShare(audio) {
  let played = 0;
  for (let i = 0; i < audio.played.length; i++) played += audio.played.end(i) - audio.played.start(i);
  return audio.duration ? Math.min(1, played / audio.duration) : 0;
}

function hush(except) {
  silence();
  for (const clip of clips) if (clip !== except) clip.querySelector("audio").pause();
}

aloud(hush);

const heard = (clip) => clip.dataset.heard === "yes";
const moved = () => !form.querySelector("[data-untouched]");

// A slider opens with its own clip; everything else when all were heard.
function open() {
  const all = clips.every(heard);
  for (const set of form.querySelectorAll("fieldset[data-answer]")) {
    const own = set.closest("[data-clip]");
    set.disabled = !(own ? heard(own) : all);
  }
  form.querySelector("[data-send]").disabled = !(all && moved() && form.checkValidity());
}

function prepare(clip) {
  const audio = clip.querySelector("audio");
  const state = clip.querySelector(".state span");
  const failed = () => {
    state.textContent = form.dataset.failed;
    form.querySelector("[data-broken]").hidden = false;
  };
  clip.querySelector("button").addEventListener("click", () => {
    hush(clip);
    if (audio.error) audio.load();
    audio.currentTime = 0;
    audio.play().catch(failed);
  });
  for (const event of ["playing", "pause", "ended"]) {
    audio.addEventListener(event, () => clip.classList.toggle("playing", event === "playing"));
  }
  audio.addEventListener("error", failed);
  for (const event of ["ended", "timeupdate", "pause"]) {
    audio.addEventListener(event, () => {
      const share = heardShare(audio);
      clip.querySelector("input[name^=heard]").value = share.toFixed(3);
      if (share < HEARD || heard(clip)) return;
      clip.dataset.heard = "yes";
      clip.classList.add("done");
      state.textContent = form.dataset.heard;
      open();
    });
  }
}

if (form) {
  for (const clip of clips) prepare(clip);
  form.addEventListener("input", (event) => {
    if (event.target.type === "range") {
      event.target.removeAttribute("data-untouched");
      event.target.closest("fieldset").querySelector("output bdi").textContent = event.target.value;
    }
  });
  form.addEventListener("change", open);
  // Not at once: a disabled button would not send its name.
  form.addEventListener("submit", () => setTimeout(() => { for (const one of form.querySelectorAll("button")) one.disabled = true; }));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const button = form.querySelector(`button[data-key="${CSS.escape(event.key.toUpperCase())}"]`);
    if (button) button.click();
  });
  // A page from the browser's memory would show an answer that was sent already.
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  open();
}
