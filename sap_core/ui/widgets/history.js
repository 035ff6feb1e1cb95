// One entry of the browser's history for each action of the reader. The studio writes a view's parts into the address
// one by one, and mirrors defaults and results of jobs too; only the first change after an action is a new entry.
if (!window.sapHistory) {
  window.sapHistory = { acted: false };
  const push = window.history.pushState.bind(window.history);
  const act = () => { window.sapHistory.acted = true; };
  for (const kind of ["pointerdown", "keydown", "input", "change"]) window.addEventListener(kind, act, true);
  window.addEventListener("popstate", () => { window.sapHistory.acted = false; });
  window.history.pushState = (state, title, url) => {
    const elsewhere = new URL(url, window.location.href).pathname !== window.location.pathname;
    if (elsewhere || window.sapHistory.acted) push(state, title, url);
    else window.history.replaceState(state, title, url);
    window.sapHistory.acted = false;
  };
}
