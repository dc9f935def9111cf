/**
 * The viewer's credential. It is stored in the sessionStorage of the tab and nowhere else: in no URL, no attribute and
 * no other storage.
 *
 * @typedef {"key" | "token" | null} Kind  what this gateway requires: a LangSmith key, a token of the gateway, or nothing
 */
const STORAGE_KEY = "sessions-gateway.credential";

/** @returns {Kind} */
export function requiredKind({ auth, tokens }) {
  if (auth === "passthrough") return "key";
  return tokens ? "token" : null;
}

/** @returns {?{secret: string, workspace: string}} */
export function storedCredential() {
  try {
    return JSON.parse(sessionStorage.getItem(STORAGE_KEY));
  } catch {
    return null;
  }
}

export const storeCredential = (credential) => sessionStorage.setItem(STORAGE_KEY, JSON.stringify(credential));
export const forgetCredential = () => sessionStorage.removeItem(STORAGE_KEY);

/** Whether the text can be the value of an HTTP header. */
export const isHeaderValue = (text) => /^[\x21-\x7e]+$/.test(text);

/** Headers of a request with the stored credential. @param {Kind} kind */
export function credentialHeaders(kind) {
  const credential = kind && storedCredential();
  if (!credential) return {};
  if (kind === "token") return { Authorization: `Bearer ${credential.secret}` };
  return { "X-API-Key": credential.secret, ...(credential.workspace && { "X-Tenant-Id": credential.workspace }) };
}
