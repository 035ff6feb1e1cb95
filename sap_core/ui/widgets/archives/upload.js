// Sends the chosen file as the body of one request, which the browser reads from disk as it goes.
export default function (component) {
  const { parentElement, setTriggerValue } = component;
  const form = parentElement.querySelector("form");
  const file = form.querySelector("input"), button = form.querySelector("button");
  const bar = form.querySelector("progress"), said = form.querySelector("[role=status]");
  form.onsubmit = (event) => {
    event.preventDefault();
    if (!file.files.length || button.disabled) return;
    const request = new XMLHttpRequest();
    const ended = (text) => {
      button.disabled = false;
      bar.hidden = true;
      said.textContent = text;
    };
    request.upload.onprogress = ({ loaded, total }) => {
      bar.value = total ? loaded / total : 0;
      if (loaded === total) said.textContent = "Checking every file …";
    };
    request.onerror = () => ended("The studio can't be reached.");
    request.onload = () => {
      if (request.status !== 200) return ended(request.responseText || `The studio answered ${request.status}.`);
      ended("");
      form.reset();
      setTriggerValue("brought", JSON.parse(request.responseText).run);
    };
    request.open("PUT", new URL("archives", window.location.href));
    button.disabled = true;
    bar.hidden = false;
    bar.value = 0;
    said.textContent = "";
    request.send(file.files[0]);
  };
}
