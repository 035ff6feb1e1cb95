// A plain link: the browser itself writes what comes to disk.
export default function (component) {
  const { data, parentElement } = component;
  parentElement.querySelector("a").href = new URL(data.address, window.location.href).href;
}
