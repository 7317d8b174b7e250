/** The panel: what the model's file says about itself, and how fast it runs here. */
import type { DigitView } from "./digit";
import { find, make, nextFrame } from "./dom";
import type { Opened } from "./protocol";
import type { Site } from "./site";

export function buildPanel(site: Site, { metadata, runtime }: Opened): (digit: DigitView) => void {
  const said = (key: string) => metadata[key] ?? "not stated in the file";
  const source = said("data_source");
  const nats = Number(metadata.validation_negative_elbo);
  const time = make("dd", {}, "…");
  const facts: [string, string | HTMLElement][] = [
    ["Data source", source === "sample" ? "sample (5,000 digits from a package)" : source],
    [
      "Negative ELBO",
      Number.isFinite(nats) ? `${nats.toFixed(2)} nats, on validation ${site.noun}s` : "not stated in the file",
    ],
    ["Latents", said("latent_dim")],
    ["File", `${site.files.decoder.path}, ${(site.files.decoder.bytes / 1e6).toFixed(2)} MB`],
    ["SHA-256", `${site.files.decoder.sha256.slice(0, 16)}…`],
    ["Package", said("package_version")],
    ["Runtime", `${runtime}, WebAssembly with SIMD, one thread`],
    ["Decoding time", time],
    ["On the map", `${site.images.toLocaleString("en")} test ${site.noun}s`],
  ];
  find("facts").replaceChildren(
    ...facts.flatMap(([name, value]) => [
      make("dt", {}, name),
      value instanceof HTMLElement ? value : make("dd", {}, value),
    ]),
  );
  let digit: DigitView | null = null;
  const write = nextFrame(() => {
    if (!digit) return;
    const both = digit.store.state.compare ? `; int8 ${digit.times.decoder_int8}` : "";
    time.textContent = `${digit.times.decoder}${both} (median)`;
  });
  return (view) => {
    digit = view;
    write();
  };
}
