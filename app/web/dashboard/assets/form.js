/** Where whoever looks says who they are. */
import { forget, held, hold, isSendable } from "./credential.js";
import { $, say } from "./dom.js";
import { asLine } from "./notice.js";

const WORDS = {
  key: {
    title: "LangSmith API key",
    label: "API key",
    why: "The sessions are read from LangSmith with your own key.",
    advice: "",
  },
  token: {
    title: "Token of this gateway",
    label: "Token",
    why: "This gateway shows the sessions to those who have a token of it.",
    advice: " Ask whoever runs it for one.",
  },
};

export class Form {
  /** @param {"key" | "token"} kind  @param {() => void} given  called when there is a credential */
  constructor(kind, given) {
    this.words = WORDS[kind];
    say($("credential-title"), this.words.title);
    say($("credential-why"), this.words.why);
    say($("secret-label"), this.words.label);
    $("workspace-field").hidden = kind !== "key";
    $("credential").addEventListener("submit", (event) => {
      event.preventDefault();
      const [secret, workspace] = ["secret", "workspace"].map((id) => $(id).value.trim());
      if (!isSendable(secret) || (workspace && !isSendable(workspace))) {
        this.ask({ message: "There are characters in it that cannot be sent." });
        return;
      }
      $("secret").value = "";
      hold({ secret, workspace });
      given();
    });
  }

  /** Forgets the one that is held. `refused`: the failure that says what was wrong with it. */
  ask(refused) {
    $("workspace").value ||= held()?.workspace ?? "";
    forget();
    $("credential-error").hidden = !refused;
    say($("credential-error"), refused ? asLine(refused) + this.words.advice : "");
    $("credential").hidden = false;
    $("secret").focus();
  }

  close() {
    $("credential").hidden = true;
  }
}
