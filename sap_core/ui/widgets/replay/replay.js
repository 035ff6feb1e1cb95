// Plays a denoising run: the text as of each step beside its step x position heatmap. All data arrives once, as made by
// sap_core.plots.replay.replay_data; a frame costs no round trip. The step is reported when the reader lets go.
const MASKED = 1, ACCEPTED = 2, SINK = 4;
const REPORT_AFTER_MS = 350;

export default function (component) {
  const { data, parentElement, setStateValue } = component;
  const root = parentElement.querySelector(".replay");
  if (root.dispose) root.dispose();
  const before = root.memory && root.memory.run === data.run ? root.memory : null;
  root.memory = { run: data.run, index: before ? Math.min(before.index, data.steps.length - 1) : data.start };
  root.dispose = mount(root, data, setStateValue);
  return () => root.dispose && root.dispose();
}

function mount(root, data, report) {
  const steps = data.steps.length, places = data.positions;
  const levels = bytes(data.levels), states = bytes(data.states);
  const words = new Uint16Array(bytes(data.words).buffer);
  const colours = data.colours, inks = colours.map(inkOn);
  const attention = data.maps.find((map) => map.name === "attention");
  const maps = data.maps.map((map) => ({ ...map, levels: bytes(map.levels) }));
  const memory = root.memory;
  memory.map = Math.max(0, maps.findIndex((map) => map.name === data.quantity));
  const at = (name) => root.querySelector(`[data-part="${name}"]`);
  const scrub = at("scrub"), play = at("play"), readout = at("readout"), text = at("text");
  const canvas = at("canvas"), map = at("map"), tip = at("tip"), speed = at("speed");
  let timer = 0, waiting = 0, background = null;

  // ---- the text -------------------------------------------------------------------------------------------------
  const tokens = [];
  text.replaceChildren();
  text.classList.toggle("spaced", data.spaced);
  for (let place = 0; place < places; place++) {
    const token = document.createElement("span");
    token.className = "token" + (place < data.prompt ? " prompt" : "");
    token.onmouseenter = () => describe(memory.index, place, token);
    token.onmouseleave = () => { tip.hidden = true; };
    tokens.push(token);
    text.append(token);
  }

  const wordAt = (index, place) =>
    states[index * places + place] & MASKED ? "[mask]" : data.vocabulary[words[index * places + place]];

  function drawText(index) {
    for (let place = 0; place < places; place++) {
      const cell = index * places + place, state = states[cell], level = levels[cell], token = tokens[place];
      const masked = !!(state & MASKED);
      token.hidden = data.causal && masked;
      token.textContent = masked ? "\u00a0\u00a0\u00a0" : wordAt(index, place);
      token.style.backgroundColor = colours[level];
      token.style.color = inks[level];
      token.classList.toggle("masked", masked);
      token.classList.toggle("accepted", !!(state & ACCEPTED));
      token.classList.toggle("dominant", data.path[index] === place);
    }
  }

  // ---- the map --------------------------------------------------------------------------------------------------
  // The levels between which the colours run: the quantity's own range, or what this view holds.
  function range(drawn) {
    if (!at("fit").checked) return [1, 255];
    let low = 255, high = 1;
    for (const level of drawn.levels) if (level) { low = Math.min(low, level); high = Math.max(high, level); }
    return low < high ? [low, high] : [1, 255];
  }

  function paintBackground(width, height) {
    const image = new ImageData(places, steps);
    const table = colours.map((c) => [1, 3, 5].map((i) => parseInt(c.slice(i, i + 2), 16)));
    const drawn = maps[memory.map], [low, high] = range(drawn);
    for (let cell = 0; cell < drawn.levels.length; cell++) {
      const level = drawn.levels[cell];
      const [r, g, b] = table[1 + Math.round((254 * (Math.max(level, low) - low)) / (high - low))];
      image.data.set([r, g, b, level ? 255 : 0], cell * 4);
    }
    const small = new OffscreenCanvas(places, steps);
    small.getContext("2d").putImageData(image, 0, 0);
    const layer = new OffscreenCanvas(width, height), pen = layer.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.drawImage(small, 0, 0, width, height);
    const dx = width / places, dy = height / steps, ratio = window.devicePixelRatio || 1;
    if (at("show-written").checked) {
      pen.fillStyle = data.overlay.written;
      eachState(ACCEPTED, (row, place) => pen.fillRect(place * dx + 1, (row + 0.5) * dy - ratio, Math.max(dx - 2, 1), 2 * ratio));
    }
    if (at("show-sinks").checked) {
      pen.strokeStyle = data.overlay.sink;
      pen.lineWidth = 1.5 * ratio;
      const radius = Math.max(1.5 * ratio, Math.min(dx, dy, 8 * ratio) * 0.36);
      eachState(SINK, (row, place) => {
        pen.beginPath();
        pen.arc((place + 0.5) * dx, (row + 0.5) * dy, radius, 0, 7);
        pen.stroke();
      });
    }
    if (at("show-path").checked) {
      pen.lineJoin = "round";
      pen.strokeStyle = data.overlay.path;
      pen.lineWidth = ratio;
      pen.beginPath();
      data.path.forEach((place, row) => pen.lineTo((place + 0.5) * dx, (row + 0.5) * dy));
      pen.stroke();
    }
    return layer;
  }

  function eachState(bit, act) {
    for (let row = 0; row < steps; row++)
      for (let place = 0; place < places; place++) if (states[row * places + place] & bit) act(row, place);
  }

  function drawMap(index, place = -1) {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(map.clientWidth * ratio)), height = Math.round(map.clientHeight * ratio);
    if (!height) return;
    if (canvas.width !== width || canvas.height !== height || !background) {
      canvas.width = width;
      canvas.height = height;
      background = paintBackground(width, height);
    }
    const pen = canvas.getContext("2d"), dx = width / places, dy = height / steps;
    pen.clearRect(0, 0, width, height);
    pen.drawImage(background, 0, 0);
    for (const [colour, thick] of [[data.overlay.casing, 4], [data.overlay.cursor, 2]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = thick * ratio;
      pen.strokeRect(0, index * dy, width, dy);
    }
    if (place >= 0) {
      pen.strokeStyle = "#ffffff";
      pen.lineWidth = ratio;
      pen.strokeRect(place * dx, 0, Math.max(dx, 2), height);
    }
  }

  // ---- one step -------------------------------------------------------------------------------------------------
  function show(index, settle = true) {
    memory.index = Math.max(0, Math.min(steps - 1, index));
    const number = data.steps[memory.index];
    scrub.value = memory.index;
    scrub.setAttribute("aria-valuetext", `step ${number} of ${data.steps[steps - 1]}`);
    let hidden = 0, fresh = 0;
    for (let place = 0; place < places; place++) {
      hidden += !!(states[memory.index * places + place] & MASKED);
      fresh += !!(states[memory.index * places + place] & ACCEPTED);
    }
    const left = data.causal ? `${places - hidden} tokens` : `${hidden} masked`;
    readout.textContent = `step ${number} / ${data.steps[steps - 1]} · ${left} · ${fresh} written now`;
    drawText(memory.index);
    drawMap(memory.index);
    clearTimeout(waiting);
    if (settle) waiting = setTimeout(() => report("step", number), REPORT_AFTER_MS);
  }

  function run(playing) {
    clearInterval(timer);
    timer = 0;
    play.textContent = playing ? "Pause" : "Play";
    play.setAttribute("aria-pressed", String(playing));
    if (!playing) return;
    if (memory.index === steps - 1) show(0, false);
    timer = setInterval(() => {
      if (memory.index >= steps - 1) return run(false), show(memory.index);
      show(memory.index + 1, false);
    }, 1000 / Number(speed.value));
  }

  // ---- hover ----------------------------------------------------------------------------------------------------
  function describe(index, place, target) {
    const level = levels[index * places + place];
    const share = level ? `${valueOf(attention, level).toPrecision(2)} × an even share` : "not there yet";
    const edge = level === 255 ? "at least " : level === 1 ? "at most " : "";
    const marks = states[index * places + place] & SINK ? ", sink" : "";
    const rates = maps.filter((map) => map.name === "sink_rate" && level).map((map) =>
      `\na sink in ${(100 * valueOf(map, map.levels[index * places + place])).toFixed(0)} % of heads`).join("");
    tip.textContent =
      `${wordAt(index, place)}\nposition ${place}, step ${data.steps[index]}\n${edge}${share}${marks}${rates}`;
    tip.hidden = false;
    const frame = root.getBoundingClientRect(), box = target.getBoundingClientRect();
    const x = (target.hoverX ?? box.left + box.width / 2) - frame.left, y = (target.hoverY ?? box.bottom) - frame.top;
    tip.style.left = `${Math.min(x + 10, frame.width - 190)}px`;
    tip.style.top = `${y + 12}px`;
    drawMap(memory.index, place);
  }

  function cellUnder(event) {
    const box = canvas.getBoundingClientRect();
    const place = Math.floor(((event.clientX - box.left) / box.width) * places);
    const index = Math.floor(((event.clientY - box.top) / box.height) * steps);
    return [Math.max(0, Math.min(steps - 1, index)), Math.max(0, Math.min(places - 1, place))];
  }

  canvas.onpointermove = (event) => {
    const [index, place] = cellUnder(event);
    if (event.buttons & 1) { run(false); show(index); }
    const spot = { hoverX: event.clientX, hoverY: event.clientY, getBoundingClientRect: () => canvas.getBoundingClientRect() };
    describe(index, place, spot);
    tokens.forEach((token, i) => token.classList.toggle("pointed", i === place));
  };
  canvas.onpointerdown = (event) => { run(false); show(cellUnder(event)[0]); };
  canvas.onpointerleave = () => {
    tip.hidden = true;
    tokens.forEach((token) => token.classList.remove("pointed"));
    drawMap(memory.index);
  };

  // ---- controls -------------------------------------------------------------------------------------------------
  scrub.max = steps - 1;
  scrub.oninput = () => { run(false); show(Number(scrub.value)); };
  play.onclick = () => run(!timer);
  at("first").onclick = () => { run(false); show(0); };
  at("back").onclick = () => { run(false); show(memory.index - 1); };
  at("forward").onclick = () => { run(false); show(memory.index + 1); };
  at("last").onclick = () => { run(false); show(steps - 1); };
  speed.onchange = () => timer && run(true);
  for (const name of ["show-path", "show-written", "show-sinks"])
    at(name).onchange = () => { background = null; drawMap(memory.index); };

  at("label").textContent = data.label;
  canvas.setAttribute("aria-label",
    `Heatmap of ${data.maps.map((map) => map.title).join(" or ")}, ${steps} steps by ${places} positions, ${data.label}. ` +
    `The dominant position changes ${data.path.filter((p, i) => i && p !== data.path[i - 1]).length} times.`);
  ticks(at("rows"), data.steps, (i) => ({ top: `${((i + 0.5) / steps) * 100}%` }), 6);
  ticks(at("columns"), [...Array(places).keys()], (i) => ({ left: `${((i + 0.5) / places) * 100}%` }), 8);
  at("bar").style.background = `linear-gradient(to right, ${colours.filter((_, i) => i % 16 === 1).join(",")})`;
  function drawKey() {
    const drawn = maps[memory.map], [low, high] = range(drawn);
    const axis = (level) => drawn.low + ((drawn.high - drawn.low) * (level - 1)) / 254;
    const from = axis(low), to = axis(high), scale = at("scale");
    let shown = drawn.ticks.filter(([place]) => place >= from && place <= to);
    if (shown.length < 3)
      shown = [0, 1, 2, 3].map((i) => from + ((to - from) * i) / 3)
        .map((place) => [place, (drawn.logarithmic ? 2 ** place : place).toPrecision(2)]);
    scale.replaceChildren();
    for (const [place, label] of shown) {
      const tick = document.createElement("span");
      tick.textContent = label;
      tick.style.left = `${((place - from) / (to - from)) * 100}%`;
      scale.append(tick);
    }
    at("unit").textContent = `${drawn.title} (${drawn.unit})${at("fit").checked ? ", fitted to this view" : ""}`;
  }

  const quantity = at("quantity");
  quantity.replaceChildren(...maps.map((map, i) => {
    const option = document.createElement("option");
    option.value = i;
    option.textContent = map.title[0].toUpperCase() + map.title.slice(1);
    return option;
  }));
  quantity.value = memory.map;
  at("fit").checked = data.fit;
  function redraw() { background = null; drawKey(); drawMap(memory.index); }
  quantity.onchange = () => { memory.map = Number(quantity.value); redraw(); report("quantity", maps[memory.map].name); };
  at("fit").onchange = () => { redraw(); report("fit", at("fit").checked); };
  drawKey();

  const watcher = new ResizeObserver(() => { background = null; drawMap(memory.index); });
  watcher.observe(map);
  show(memory.index, false);
  return () => { clearInterval(timer); clearTimeout(waiting); watcher.disconnect(); };
}

function ticks(box, values, place, wanted) {
  box.replaceChildren();
  const every = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024].find((n) => values.length / n <= wanted * 1.4) || 2048;
  for (let i = 0; i < values.length; i += every) {
    const tick = document.createElement("span");
    tick.textContent = values[i];
    Object.assign(tick.style, place(i));
    box.append(tick);
  }
}

function bytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

function valueOf(map, level) {
  const place = map.low + ((map.high - map.low) * (level - 1)) / 254;
  return map.logarithmic ? 2 ** place : place;
}

function inkOn(colour) {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 120 ? "#10151c" : "#ffffff";
}
