// Package tcpconn has TCP connections that are made of a descriptor and join the
// runtime's network poller only when they have to wait.
//
// A connection that serves one request, of which all bytes have come already, is
// read from, written to and closed. The poller, which is entered and left by a
// system call each, has nothing to do for it; nor is there a need to ask the
// kernel for addresses that the sender of a descriptor knows.
package tcpconn
