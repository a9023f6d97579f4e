// SPDX-FileCopyrightText: nemoclaw.fleet contributors
// SPDX-License-Identifier: GPL-3.0-or-later
// A proxy with a token as one writes it in Node: plain http, connections kept, streams piped. What nginx is compared with.
"use strict";
const http = require("http");
const { timingSafeEqual } = require("crypto");

const [port, backend, token] = process.argv.slice(2);
const expected = Buffer.from(`Bearer ${token}`);
const agent = new http.Agent({ keepAlive: true, maxSockets: Infinity, maxFreeSockets: 256 });

const allowed = (header = "") => {
  const given = Buffer.from(header);
  return given.length === expected.length && timingSafeEqual(given, expected);
};

const server = http.createServer((request, response) => {
  if (!allowed(request.headers.authorization)) {
    response.writeHead(401).end();
    return;
  }
  const headers = { ...request.headers, host: "127.0.0.1" };
  delete headers.authorization;
  const onward = http.request({ host: "127.0.0.1", port: backend, method: request.method, path: request.url, headers, agent }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  onward.on("error", () => response.headersSent ? response.destroy() : response.writeHead(502).end());
  response.on("close", () => response.writableFinished || onward.destroy());
  request.pipe(onward);
});
server.keepAliveTimeout = 60000;
server.listen(port, "127.0.0.1");
