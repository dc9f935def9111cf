import { ToolbarButton, useGraphiQL, useGraphiQLActions } from "@graphiql/react";
import { HISTORY_PLUGIN } from "@graphiql/plugin-history";
import { explorerPlugin } from "@graphiql/plugin-explorer";
import { GraphiQL } from "graphiql";
import "graphiql/setup-workers/vite";
import "graphiql/style.css";
import "@graphiql/plugin-explorer/style.css";
import { useEffect } from "react";
import { createRoot } from "react-dom/client";
import { fetcher } from "./fetcher.js";
import { linkTo, takeLinkedOperation } from "./link.js";
import "./main.css";
import { defaultHeaders, page } from "./page.js";
import { storage } from "./storage.js";
import { tabs } from "./tabs.js";
import { UPSTREAM } from "./upstream.jsx";
import "./upstream.css";

const EXPLORER = explorerPlugin({ showAttribution: false });
const plugins = [page.introspection && EXPLORER, page.explain && UPSTREAM, HISTORY_PLUGIN].filter(Boolean);
const linked = takeLinkedOperation();

function Playground() {
  return (
    <GraphiQL
      fetcher={fetcher}
      storage={storage}
      shouldPersistHeaders={false}
      defaultHeaders={defaultHeaders}
      defaultTabs={linked ? [{ ...linked, headers: defaultHeaders ?? null }, ...tabs] : tabs}
      defaultEditorToolsVisibility={defaultHeaders ? "headers" : "variables"}
      initialQuery={linked?.query}
      initialVariables={linked?.variables}
      plugins={plugins}
      visiblePlugin={page.explain ? UPSTREAM : undefined}
      {...(!page.introspection && { schema: null, referencePlugin: null })}
    >
      <GraphiQL.Logo>
        <a className="home" href="./">
          Sessions
        </a>
      </GraphiQL.Logo>
      <GraphiQL.Toolbar>
        {({ prettify, merge, copy }) => (
          <>
            {prettify}
            {merge}
            {copy}
            <CopyLink />
          </>
        )}
      </GraphiQL.Toolbar>
      {!page.introspection && (
        <GraphiQL.Footer>
          <p className="hint">Introspection is switched off: operations run, but the editor has no completion and no documentation.</p>
        </GraphiQL.Footer>
      )}
      <LinkListener />
      <CompactEditors />
    </GraphiQL>
  );
}

function CopyLink() {
  const { queryEditor, variableEditor } = useGraphiQL(selectEditors);
  const copy = () =>
    navigator.clipboard?.writeText(linkTo({ query: queryEditor?.getValue() ?? "", variables: variableEditor?.getValue() ?? "" }));
  return (
    <ToolbarButton onClick={copy} label="Copy a link to this operation, without headers">
      <svg className="graphiql-toolbar-icon" viewBox="0 0 24 24" fill="none" stroke="currentColor" strokeWidth="1.5" strokeLinecap="round" aria-hidden="true">
        <path d="M10 14a4 4 0 0 0 5.7 0l4-4A4 4 0 0 0 14 4.3l-1 1M14 10a4 4 0 0 0-5.7 0l-4 4A4 4 0 0 0 10 19.7l1-1" />
      </svg>
    </ToolbarButton>
  );
}

// Opens a tab for a link that the viewer follows while the page is open.
function LinkListener() {
  const { addTab } = useGraphiQLActions();
  const { queryEditor, variableEditor } = useGraphiQL(selectEditors);
  useEffect(() => {
    const open = () => {
      const operation = takeLinkedOperation();
      if (!operation) return;
      addTab();
      queryEditor?.setValue(operation.query);
      variableEditor?.setValue(operation.variables);
    };
    addEventListener("hashchange", open);
    return () => removeEventListener("hashchange", open);
  }, [addTab, queryEditor, variableEditor]);
  return null;
}

// Uses a smaller font and wraps lines, because the page has three columns.
function CompactEditors() {
  const editors = useGraphiQL(selectAllEditors);
  useEffect(() => {
    for (const editor of editors) editor?.updateOptions({ fontSize: 13, wordWrap: "on" });
  }, [editors]);
  return null;
}

const selectAllEditors = ({ queryEditor, variableEditor, headerEditor, responseEditor }) => [queryEditor, variableEditor, headerEditor, responseEditor];

const selectEditors = ({ queryEditor, variableEditor }) => ({ queryEditor, variableEditor });

createRoot(document.getElementById("root")).render(<Playground />);
