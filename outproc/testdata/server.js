// A plain Node server: it knows nothing of its host but PORT.
const http = require('http');
const server = http.createServer((req, res) => {
  res.end(`node ${process.pid} ${req.method} ${req.url}`);
});
server.listen(process.env.PORT, process.env.HOST, () => console.log('listening'));
process.on('SIGTERM', () => server.close(() => process.exit(0)));
