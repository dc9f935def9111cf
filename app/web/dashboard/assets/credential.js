/**
 * Who asks. It is kept in the tab's sessionStorage and nowhere else: no URL, no attribute, no other storage.
 *
 * @typedef {"key" | "token" | null} Kind  what this gateway wants: LangSmith's key, a token of its own, or nothing
 */
const STORED = "sessions-gateway.credential";

/** @returns {Kind} */
export function wanted({ auth, tokens }) {
  if (auth === "passthrough") return "key";
  return tokens ? "token" : null;
}

/** @returns {?{secret: string, workspace: string}} */
export function held() {
  try {
    return JSON.parse(sessionStorage.getItem(STORED));
  } catch {
    return null;
  }
}

export const hold = (credential) => sessionStorage.setItem(STORED, JSON.stringify(credential));
export const forget = () => sessionStorage.removeItem(STORED);

/** Whether it can be sent in a header. */
export const isSendable = (text) => /^[\x21-\x7e]+$/.test(text);

/** @param {Kind} kind */
export function headersOf(kind) {
  const credential = kind && held();
  if (!credential) return {};
  if (kind === "token") return { Authorization: `Bearer ${credential.secret}` };
  return { "X-API-Key": credential.secret, ...(credential.workspace && { "X-Tenant-Id": credential.workspace }) };
}
