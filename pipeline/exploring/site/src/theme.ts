/** The colours that style.css sets for the light and the dark theme. */

export interface Theme {
  paper: string;
  ink: string;
  faint: string;
  accent: string;
  pins: [string, string];
  digits: string[];
  /** The colour of a digit without a label. */
  none: string;
}

const dark = matchMedia("(prefers-color-scheme: dark)");

export function readTheme(): Theme {
  const style = getComputedStyle(document.documentElement);
  const colour = (name: string) => style.getPropertyValue(`--${name}`).trim();
  return {
    paper: colour("paper"),
    ink: colour("ink"),
    faint: colour("faint"),
    accent: colour("accent"),
    pins: [colour("pin-a"), colour("pin-b")],
    digits: Array.from({ length: 10 }, (_, digit) => colour(`digit-${digit}`)),
    none: colour("faint"),
  };
}

export function whenThemeChanges(tell: () => void): void {
  dark.addEventListener("change", tell);
}
