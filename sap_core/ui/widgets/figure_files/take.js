// Saves the plotly figure inside the container `.st-key-<of>` as SVG or PNG. Plotly's layers are already SVG (maps are
// images inside it), so they are joined into one document; the origin goes in as <metadata> or as a PNG text chunk.
const SVG = "http://www.w3.org/2000/svg";

export default function (component) {
  const { data, parentElement } = component;
  const said = parentElement.querySelector("[data-part=said]");
  for (const button of parentElement.querySelectorAll("button"))
    button.onclick = async () => {
      said.textContent = "";
      try {
        const drawn = joined(document.querySelector(`.st-key-${data.of} .js-plotly-plot`), data.about);
        const blob = button.dataset.kind === "svg" ? drawn.blob : await png(drawn, data.about, data.scale);
        save(blob, `${data.name}.${button.dataset.kind}`);
      } catch (error) {
        said.textContent = `The picture could not be made: ${error.message}`;
      }
    };
}

function joined(plot, about) {
  if (!plot) throw new Error("the figure is not drawn yet");
  const layers = [...plot.querySelectorAll(".main-svg")];
  const width = layers[0].clientWidth, height = layers[0].clientHeight;
  const whole = document.createElementNS(SVG, "svg");
  for (const [name, value] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}` })) whole.setAttribute(name, value);
  whole.setAttribute("xmlns:xlink", "http://www.w3.org/1999/xlink");
  const metadata = document.createElementNS(SVG, "metadata");
  metadata.textContent = about;
  const paper = document.createElementNS(SVG, "rect");
  for (const [name, value] of Object.entries({ width: "100%", height: "100%", fill: "#ffffff" })) paper.setAttribute(name, value);
  whole.append(metadata, paper);
  for (const layer of layers) for (const child of layer.childNodes) whole.append(child.cloneNode(true));
  whole.querySelectorAll(".draglayer, .hoverlayer, .zoomlayer, .selectionlayer").forEach((part) => part.remove());
  const text = new XMLSerializer().serializeToString(whole).replace(/url\((&quot;|['"]?)[^)#]*#/g, "url($1#");
  return { width, height, blob: new Blob([text], { type: "image/svg+xml" }), text };
}

async function png(drawn, about, scale) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(drawn.text)}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(scale * drawn.width);
  canvas.height = Math.round(scale * drawn.height);
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  const made = await new Promise((done) => canvas.toBlob(done, "image/png"));
  const bytes = new Uint8Array(await made.arrayBuffer());
  const end = bytes.length - 12; // the IEND chunk
  return new Blob([bytes.slice(0, end), textChunk("Description", about), bytes.slice(end)], { type: "image/png" });
}

// An international text chunk of the PNG specification, uncompressed.
function textChunk(keyword, text) {
  const body = new TextEncoder().encode(`iTXt${keyword}\0\0\0\0\0${text}`);
  const chunk = new Uint8Array(body.length + 8), view = new DataView(chunk.buffer);
  view.setUint32(0, body.length - 4);
  chunk.set(body, 4);
  view.setUint32(body.length + 4, crc32(body));
  return chunk;
}

function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (0xedb88320 & -(crc & 1));
  }
  return ~crc >>> 0;
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
