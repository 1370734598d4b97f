// A plain Node server: nothing of Aerie in it but where it listens. The host
// names a socket in AERIE_SOCKET or a port in PORT, and stops it with SIGTERM.
'use strict';
const http = require('node:http');

const streams = new Set();
const server = http.createServer((req, res) => {
  res.setHeader('Content-Type', 'text/plain; charset=utf-8');
  if (req.url === '/events') {
    res.setHeader('Content-Type', 'text/event-stream');
    const timer = setInterval(() => res.write(`data: ${new Date().toISOString()}\n\n`), 1000);
    streams.add(res);
    res.on('close', () => { clearInterval(timer); streams.delete(res); });
    return;
  }
  const client = req.headers['x-forwarded-for'] || req.socket.remoteAddress;
  res.end(`hello from Node ${process.version}\nprocess ${process.pid} answers ${client}: ${req.method} ${req.url}\n`);
});

const where = process.env.AERIE_SOCKET
  ? { path: process.env.AERIE_SOCKET }
  : { port: process.env.PORT || 8080, host: process.env.PORT ? '127.0.0.1' : undefined };
server.listen(where, () => console.log('listening on', server.address()));

process.on('SIGTERM', () => {
  server.close(() => process.exit(0)); // when the last request is answered
  server.closeIdleConnections();
  for (const res of streams) res.end();
});
