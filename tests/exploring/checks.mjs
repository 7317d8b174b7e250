// What the page does for a person: each check gets a page that is open and ready.
import { DIGITS } from "./checks_digits.mjs";
import { LOOK } from "./checks_look.mjs";
import { MAP } from "./checks_map.mjs";
import { PAGE } from "./checks_page.mjs";

export const CHECKS = { ...PAGE, ...MAP, ...LOOK, ...DIGITS };
