-- Prints at the end of a run what wrk has counted, exactly, on one line. There is
-- no response() here on purpose: it would slow the load generator down.
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    "counted requests=%d bytes=%d microseconds=%d connect=%d read=%d write=%d timeout=%d status=%d\n",
    summary.requests, summary.bytes, summary.duration, e.connect, e.read, e.write, e.timeout, e.status))
end
