// The API reference: Swagger UI over the server's own document.

import { $, askForKey, base, headers, loadStatus, showVersion } from "./shared.js";

globalThis.SwaggerUIBundle({
  url: new URL("openapi.yaml", base).href,
  domNode: $("#viewer"),
  docExpansion: "none",
  defaultModelsExpandDepth: 0,
  filter: true,
  syntaxHighlight: false, // its colours are made for one theme
  displayRequestDuration: true,
  validatorUrl: null, // nothing is asked of another host
  presets: [globalThis.SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  requestInterceptor: (request) => {
    Object.assign(request.headers, headers());
    return request;
  },
});

$("#key-open").addEventListener("click", askForKey);
const status = await loadStatus();
showVersion(status);
$("#key-open").hidden = !status?.keys;
