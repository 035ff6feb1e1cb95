// One entry of the browser's history for each action of the reader. The studio writes a view's parts into the address
// one by one, and mirrors defaults and results of jobs too; only the first change after an action is a new entry.
// A link to another page is followed in two messages, and the new page's parts can come before its path: they are not
// written behind the old path, because Streamlit writes them again with the new one.
if (!window.sapHistory) {
  window.sapHistory = { acted: false, leaving: false };
  const push = window.history.pushState.bind(window.history);
  const path = (url) => new URL(url, window.location.href).pathname;
  const elsewhere = (url) => path(url) !== window.location.pathname;
  const act = () => { window.sapHistory.acted = true; window.sapHistory.leaving = false; };
  for (const kind of ["pointerdown", "keydown", "input", "change"]) window.addEventListener(kind, act, true);
  window.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href]"), other = event.button || event.ctrlKey || event.metaKey || event.shiftKey;
    if (link && !link.target && !other && link.origin === window.location.origin)
      window.sapHistory.leaving = elsewhere(link.href);
  }, true);
  window.addEventListener("popstate", () => { window.sapHistory = { acted: false, leaving: false }; });
  window.history.pushState = (state, title, url) => {
    if (elsewhere(url)) window.sapHistory.leaving = false;
    else if (window.sapHistory.leaving) return;
    if (elsewhere(url) || window.sapHistory.acted) push(state, title, url);
    else window.history.replaceState(state, title, url);
    window.sapHistory.acted = false;
  };
}
