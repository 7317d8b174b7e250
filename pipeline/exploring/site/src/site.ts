/** The files that `vae explore` wrote beside the page, each checked against its SHA-256. */
import { sha256 } from "@noble/hashes/sha2.js"; // crypto.subtle exists only on https and localhost
import { bytesToHex } from "@noble/hashes/utils.js";
import type { Usual } from "./excess";

export interface ListedFile {
  path: string;
  bytes: number;
  sha256: string;
}

export type ModelName = "renderer" | "decoder_int8" | "encoder";

export interface Site {
  latent_dim: number;
  /** The data set. */
  title: string;
  /** What an image shows, in the singular; its plural ends in s. */
  noun: string;
  /** Names of the classes, by label; none if there are no labels. */
  classes: string[];
  /** The number of test images. */
  images: number;
  /** Images in a row of the sheet. */
  columns: number;
  /** The value of one quantisation step of the stored latents, for each latent. */
  step: number[];
  /** Mean KL of each latent, nats per image. */
  kl: number[];
  /** The principal plane of the test latents; null with one or two latents. */
  plane: { mean: number[]; axes: [number[], number[]]; share: number } | null;
  /** The negative ELBO of the validation images in nats, if the bundle states it. */
  nats: number | null;
  /** What score is usual, if the bundle has a scorer. */
  usual: Usual | null;
  files: Record<"latents" | "images" | "renderer" | "encoder", ListedFile> & { decoder_int8?: ListedFile };
}

/** An error that is shown to the user, who can do something about it. */
export class Problem extends Error {}

const REMEDY = "Copy the whole folder that vae explore wrote to the server.";
const SCHEMA = 3;

/** The class of a label, as the plane and the legend call it. */
export const kindOf = ({ noun }: Site): string => (noun === "image" ? "class" : noun);

/** What is said of a test image: the name of its class, or its row where it has none. */
export const nameOf = ({ classes }: Site, labels: Uint8Array, row: number): string =>
  classes[labels[row]] ?? `number ${row}`;

export async function readSite(base: string): Promise<Site> {
  const text = new TextDecoder().decode(await load(new URL("site.json", base), "site.json"));
  try {
    const site = JSON.parse(text);
    if (site.schema === SCHEMA) return site;
  } catch {}
  throw new Problem(`site.json is not what this page expects. ${REMEDY}`);
}

/** The bytes of a file of the site, checked against its size and SHA-256. */
export async function readFile(file: ListedFile, base: string): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = await load(new URL(file.path, base), file.path);
  const say = (found: string, wanted: string) =>
    new Problem(
      `${file.path} is not the file that this page was built with: it has ${found}, expected ${wanted}. ${REMEDY}`,
    );
  if (bytes.length !== file.bytes)
    throw say(`${bytes.length.toLocaleString("en")} bytes`, file.bytes.toLocaleString("en"));
  const digest = bytesToHex(sha256(bytes));
  if (digest !== file.sha256) throw say(`the SHA-256 ${digest.slice(0, 12)}…`, `${file.sha256.slice(0, 12)}…`);
  return bytes;
}

/** The bytes of a file of the site, unchecked. */
export async function load(url: URL, name: string): Promise<Uint8Array<ArrayBuffer>> {
  let response: Response;
  try {
    response = await fetch(url);
    if (response.ok) return new Uint8Array(await response.arrayBuffer());
  } catch {
    throw new Problem(`${name} could not be loaded: the server does not answer. Check that it is still running.`);
  }
  throw new Problem(`${name} is missing: the server answered with status ${response.status}. ${REMEDY}`);
}

/** The content of a gzip file; a server may have unpacked it on the way. */
export async function unzip(bytes: Uint8Array<ArrayBuffer>, name: string): Promise<ArrayBuffer> {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes.buffer;
  try {
    return await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  } catch {
    throw new Problem(`${name} is damaged. ${REMEDY}`);
  }
}

/** The latents of the test images, `[images, latent_dim]`, and their labels; 255 is none. */
export interface Latents {
  z: Float32Array;
  labels: Uint8Array;
}

export async function readLatents(site: Site, base: string): Promise<Latents> {
  const bytes = await readFile(site.files.latents, base);
  const count = site.images * site.latent_dim;
  if (bytes.length !== count * 2 + site.images)
    throw new Problem(`${site.files.latents.path} does not hold ${site.images} images. ${REMEDY}`);
  const steps = new DataView(bytes.buffer);
  const z = new Float32Array(count);
  for (let i = 0; i < count; i++) z[i] = steps.getInt16(i * 2, true) * site.step[i % site.latent_dim];
  return { z, labels: bytes.subarray(count * 2) };
}
