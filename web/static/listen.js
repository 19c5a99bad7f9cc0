// Plays clips and opens the answers when every clip was heard to the end, in media time.
"use strict";

const HEARD = 0.95; // share of the clip that must have been played
const form = document.querySelector("form[data-trial]");
const clips = [...document.querySelectorAll("[data-clip]")];

function heardShare(audio) {
  let played = 0;
  for (let i = 0; i < audio.played.length; i++) played += audio.played.end(i) - audio.played.start(i);
  return audio.duration ? played / audio.duration : 0;
}

function open() {
  const all = clips.every((clip) => clip.dataset.heard === "yes");
  for (const set of form.querySelectorAll("fieldset")) set.disabled = !all;
  form.querySelector("button[type=submit]").disabled = !(all && form.checkValidity());
}

for (const clip of clips) {
  const audio = clip.querySelector("audio");
  const state = clip.querySelector(".state");
  clip.querySelector("button").addEventListener("click", () => {
    for (const other of clips) if (other !== clip) other.querySelector("audio").pause();
    if (audio.error) audio.load();
    audio.currentTime = 0;
    audio.play().catch(() => { state.textContent = form.dataset.failed; });
  });
  for (const event of ["playing", "pause", "ended"]) {
    audio.addEventListener(event, () => clip.classList.toggle("playing", event === "playing"));
  }
  audio.addEventListener("error", () => { state.textContent = form.dataset.failed; });
  for (const event of ["ended", "timeupdate"]) {
    audio.addEventListener(event, () => {
      if (clip.dataset.heard !== "yes" && heardShare(audio) >= HEARD) {
        clip.dataset.heard = "yes";
        state.textContent = form.dataset.heard;
        open();
      }
    });
  }
}
form.addEventListener("change", open);
form.addEventListener("submit", () => { form.querySelector("button[type=submit]").disabled = true; });
open();
