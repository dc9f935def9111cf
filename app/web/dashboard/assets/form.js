/** The form for the viewer's credential. */
import { forgetCredential, isHeaderValue, storeCredential, storedCredential } from "./credential.js";
import { $, setText } from "./dom.js";
import { failureText } from "./notice.js";

const TEXTS = {
  key: {
    title: "LangSmith API key",
    label: "API key",
    why: "The gateway reads the sessions from LangSmith with your own key.",
    advice: "",
  },
  token: {
    title: "Token of this gateway",
    label: "Token",
    why: "This gateway requires a token.",
    advice: " Ask the operator of this gateway for a token.",
  },
};

export class CredentialForm {
  /** @param {"key" | "token"} kind  @param {() => void} onStored  called after a credential was stored */
  constructor(kind, onStored) {
    this.texts = TEXTS[kind];
    setText($("credential-title"), this.texts.title);
    setText($("credential-why"), this.texts.why);
    setText($("secret-label"), this.texts.label);
    $("workspace-field").hidden = kind !== "key";
    $("credential").addEventListener("submit", (event) => {
      event.preventDefault();
      const [secret, workspace] = ["secret", "workspace"].map((id) => $(id).value.trim());
      if (!isHeaderValue(secret) || (workspace && !isHeaderValue(workspace))) {
        this.open({ message: "It contains characters that cannot be sent in an HTTP header." });
        return;
      }
      $("secret").value = "";
      storeCredential({ secret, workspace });
      onStored();
    });
  }

  /** Forgets the stored credential, and shows the form. `failure`: why the gateway refused the credential. */
  open(failure) {
    $("workspace").value ||= storedCredential()?.workspace ?? "";
    forgetCredential();
    $("credential-error").hidden = !failure;
    setText($("credential-error"), failure ? failureText(failure) + this.texts.advice : "");
    $("credential").hidden = false;
    $("secret").focus();
  }

  close() {
    $("credential").hidden = true;
  }
}
