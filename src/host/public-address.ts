/**
 * An address as it may be told and kept: without what can be a secret in it,
 * which is who asks (user and password) and the query (a token).
 * @param source an address with a scheme; anything else comes back as it is
 */
export function publicAddress(source: string): string {
  if (!/^[a-z]+:\/\//.test(source)) return source;
  return source.replace(/^([a-z]+:\/\/)[^/?#]*@/, "$1").replace(/[?#].*$/s, "?…");
}
