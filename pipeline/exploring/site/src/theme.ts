/** The colours that style.css sets for the light and the dark theme. */

export interface Theme {
  paper: string;
  ink: string;
  faint: string;
  accent: string;
  pins: [string, string];
  /** The colours of the classes. */
  classes: string[];
  /** The colour of an image without a label. */
  none: string;
}

const CHOSEN = 10; // colours that style.css has
const dark = matchMedia("(prefers-color-scheme: dark)");

/** The colours for so many classes. */
export function readTheme(classes: number): Theme {
  const style = getComputedStyle(document.documentElement);
  const colour = (name: string) => style.getPropertyValue(`--${name}`).trim();
  return {
    paper: colour("paper"),
    ink: colour("ink"),
    faint: colour("faint"),
    accent: colour("accent"),
    pins: [colour("pin-a"), colour("pin-b")],
    classes: Array.from({ length: classes }, (_, i) => (classes > CHOSEN ? spread(i, classes) : colour(`class-${i}`))),
    none: colour("faint"),
  };
}

/** One of many colours: hues go round once, neighbours differ in lightness. */
function spread(i: number, count: number): string {
  const lightness = (dark.matches ? [58, 70, 82] : [30, 42, 54])[i % 3];
  return `hsl(${Math.round((360 * i) / count)} 65% ${lightness}%)`;
}

export function whenThemeChanges(tell: () => void): void {
  dark.addEventListener("change", tell);
}
