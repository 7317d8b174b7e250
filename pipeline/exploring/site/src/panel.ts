/** The panel: what the model's file says about itself, and how fast it runs here. */
import type { DigitView } from "./digit";
import { find, make, nextFrame } from "./dom";
import type { Opened } from "./protocol";
import type { Site } from "./site";

export function buildPanel(site: Site, { metadata, runtime }: Opened): (digit: DigitView) => void {
  const said = (key: string) => metadata[key] ?? "not stated in the file";
  const source = said("data_source");
  const time = make("dd", {}, "…");
  const facts: [string, string | HTMLElement][] = [
    ["Data source", source === "sample" ? "sample (5,000 digits from a package)" : source],
    [
      "Negative ELBO",
      site.nats === null ? "not stated in the bundle" : `${site.nats.toFixed(2)} nats, on validation ${site.noun}s`,
    ],
    ["Latents", said("latent_dim")],
    ["File", `${site.files.renderer.path}, ${(site.files.renderer.bytes / 1e6).toFixed(2)} MB`],
    ["SHA-256", `${site.files.renderer.sha256.slice(0, 16)}…`],
    ["Package", said("package_version")],
    ["Runtime", `${runtime}, WebAssembly with SIMD, one thread`],
    ["Drawing time", time],
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
    const { times, int8 } = digit;
    time.textContent = `${times} (median) for ${times.side} × ${times.side} pixels${int8 ? `; int8 ${int8} for 28 × 28` : ""}`;
  });
  return (view) => {
    digit = view;
    write();
  };
}
