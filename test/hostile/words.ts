import * as fc from "fast-check";

/** What people, scripts and attackers write where one word is expected. */
const WORDS: readonly string[] = [
  ..."-x --yes --config=/etc/shadow -- - .. . / ../.. ../../etc/passwd /etc/../etc/shadow ~ ~root * ? [a] {a,b}".split(
    " ",
  ),
  ..."'$(id)' `id` $HOME ;id |id &id >x <x #x !x %s %n \\ \\n \" ' '' \"\" con nul 0 -1 1e9 0x10 NaN null true".split(
    " ",
  ),
  ..."__proto__ constructor toString web-01 debian-base é ａ ß İ 容器 🐳 a\u0301 \u202Eeman \u200B \uFEFF \u00A0 \uD800".split(
    " ",
  ),
  "",
  " ",
  "\t",
  "\n",
  "a\nb",
  "web-01\n",
  "\r",
  "\0",
  "a\0b",
  "\u001B[2J",
  "\u009B2J",
  "\u0007",
  "a".repeat(300),
  "é".repeat(300),
  "../".repeat(100),
  "-".repeat(300),
];

/** A hostile word, alone or with others before and behind it. */
export function hostileWord(): fc.Arbitrary<string> {
  const one = fc.oneof(fc.constantFrom(...WORDS), fc.string({ unit: "binary", maxLength: 300 }));
  const joined = fc.array(one, { minLength: 1, maxLength: 3 });
  return fc.tuple(joined, fc.constantFrom("", "/", " ", "\n", "-", "=")).map(([words, between]) => words.join(between));
}

/** How many inputs a property gets; together they are more than 5,000. */
export const MANY = 1000;
