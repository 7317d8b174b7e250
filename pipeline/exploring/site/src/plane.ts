/** The plane through latent space that the map shows. */
import { kindOf, type Site } from "./site";

export interface Plane {
  /** What the map shows, in words. */
  caption: string;
  labels: [string, string];
  mean: ArrayLike<number>;
  /** Two orthonormal axes; with one latent the second is zero. */
  axes: [ArrayLike<number>, ArrayLike<number>];
}

export type Point = [number, number];

export interface Ellipse {
  /** The semi-axes at one standard deviation, and the angle of the first. */
  radii: Point;
  angle: number;
}

/** The latents by KL, largest first. */
export function byActivity(site: Site): number[] {
  return site.kl.map((_, i) => i).sort((a, b) => site.kl[b] - site.kl[a]);
}

/** The plane along the two latents with the largest KL. */
export function latentPlane(site: Site): Plane {
  const latents = site.latent_dim;
  const unit = (axis: number) => Float32Array.from({ length: latents }, (_, i) => (i === axis ? 1 : 0));
  const label = (axis: number) => `z[${axis}], KL ${site.kl[axis].toFixed(2)} nats`;
  const mean = new Float32Array(latents);
  if (latents === 1)
    return {
      caption: `The model has one latent, shown from left to right.${site.classes.length ? ` Each ${kindOf(site)} has its own row.` : ""}`,
      labels: [label(0), site.classes.length ? kindOf(site) : ""],
      mean,
      axes: [unit(0), mean],
    };
  const [first, second] = byActivity(site)
    .slice(0, 2)
    .sort((a, b) => a - b);
  const total = site.kl.reduce((sum, value) => sum + value, 0);
  const caption =
    latents === 2
      ? "The two latents of the model."
      : `Latents ${first} and ${second}, the two of ${latents} with the largest KL: ` +
        `${(site.kl[first] + site.kl[second]).toFixed(1)} of ${total.toFixed(1)} nats. ` +
        "Use the sliders to set the others.";
  return { caption, labels: [label(first), label(second)], mean, axes: [unit(first), unit(second)] };
}

/** The plane along which the latents of the test images vary most. */
export function principalPlane({ plane, latent_dim, noun }: Site): Plane | null {
  if (!plane) return null;
  const share = `${(plane.share * 100).toFixed(0)} %`;
  return {
    caption: `The principal plane of the ${latent_dim} latents, with ${share} of the variance of the test ${noun}s.`,
    labels: ["first principal axis", "second principal axis"],
    mean: plane.mean,
    axes: plane.axes,
  };
}

export function project({ mean, axes }: Plane, z: ArrayLike<number>, start = 0): Point {
  let x = 0;
  let y = 0;
  for (let i = 0; i < mean.length; i++) {
    const value = z[start + i] - mean[i];
    x += value * axes[0][i];
    y += value * axes[1][i];
  }
  return [x, y];
}

/** `z` moved to the point `to` of the plane; its component orthogonal to the plane does not change. */
export function move(plane: Plane, z: Float32Array, to: Point): Float32Array {
  const [x, y] = project(plane, z);
  return z.map((value, i) => value + (to[0] - x) * plane.axes[0][i] + (to[1] - y) * plane.axes[1][i]);
}

/** The projection of a Gaussian with independent latents onto the plane. */
export function ellipse({ axes: [u, v] }: Plane, logVar: ArrayLike<number>): Ellipse {
  let [a, b, c] = [0, 0, 0]; // the covariance is [[a, b], [b, c]]
  for (let i = 0; i < logVar.length; i++) {
    const variance = Math.exp(logVar[i]);
    a += variance * u[i] * u[i];
    b += variance * u[i] * v[i];
    c += variance * v[i] * v[i];
  }
  const middle = (a + c) / 2;
  const half = Math.hypot((a - c) / 2, b);
  const angle = Math.atan2(2 * b, a - c) / 2;
  return { radii: [Math.sqrt(middle + half), Math.sqrt(Math.max(middle - half, 0))], angle };
}

export function between(from: Float32Array, to: Float32Array, share: number): Float32Array {
  return from.map((value, i) => value + (to[i] - value) * share);
}

/** The `count` rows of `all` nearest to `z`, nearest first, with their distances. */
export function nearest(all: Float32Array, z: Float32Array, count: number): { row: number; distance: number }[] {
  const found: { row: number; distance: number }[] = [];
  for (let row = 0; row * z.length < all.length; row++) {
    let distance = 0;
    for (let i = 0; i < z.length; i++) distance += (all[row * z.length + i] - z[i]) ** 2;
    if (found.length === count && distance >= found[count - 1].distance) continue;
    const place = found.findIndex((other) => other.distance > distance);
    found.splice(place < 0 ? found.length : place, 0, { row, distance });
    found.length = Math.min(found.length, count);
  }
  return found.map(({ row, distance }) => ({ row, distance: Math.sqrt(distance) }));
}
