// What can be heard of a page: recordings of its sentences, or this phone's own voice where it has one for the language.
let playing = null;

export function silence() {
  if (playing) playing.pause();
  playing = null;
  if (window.speechSynthesis) speechSynthesis.cancel();
}

export function play(address) {
  silence();
  playing = new Audio(address);
  return playing.play().catch(() => {});
}

// A voice of this phone for a language, the page's if not said: Arabic voices read Darija, after a fashion.
function voice(tag) {
  const own = (tag || document.documentElement.lang).split("-")[0];
  const language = { ary: "ar" }[own] || own;
  return window.speechSynthesis && speechSynthesis.getVoices().find((one) => one.lang.toLowerCase().startsWith(language));
}

function offer(hush) {
  for (const button of document.querySelectorAll("[data-speak]")) {
    const found = voice(button.lang);
    if (!found) continue;
    button.hidden = false;
    button.onclick = () => {
      hush();
      const said = new SpeechSynthesisUtterance(button.dataset.speak);
      said.voice = found;
      said.lang = found.lang;
      speechSynthesis.speak(said);
    };
  }
  if (voice()) for (const line of document.querySelectorAll("[data-unheard]")) line.textContent = line.dataset.machine;
}

// Makes the page's buttons speak. `hush` stops whatever else the page plays.
export function aloud(hush) {
  for (const button of document.querySelectorAll("[data-sound]")) {
    button.addEventListener("click", () => { hush(); play(button.dataset.sound); });
  }
  offer(hush);
  if (window.speechSynthesis) speechSynthesis.addEventListener("voiceschanged", () => offer(hush));
}
